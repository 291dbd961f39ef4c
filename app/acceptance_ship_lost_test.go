package app_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var lostAfter = flag.Duration("holdfast.lost.after", time.Second, "how long TestLostDiskUnderLoad writes, after the first of it was shipped, before the server and its disk are gone")

// lostAtMost is what may be missing after a kill: shipping begins a second after the last
// one did, and then the target takes its time. The allowance is for a busy machine; the
// figure is logged.
const lostAtMost = time.Second + 15*time.Second

// ledger is what one writer was told is written: its n-th record at times[n].
type ledger struct {
	slug, store string
	shipped     int64 // the newest snapshot from before
	times       []time.Time
}

// write adds records, one after the other, until the server no longer answers.
func (l *ledger) write(c *rest, s *server) {
	for s.alive() {
		r, err := c.send("POST", "/api/collections/items/records", map[string]any{"name": "live", "n": len(l.times)})
		if err != nil || r.status != http.StatusOK {
			return
		}
		l.times = append(l.times, time.Now())
	}
}

// TestLostDiskUnderLoad ends a server under load without warning and takes its disk away:
// what the bucket brings back is all that was shipped, without a hole, and what is
// missing was written just before.
func TestLostDiskUnderLoad(t *testing.T) {
	t.Parallel()
	sequential(t)
	s3 := startS3(t)
	s := newServer(t)
	s.env = append(s.env, s3.env()...)
	s.start()
	code := s.recoveryKey()
	operator := s.operator("ada@example.com")
	s.must("target", "add", "far", s3.url())
	s.must("keys", "copies", "add", "far")
	var writers []*ledger
	var work sync.WaitGroup
	for _, slug := range []string{"acme", "beta"} {
		admin := s.filled(slug, 20)
		l := &ledger{slug: slug, store: answer[struct{ ID string }](s, "tenant", "show", slug).ID + "/prod", shipped: s.shipped(operator, slug, 0)}
		writers = append(writers, l)
		work.Go(func() { l.write(admin, s) })
	}
	s.must("keys", "copies", "now")
	for _, l := range writers {
		s3.awaitSnapshot(t, l.store, l.shipped+2)
	}
	time.Sleep(*lostAfter)
	death := time.Now()
	s.kill()
	work.Wait()
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	n := s.lost()
	back := jsonOf[bareDone](t, n.ok(code, "restore", "--all", "--from", s3.url(), "--recovery-key-stdin", "--json"))
	for _, store := range back.Stores {
		if newest := s3.newest(t, store.Store); store.Seq != newest {
			t.Errorf("%s came back as of snapshot %d, the bucket has %d", store.Store, store.Seq, newest)
		}
	}
	n.unsealed(code)
	for _, l := range writers {
		n.lostAtMost(l, death)
	}
}

// bareDone is what restore --all prints.
type bareDone struct {
	Stores []struct {
		Store string `json:"store"`
		Seq   int64  `json:"seq"`
	} `json:"stores"`
	Missing  []string `json:"missing"`
	Ended    int      `json:"ended_again"`
	Revoked  int      `json:"keys_revoked_again"`
	Parked   []string `json:"parked"`
	Warnings []string `json:"warnings"`
}

// lostAtMost holds what came back of one writer's records against what it was told.
func (s *server) lostAtMost(l *ledger, death time.Time) {
	s.t.Helper()
	found := get[page](s.tenant(l.slug, s.newKey(l.slug, "read")), records("items", "filter", `name="live"`, "perPage", "1", "sort", "-n"))
	there := found.TotalItems
	if there > 0 && int(found.Items[0]["n"].(float64)) != there-1 {
		s.t.Errorf("%s has %d records, the newest is number %v: there is a hole", l.slug, there, found.Items[0]["n"])
	}
	if there == 0 {
		s.t.Errorf("%s: nothing of %d records came back", l.slug, len(l.times))
	}
	if there >= len(l.times) { // one more may have been committed and not acknowledged
		s.t.Logf("%s: all of %d acknowledged records are back", l.slug, len(l.times))
		return
	}
	age := death.Sub(l.times[there])
	s.t.Logf("%s: %d of %d acknowledged records are missing, the oldest was written %v before the end", l.slug, len(l.times)-there, len(l.times), age.Round(time.Millisecond))
	if age > lostAtMost {
		s.t.Errorf("%s lost what was written %v before the end", l.slug, age)
	}
}

// awaitSnapshot waits until that snapshot of a store, or a newer one, lies in the bucket.
func (b bucket) awaitSnapshot(t testing.TB, store string, sequence int64) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); b.newest(t, store) < sequence; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: no snapshot %d, the newest is %d", store, sequence, b.newest(t, store))
		}
	}
}

// newest is the newest snapshot that lies in the bucket.
func (b bucket) newest(t testing.TB, store string) (sequence int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(b.dir, "root", b.name, "holdfast", "t", store, "manifest", "*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no manifest of %s: %v", store, err)
	}
	slices.Sort(names)
	sequence, err = strconv.ParseInt(strings.TrimLeft(filepath.Base(names[len(names)-1]), "0"), 16, 64)
	if err != nil {
		t.Fatal(fmt.Errorf("manifest: %w", err))
	}
	return sequence
}
