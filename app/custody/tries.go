package custody

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"math"
	"os"
	"strconv"
	"sync"
	"time"

	"holdfast/app/api"
)

// The wait after a wrong secret doubles from the first to the longest. Who is on
// the host waits less: a stranger who tries from afar must not lock it out.
const (
	firstWait   = 2 * time.Second
	longestWait = 5 * time.Minute
	longestHost = 30 * time.Second
)

// mostWrong is the highest count that is believed.
const mostWrong = 1_000_000

// OnHost is the name under which tries over the local socket are counted.
const OnHost = "host"

// Tries counts wrong secrets by name. With a path the count survives a restart as
// far as the disk lets it. It is safe for concurrent use.
type Tries struct {
	path string
	now  func() time.Time

	mu     sync.Mutex
	byName map[string]*wrong
}

// wrong is how often in a row it was wrong.
type wrong struct {
	Count int       `json:"count"`
	Last  time.Time `json:"last"`
}

// NewTries reads the count at path; "" keeps it in memory. A file that cannot be
// read counts as none: it guards no key.
func NewTries(path string, now func() time.Time) *Tries {
	t := &Tries{path: path, now: now, byName: map[string]*wrong{}}
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &t.byName) != nil || t.byName == nil {
		t.byName = map[string]*wrong{}
	}
	maps.DeleteFunc(t.byName, func(_ string, w *wrong) bool { return w == nil || w.Count < 1 || w.Count > mostWrong })
	return t
}

// Begin admits a try and counts it as wrong until Done, so that neither a crash
// nor many at once gain anything. A 429 problem says how long to wait.
func (t *Tries) Begin(name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if wait := t.wait(name); wait > 0 {
		seconds := int(math.Ceil(wait.Seconds()))
		return api.Errorf(429, "too-soon", "Wait %d seconds before the next try.", seconds).
			WithHeader("Retry-After", strconv.Itoa(seconds))
	}
	if len(t.byName) > 1000 { // names are few: this is no use that is meant
		clear(t.byName)
	}
	w := t.byName[name]
	if w == nil {
		w = &wrong{}
		t.byName[name] = w
	}
	w.Count, w.Last = w.Count+1, t.now()
	t.save()
	return nil
}

// Done says that the try was not wrong and gives the count of those before it.
func (t *Tries) Done(name string) (before int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.byName[name]; w != nil {
		before = w.Count - 1
	}
	delete(t.byName, name)
	t.save()
	return before
}

// Back takes one try back that was neither right nor wrong.
func (t *Tries) Back(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.byName[name]; w != nil {
		if w.Count--; w.Count <= 0 {
			delete(t.byName, name)
		}
	}
	t.save()
}

// Wait is how long a name has to wait now.
func (t *Tries) Wait(name string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wait(name)
}

// Wrong is how often in a row it was wrong, under any name.
func (t *Tries) Wrong() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.byName {
		n += w.Count
	}
	return n
}

// wait never exceeds the delay: a clock that was set back must not lock out.
func (t *Tries) wait(name string) time.Duration {
	w := t.byName[name]
	if w == nil {
		return 0
	}
	delay := delayAfter(name, w.Count)
	return min(w.Last.Add(delay).Sub(t.now()), delay)
}

func delayAfter(name string, count int) time.Duration {
	longest := longestWait
	if name == OnHost {
		longest = longestHost
	}
	if count > 10 {
		return longest
	}
	return min(firstWait<<(count-1), longest)
}

// save keeps the count as well as it can: on a full or read-only disk it is in
// memory alone.
func (t *Tries) save() {
	if t.path == "" {
		return
	}
	if len(t.byName) == 0 {
		if err := os.Remove(t.path); err == nil || errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	b, err := json.Marshal(t.byName)
	if err != nil {
		return
	}
	if os.WriteFile(t.path+".new", b, 0o600) == nil {
		_ = os.Rename(t.path+".new", t.path)
	}
}
