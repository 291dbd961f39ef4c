package app_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// kills is how often TestKillMixed kills. A release wants 2000.
var kills = flag.Int("holdfast.kills", 0, "kill -9 this often in the mixed workload (0: 200 where CI=true, else 20)")

func mixedKills() int {
	switch {
	case *kills > 0:
		return *kills
	case os.Getenv("CI") != "":
		return 200
	}
	return 20
}

// writer makes records of its own, so that it knows what each must be: as it was
// acknowledged last, or, where a kill took the answer, as it was asked for.
type writer struct {
	api     *rest
	n       int
	random  *rand.Rand
	known   map[string]version // acknowledged, by record id
	asked   map[string]version // not answered: either is right
	created map[string]string  // ids whose creation was acknowledged
	touched map[string]bool    // to be looked at after the next restart
}

// version is one state of a record; the zero value is a record that is not there.
type version struct{ Title, File string }

func newWriter(api *rest, n int) *writer {
	return &writer{
		api: api, n: n, random: rand.New(rand.NewPCG(uint64(n), 7)), //nolint:gosec // which operation comes next is no secret
		known: map[string]version{}, asked: map[string]version{}, created: map[string]string{}, touched: map[string]bool{},
	}
}

// step does one thing; false: the server no longer answers.
func (w *writer) step(cycle, i int) bool {
	title := fmt.Sprintf("c%d-w%d-%d", cycle, w.n, i)
	id := w.any()
	switch roll := w.random.IntN(10); {
	case id == "" || roll < 3:
		return w.create(title)
	case roll < 4:
		return w.upload(title)
	case roll < 7:
		return w.change("PATCH", id, map[string]string{"title": title}, version{title, w.known[id].File})
	case roll < 8:
		return w.batch(title)
	}
	return w.change("DELETE", id, nil, version{})
}

// any is one of the records that are there; "" if there is none.
func (w *writer) any() string {
	ids := slices.Sorted(maps.Keys(w.known))
	if len(ids) == 0 {
		return ""
	}
	return ids[w.random.IntN(len(ids))]
}

// create chooses the id itself: so a record whose answer was lost is known too.
func (w *writer) create(title string) bool {
	id := recordName(title)
	return w.does(id, version{Title: title}, func() (reply, error) {
		return w.api.send("POST", papersPath(""), map[string]string{"id": id, "title": title})
	})
}

func (w *writer) upload(title string) bool {
	id := recordName(title)
	name := strings.ReplaceAll(title, "-", "_") + ".bin"
	return w.does(id, version{title, title}, func() (reply, error) {
		return w.api.upload("papers", map[string]string{"id": id, "title": title}, "file", name, noise(title))
	})
}

func (w *writer) change(method, id string, body any, to version) bool {
	return w.does(id, to, func() (reply, error) { return w.api.send(method, papersPath(id), body) })
}

// batch creates twenty in one transaction: all of them or none.
func (w *writer) batch(title string) bool {
	var requests []map[string]any
	for i := range 20 {
		one := fmt.Sprintf("%s-%d", title, i)
		w.ask(recordName(one), version{Title: one})
		requests = append(requests, map[string]any{"method": "POST", "url": papersPath(""), "body": map[string]string{"id": recordName(one), "title": one}})
	}
	r, err := w.api.send("POST", "/api/batch", map[string]any{"requests": requests})
	for i := range 20 {
		w.answered(recordName(fmt.Sprintf("%s-%d", title, i)), r, err)
	}
	return err == nil
}

func (w *writer) does(id string, to version, call func() (reply, error)) bool {
	w.ask(id, to)
	r, err := call()
	w.answered(id, r, err)
	return err == nil
}

func (w *writer) ask(id string, to version) { w.asked[id], w.touched[id] = to, true }

// answered takes an acknowledgement; a refusal is a failure of the test, for
// nothing that a writer asks is wrong.
func (w *writer) answered(id string, r reply, err error) {
	if err != nil {
		return
	}
	if r.status/100 != 2 {
		w.api.t.Errorf("writer %d, record %s: %v", w.n, id, r)
	}
	if _, there := w.known[id]; !there {
		w.created[id] = id
	}
	w.settled(id, w.asked[id])
}

func (w *writer) settled(id string, to version) {
	delete(w.asked, id)
	if w.known[id] = to; to == (version{}) {
		delete(w.known, id)
	}
}

// check looks at what was touched since the last look.
func (w *writer) check() {
	t := w.api.t
	for id := range w.touched {
		got := w.read(id)
		asked, open := w.asked[id]
		if got != w.known[id] && (!open || got != asked) {
			t.Errorf("record %s is %+v, acknowledged was %+v, asked for %+v", id, got, w.known[id], asked)
		}
		w.settled(id, got)
	}
	clear(w.touched)
}

