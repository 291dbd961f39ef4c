package custody

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/data/keys"
)

func TestWaitGrowsAndSurvivesARestart(t *testing.T) {
	w := &world{t: t}
	path := filepath.Join(t.TempDir(), "unseal.tries")
	tries := NewTries(path, w.clock.Now)
	for i, seconds := range []int{2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300} {
		want := time.Duration(seconds) * time.Second
		w.must(tries.Begin("network"))
		w.wantProblem(tries.Begin("network"), "too-soon")
		if got := tries.Wait("network"); got != want {
			t.Fatalf("wait %d is %s, want %s", i, got, want)
		}
		tries = NewTries(path, w.clock.Now) // a restart forgives nothing
		if got := tries.Wait("network"); got != want {
			t.Fatalf("wait %d after a restart is %s", i, got)
		}
		w.must(tries.Begin(OnHost)) // who is on the host is not locked out from afar
		if got := tries.Wait(OnHost); got > longestHost {
			t.Fatalf("the host waits %s", got)
		}
		w.clock.pass(want)
	}
	if n := tries.Wrong(); n != 22 {
		t.Errorf("%d wrong tries", n)
	}
	w.clock.pass(time.Hour)
	w.must(tries.Begin("network"))
	if before := tries.Done("network"); before != 11 || tries.Wait("network") > 0 {
		t.Errorf("%d before", before)
	}
	tries.Done(OnHost)
	if _, err := os.Stat(path); err == nil {
		t.Error("the count is left after a success")
	}
}

func TestClockSetBackLocksNobodyOut(t *testing.T) {
	w := &world{t: t}
	w.clock.now = time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)
	tries := NewTries("", w.clock.Now)
	w.must(tries.Begin("network"))
	w.clock.pass(-365 * 24 * time.Hour)
	if got := tries.Wait("network"); got != firstWait {
		t.Errorf("wait %s", got)
	}
}

func TestTriesWithoutADisk(t *testing.T) {
	w := &world{t: t}
	tries := NewTries(filepath.Join(t.TempDir(), "no", "folder"), w.clock.Now)
	w.must(tries.Begin("network"))
	w.wantProblem(tries.Begin("network"), "too-soon")
	garbled := filepath.Join(t.TempDir(), "tries")
	for _, text := range []string{"", "null", "{", `{"network":null}`, `{"network":{"count":-5}}`, `{"network":{"count":1000000}}`} {
		w.must(os.WriteFile(garbled, []byte(text), 0o600))
		again := NewTries(garbled, w.clock.Now)
		_ = again.Wrong()
		_ = again.Begin("network")
		again.Back("network")
		again.Done("network")
	}
}

func FuzzTries(f *testing.F) {
	f.Add([]byte(`{"network":{"count":3,"last":"2026-11-22T06:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "tries")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		tries := NewTries(path, time.Now)
		if wait := tries.Wait("network"); wait > longestWait {
			t.Fatalf("wait %s", wait)
		}
		_ = tries.Begin("network")
	})
}

func TestGathering(t *testing.T) {
	w := &world{t: t}
	g := NewGathering(w.clock.Now)
	defer g.Close()
	info := func(i int) keys.ShareInfo { return keys.ShareInfo{Set: "s", Index: i, Need: 3, Of: 5} }
	offer := func(i int, text string) []string {
		t.Helper()
		enough, err := g.Offer(info(i), text)
		w.must(err)
		return enough
	}
	offer(1, "one")
	offer(4, "four")
	p := w.wantProblem(second(g.Offer(info(4), "four")), "share-again")
	if !strings.Contains(p.Detail, "2 of 3") || strings.Contains(p.Detail, "four") {
		t.Errorf("detail %q", p.Detail)
	}
	if got := g.Progress(); len(got) != 1 || got[0] != (Gathered{"s", 2, 3, 5}) {
		t.Errorf("progress %+v", got)
	}
	w.clock.pass(gatherLife)
	if got := g.Progress(); len(got) != 0 {
		t.Errorf("not forgotten: %+v", got)
	}
	offer(1, "one")
	offer(2, "two")
	if enough := offer(5, "five"); len(enough) != 3 {
		t.Errorf("enough %v", enough)
	}
	g.Forget("s")
	if len(g.Progress()) != 0 {
		t.Error("kept after use")
	}
}

func second[T any](_ T, err error) error { return err }
