package audit

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/cryptfs/disk"
	"holdfast/data/store"
	"holdfast/data/vault"
)

const killDir = "HOLDFAST_AUDIT_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		if err := victim(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// fixedStoreKeys give every store the same keys in each process.
type fixedStoreKeys struct{}

func (fixedStoreKeys) Pages(id data.StoreID) data.KeySource { return newKeys("pages " + id.String()) }
func (fixedStoreKeys) Files(id data.StoreID) data.KeySource { return newKeys("files " + id.String()) }

// realHouse is the room over a real vault and a real store.
type realHouse struct {
	*Service
	vault *vault.Vault
	pool  *store.Pool
}

func openReal(ctx context.Context, dir string) (*realHouse, error) {
	return openRealOn(ctx, dir, nil)
}

func openRealOn(ctx context.Context, dir string, disk disk.System) (_ *realHouse, err error) {
	h := &realHouse{}
	var following atomic.Pointer[Service] // the pool commits beside us
	if h.vault, err = vault.Open(filepath.Join(dir, "vault"), newKeys("vault")); err != nil {
		return nil, err
	}
	h.pool, err = store.New(store.Config{
		Dir: filepath.Join(dir, "stores"), Keys: fixedStoreKeys{}, Disk: disk,
		OnCommit: func(id data.StoreID) {
			if s := following.Load(); s != nil {
				s.Nudge(id)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	h.Service, err = New(ctx, Config{
		Vault: h.vault.Sub("audit"), Signing: newKeys("signing"), Stores: FromPool(h.pool),
		Personal: func(owner string) data.KeySource { return newKeys("personal " + owner) },
	})
	following.Store(h.Service)
	return h, err
}

// victim commits records and events as fast as it can and says each that was
// acknowledged, until it is killed.
func victim(dir string) error {
	ctx := data.WithActor(context.Background(), data.Actor{Kind: data.Key, ID: "k1"})
	h, err := openReal(ctx, dir)
	if err != nil {
		return err
	}
	out := &lockedWriter{w: os.Stdout}
	for g := range 3 {
		go h.recordForever(ctx, out, g)
	}
	s, err := h.pool.Acquire(ctx, acme)
	if err != nil {
		return err
	}
	warden, err := h.pool.Warden()
	if err != nil {
		return err
	}
	ctx = warden.Issue(ctx, store.Warrant{Store: acme, Actor: data.ActorFrom(ctx), Level: store.Change})
	for n := 0; ; n++ {
		if err := importSome(ctx, s, 1+n%7); err != nil {
			return err
		}
		p, err := s.Position(ctx)
		if err != nil {
			return err
		}
		out.say("change %s %d\n", p.Incarnation, p.Sequence)
	}
}

func (h *realHouse) recordForever(ctx context.Context, out *lockedWriter, g int) {
	for n := 0; ; n++ {
		target := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, n)
		if err := h.Record(ctx, api.Event{Action: "test.event", Target: target, Outcome: api.OK}); err != nil {
			panic(err)
		}
		out.say("event %s\n", target)
	}
}

func importSome(ctx context.Context, s *store.Store, n int) error {
	rows := func() (map[string]any, int, error) {
		if n--; n < 0 {
			return nil, 0, io.EOF
		}
		return map[string]any{"n": 1}, 0, nil
	}
	got, err := s.Import(ctx, "things", store.ImportOptions{}, rows, nil)
	if err == nil && got.Failed > 0 {
		err = fmt.Errorf("rows failed: %v", got.Errors)
	}
	return err
}

type lockedWriter struct {
	mu sync.Mutex
	w  *os.File
}

func (l *lockedWriter) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, format, args...)
}

// TestKill kills a process that commits and records, at random, again and again:
// each acknowledged change has exactly one leaf, each acknowledged event is there.
func TestKill(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	dir := filepath.Join(t.TempDir(), "x")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	prepare(t, dir)
	acked := map[string]bool{}
	var last data.Position
	for i := range rounds {
		run(t, dir, time.Duration(30+i*17%200)*time.Millisecond, acked, &last)
	}
	checkAll(t, dir, acked, last)
}

func prepare(t *testing.T, dir string) {
	t.Helper()
	h, err := openReal(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.end(t)
	if err := h.pool.Create(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	s, err := h.pool.Acquire(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	if err := s.CreateCollection(t.Context(), "things", []store.Field{{Name: "n", Type: "number"}}); err != nil {
		t.Fatal(err)
	}
}

func (h *realHouse) end(t *testing.T) {
	t.Helper()
	for _, err := range []error{h.Close(), h.pool.Close(), h.vault.Close()} {
		if err != nil {
			t.Error(err)
		}
	}
}

// run lets the victim work for a while after its first change, then kills it.
func run(t *testing.T, dir string, while time.Duration, acked map[string]bool, last *data.Position) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for waiting := true; lines.Scan(); {
		if waiting && strings.HasPrefix(lines.Text(), "change ") {
			time.AfterFunc(while, func() { _ = cmd.Process.Kill() }) // it may have ended by itself
			waiting = false
		}
		acknowledge(lines.Text(), acked, last)
	}
	_ = cmd.Wait() // it was killed
}

func acknowledge(line string, acked map[string]bool, last *data.Position) {
	words := strings.Fields(line)
	switch {
	case len(words) == 2 && words[0] == "event":
		acked[words[1]] = true
	case len(words) == 3 && words[0] == "change":
		if n, err := strconv.ParseInt(words[2], 10, 64); err == nil {
			*last = data.Position{Incarnation: words[1], Sequence: n}
		}
	}
}

func checkAll(t *testing.T, dir string, acked map[string]bool, last data.Position) {
	t.Helper()
	h, err := openReal(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.end(t)
	r, err := h.Verify(t.Context(), acme.String())
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK || !r.Compared || r.Changes < last.Sequence || last.Sequence == 0 {
		t.Errorf("acknowledged %v; got %d changes, %v", last, r.Changes, r.Problems)
	}
	if r, err := h.Verify(t.Context(), Appliance); err != nil || !r.OK {
		t.Errorf("got %v, %v", r.Problems, err)
	}
	entries, _, err := h.List(t.Context(), Appliance, Query{Limit: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		delete(acked, e.Target)
	}
	if len(acked) > 0 || len(entries) == 0 {
		t.Errorf("%d acknowledged events are lost of %d", len(acked), len(entries))
	}
	t.Logf("%d changes, %d events", r.Changes, len(entries))
}