func (w *writer) read(id string) version {
	t := w.api.t
	r := w.api.call("GET", papersPath(id), nil)
	if r.status == http.StatusNotFound {
		return version{}
	}
	var p paper
	if err := json.Unmarshal(r.body, &p); err != nil || r.status != http.StatusOK {
		t.Fatalf("record %s: %v, %v", id, r, err)
	}
	v := version{Title: p.Title}
	if p.File != "" {
		if v.File = w.known[id].File; v.File == "" { // a record keeps the file that it was made with
			v.File = w.asked[id].File
		}
		if f := w.api.call("GET", p.path(), nil); f.status != http.StatusOK || !bytes.Equal(f.body, noise(v.File)) {
			t.Errorf("file of record %s: status %d, %d bytes", id, f.status, len(f.body))
		}
	}
	return v
}

func papersPath(id string) string {
	return strings.TrimSuffix("/api/collections/papers/records/"+id, "/")
}

// recordName is a record id of 15 characters that a title determines.
func recordName(title string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	id := []byte("mixed0000000000")
	seed := sha256.Sum256([]byte(title))
	for i, b := range seed[:10] {
		id[5+i] = letters[int(b)%len(letters)]
	}
	return string(id)
}

// killsOfOne is how often one server is killed: more kills are shared out over several
// servers, which need not wait for each other.
const killsOfOne = 50

// TestKillMixed kills servers under creates, updates, deletes, uploads, batches
// and a change of the store's keys, again and again. What was
// acknowledged is there, what was not is whole or absent, and the log has one entry for each.
func TestKillMixed(t *testing.T) {
	t.Parallel()
	sequential(t)
	for first := 0; first < mixedKills(); first += killsOfOne {
		t.Run(fmt.Sprint("from ", first), func(t *testing.T) {
			t.Parallel()
			killMixed(t, first, min(first+killsOfOne, mixedKills()))
		})
	}
}

// killMixed does the cycles from first until last, last not included, on one server.
func killMixed(t *testing.T, first, last int) {
	s := startServer(t)
	s.must("tenant", "create", "acme")
	admin := s.tenant("acme", s.newKey("acme", "admin"))
	operator := s.operator("auditor@example.com")
	makePapers(admin)
	writers := []*writer{newWriter(admin, 0), newWriter(admin, 1), newWriter(admin, 2)}
	file := itemLines(30_000)
	for cycle := first; cycle < last; cycle++ {
		s.killWriters(writers, operator, file, cycle)
		if (cycle+1)%25 == 0 {
			s.settle("acme")
			operator = s.signIn("auditor@example.com") // who rotates keys has shown a factor lately
		} else {
			s.start()
		}
		for _, w := range writers {
			w.check()
		}
		if t.Failed() {
			t.Fatalf("after %d kills", cycle+1-first)
		}
	}
	s.kill()
	s.settle("acme")
	created := map[string]string{}
	for _, w := range writers {
		maps.Copy(created, w.created)
	}
	oneLeafEach(t, operator, created)
	t.Logf("%d kills, %d creates acknowledged", last-first, len(created))
}

// killWriters lets the writers run until the server dies under them, now and then
// while keys are rotated, or longer and with a transaction that does not fit in the page cache.
func (s *server) killWriters(writers []*writer, operator *rest, file []byte, cycle int) {
	s.t.Helper()
	var wg sync.WaitGroup
	for _, w := range writers {
		wg.Go(func() {
			for i := 0; s.alive() && w.step(cycle, i); i++ {
			}
		})
	}
	window := time.Duration(20+rand.IntN(200)) * time.Millisecond //nolint:gosec // any moment
	switch cycle % 8 {
	case 1, 4:
		wg.Go(func() { rotate(s.t, operator, "acme") })
	case 6:
		wg.Go(func() { rotate(s.t, operator, "system") })
	case 7:
		window *= 4
		wg.Go(func() { spill(operator, file) })
	}
	time.Sleep(window)
	s.kill()
	wg.Wait()
}

// spill imports in one transaction; the kill ends it.
func spill(operator *rest, file []byte) {
	_, _ = operator.send("POST", "/api/v1/stores/acme/prod/collections/spilled/import?format=jsonl&create=1&strict=1", bytes.NewReader(file))
}

// rotate has new keys made and old data sealed anew, which the kill interrupts.
func rotate(t testing.TB, operator *rest, owner string) {
	r, err := operator.send("POST", "/api/v1/keys/rotate", map[string]string{"owner": owner})
	if err == nil && r.status != http.StatusAccepted {
		t.Errorf("rotate the keys of %s: %v", owner, r)
	}
}
