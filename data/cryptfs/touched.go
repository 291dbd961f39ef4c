package cryptfs

import (
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
)

// touchedMost is how many names are remembered at least.
const touchedMost = 10_000

// touched remembers which files were put or deleted lately, so that who follows
// the tree need not list it.
type touched struct {
	mu    sync.Mutex
	life  string // of this process's memory: marks of another tell nothing
	start uint64 // number of the first name
	names []string
}

// Touched lists the files that were put or deleted since a mark, in no order and
// each once, and gives the next mark. It does not know when the mark is not one
// that this Files gave (as "" is not), or lies too far back. A file is in the list
// once what was done to it is done.
func (f *Files) Touched(since string) (names []string, mark string, known bool) {
	t := &f.touched
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.life == "" {
		t.life = rand.Text()
	}
	end := t.start + uint64(len(t.names))
	mark = fmt.Sprintf("%s/%d", t.life, end)
	var from uint64
	if n, err := fmt.Sscanf(since, t.life+"/%d", &from); err != nil || n != 1 || from < t.start || from > end {
		return nil, mark, false
	}
	names = slices.Clone(t.names[from-t.start:])
	slices.Sort(names)
	return slices.Compact(names), mark, true
}

// add is called after the deed: whoever asks before it sees the file as it was.
func (t *touched) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.names) >= 2*touchedMost {
		t.names, t.start = slices.Clone(t.names[touchedMost:]), t.start+touchedMost
	}
	t.names = append(t.names, name)
}
