package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

func numbered(n int) data.StoreID {
	return data.StoreID{Tenant: fmt.Sprintf("tenant%09d", n), Environment: data.Prod}
}

func createAll(t testing.TB, p *Pool, n int) {
	t.Helper()
	for i := range n {
		if err := p.Create(t.Context(), numbered(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConcurrentFirstOpensOpenOnce(t *testing.T) {
	p := newPool(t)
	createAll(t, p, 1)
	var stores sync.Map
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			s, err := p.Acquire(t.Context(), numbered(0))
			if err != nil {
				t.Error(err)
				return
			}
			stores.Store(s, true)
			s.Release()
		})
	}
	wg.Wait()
	n := 0
	stores.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Error("opened", n, "times")
	}
}

func TestLeastUsedGoesFirst(t *testing.T) {
	clock := time.Unix(1e9, 0)
	p := newPool(t, func(c *Config) {
		c.MaxOpen = 2
		c.Clock = func() time.Time { clock = clock.Add(time.Second); return clock }
	})
	createAll(t, p, 4)
	use := func(n int) *Store { return acquire(t, p, numbered(n)) }
	isOpen := func(n int) bool { p.mu.Lock(); defer p.mu.Unlock(); return p.stores[numbered(n)] != nil }
	once := func(n int) {
		s, err := p.Acquire(t.Context(), numbered(n))
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
	}
	once(0)
	once(1)
	once(0)
	once(2)
	if !isOpen(0) || isOpen(1) || !isOpen(2) {
		t.Error("not the least used went")
	}
	use(0)
	use(2)
	use(3) // all at work: the limit gives way, not a request
	if p.OpenCount() != 3 {
		t.Error("open:", p.OpenCount())
	}
}

func TestSweepClosesTheIdle(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := newPool(t, func(c *Config) { c.IdleAfter = time.Minute; c.Clock = func() time.Time { return now } })
	createAll(t, p, 2)
	s, err := p.Acquire(t.Context(), numbered(0))
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	held := acquire(t, p, numbered(1))
	p.Sweep(now.Add(59 * time.Second))
	if p.OpenCount() != 2 {
		t.Error("closed too early")
	}
	p.Sweep(now.Add(time.Minute))
	if p.OpenCount() != 1 {
		t.Error("open:", p.OpenCount())
	}
	guest(held).must(t, 200, "GET", "/api/health", nil)
}

func TestEvictionCutsNoRequestButEndsStreams(t *testing.T) {
	p := newPool(t)
	if err := p.Create(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	s, err := p.Acquire(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	addItems(t, s)
	st := listen(t, s, context.Background())
	within := make(chan struct{})
	goOn := make(chan struct{})
	s.app.OnRecordCreateRequest("items").BindFunc(func(e *core.RecordRequestEvent) error {
		close(within)
		<-goOn
		return e.Next()
	})
	answered := make(chan reply)
	go func() {
		answered <- guest(s).do("POST", "/api/collections/items/records", map[string]any{"title": "x"})
		s.Release()
	}()
	<-within
	evicted := make(chan error)
	go func() { evicted <- p.Evict(context.Background(), acme) }()
	for open := true; open; {
		_, open = <-st.lines // the stream ends at once
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Acquire(impatient, acme); !errors.Is(err, context.Canceled) {
		t.Error("a closing store was given out:", err)
	}
	select {
	case err := <-evicted:
		t.Fatal("evicted under a request", err)
	default:
	}
	close(goOn)
	if r := <-answered; r.code != 200 {
		t.Error("a request was cut:", r.code, string(r.body))
	}
	if err := <-evicted; err != nil {
		t.Error(err)
	}
	s = acquire(t, p, acme)
	if r := guest(s).must(t, 200, "GET", "/api/collections/items/records", nil).object(t); r["totalItems"] != 1.0 {
		t.Error(r)
	}
}

func TestStreamsGoLastForRoom(t *testing.T) {
	clock := time.Unix(1e9, 0)
	var mu sync.Mutex
	p := newPool(t, func(c *Config) {
		c.MaxOpen = 2
		c.Clock = func() time.Time { mu.Lock(); defer mu.Unlock(); clock = clock.Add(time.Second); return clock }
	})
	createAll(t, p, 4)
	open := func(n int) *Store {
		s, err := p.Acquire(t.Context(), numbered(n))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	streaming := open(0)
	st := listen(t, streaming, context.Background())
	streaming.Release()
	open(1).Release()
	open(2).Release() // 1 goes, though 0 is older
	if p.OpenCount() != 2 {
		t.Error("open:", p.OpenCount())
	}
	held := open(2)
	defer held.Release()
	open(3).Release() // only the stream's store can go
	for more := true; more; {
		_, more = <-st.lines
	}
}

func TestManyUseOpenAndCloseAtOnce(t *testing.T) {
	p := newPool(t, func(c *Config) { c.MaxOpen = 2 })
	createAll(t, p, 4)
	for i := range 4 {
		s, err := p.Acquire(t.Context(), numbered(i))
		if err != nil {
			t.Fatal(err)
		}
		addItems(t, s)
		s.Release()
	}
	var wg sync.WaitGroup
	var made [4]atomic.Int64
	for w := range 8 {
		wg.Go(func() {
			for i := range 12 {
				n := (w + i) % 4
				s, err := p.Acquire(t.Context(), numbered(n))
				if err != nil {
					t.Error(err)
					return
				}
				if r := guest(s).do("POST", "/api/collections/items/records", map[string]any{"title": "x"}); r.code == 200 {
					made[n].Add(1)
				} else {
					t.Error(r.code, string(r.body))
				}
				s.Release()
				if i%5 == 0 {
					if err := p.Evict(t.Context(), numbered(n)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for n := range 4 {
		s := acquire(t, p, numbered(n))
		if got, err := s.app.CountRecords("items"); err != nil || got != made[n].Load() {
			t.Error(n, got, made[n].Load(), err)
		}
	}
}

func TestStoresDoNotTouch(t *testing.T) {
	notUnderRace(t)
	p := newPool(t)
	other := data.StoreID{Tenant: acme.Tenant, Environment: data.Test}
	for _, id := range []data.StoreID{acme, other} {
		if err := p.Create(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	a, b := acquire(t, p, acme), acquire(t, p, other)
	ua, ub := collection(t, a, "users"), collection(t, b, "users")
	for i, secret := range []string{ua.AuthToken.Secret, ua.PasswordResetToken.Secret, ua.EmailChangeToken.Secret, ua.VerificationToken.Secret, ua.FileToken.Secret} {
		theirs := []string{ub.AuthToken.Secret, ub.PasswordResetToken.Secret, ub.EmailChangeToken.Secret, ub.VerificationToken.Secret, ub.FileToken.Secret}[i]
		if secret == theirs || len(secret) < 50 {
			t.Error("two stores share a token secret", i)
		}
	}
	addItems(t, b)
	user, _ := signUp(t, a)
	user.s = b
	users := collection(t, b, "items")
	rule := "@request.auth.id != ''"
	users.ListRule = &rule
	save(t, b, users)
	user.create(t, "items", nil) // as a guest: the token says nothing here
	if n := user.must(t, 200, "GET", "/api/collections/items/records", nil).object(t)["totalItems"]; n != 0.0 {
		t.Error("a token of one environment is heard in another")
	}
}

func TestChangedByteIsAnErrorOfOneStore(t *testing.T) {
	p := newPool(t)
	createAll(t, p, 2)
	good := acquire(t, p, numbered(1))
	path := filepath.Join(p.path(numbered(0)), dataFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := data.PageSize / 2; at < len(raw); at += data.PageSize { // a byte of each page
		raw[at] ^= 1
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Acquire(t.Context(), numbered(0)); !errors.Is(err, data.ErrTampered) {
		t.Error("opened:", err)
	}
	if n := p.OpenCount(); n != 1 {
		t.Error("open:", n)
	}
	guest(good).must(t, 200, "GET", "/api/collections/users/records", nil)
}

// lockedKeys has no keys for one store.
type lockedKeys struct {
	testKeys
	id  data.StoreID
	err error
}

func (k lockedKeys) Pages(id data.StoreID) data.KeySource {
	if id == k.id && k.err != nil {
		return keyless{k.err}
	}
	return k.testKeys.Pages(id)
}

type keyless struct{ err error }

func (k keyless) Current() (uint32, [32]byte, error)        { return 0, [32]byte{}, k.err }
func (k keyless) Generation(uint32) (_ [32]byte, err error) { return [32]byte{}, k.err }

func TestWithoutKeys(t *testing.T) {
	keys := &lockedKeys{id: numbered(0)}
	p := newPool(t, func(c *Config) { c.Keys = keys })
	createAll(t, p, 1)
	for _, want := range []error{data.ErrParked, data.ErrDestroyed, data.ErrSealed} {
		keys.err = want
		if _, err := p.Acquire(t.Context(), numbered(0)); !errors.Is(err, want) {
			t.Error(err)
		}
	}
	keys.err = nil
	acquire(t, p, numbered(0))
}

func TestRemove(t *testing.T) {
	p := newPool(t)
	createAll(t, p, 1)
	s, err := p.Acquire(t.Context(), numbered(0))
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	if err := p.Remove(t.Context(), numbered(0)); err != nil {
		t.Fatal(err)
	}
	if exists(p.path(numbered(0))) {
		t.Error("the folder is there")
	}
	if err := p.Remove(t.Context(), numbered(0)); !errors.Is(err, data.ErrNotFound) {
		t.Error(err)
	}
	if err := p.Create(t.Context(), numbered(0)); err != nil {
		t.Error("cannot be made again:", err)
	}
}

func TestRemoveUnderUse(t *testing.T) {
	p := newPool(t)
	createAll(t, p, 1)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				s, err := p.Acquire(t.Context(), numbered(0))
				if errors.Is(err, data.ErrNotFound) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				guest(s).do("GET", "/api/collections/users/records", nil)
				s.Release()
			}
		})
	}
	if err := p.Remove(t.Context(), numbered(0)); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if exists(p.path(numbered(0))) || p.OpenCount() != 0 {
		t.Error("the folder is there, or open:", p.OpenCount())
	}
}

// A closed store leaves neither goroutines nor files open.
func TestNothingOfAClosedStoreStays(t *testing.T) {
	p := newPool(t)
	createAll(t, p, 1)
	cycle := func() {
		s, err := p.Acquire(t.Context(), numbered(0))
		if err != nil {
			t.Fatal(err)
		}
		guest(s).must(t, 200, "GET", "/api/collections/users/records", nil)
		s.Release()
		if err := p.Evict(t.Context(), numbered(0)); err != nil {
			t.Fatal(err)
		}
	}
	openFiles := func() int { all, _ := os.ReadDir("/proc/self/fd"); return len(all) }
	cycle()
	goroutines, files := runtime.NumGoroutine(), openFiles()
	for range 5 {
		cycle()
	}
	eventually(t, "goroutines stay", func() bool { return runtime.NumGoroutine() <= goroutines })
	if n := openFiles(); n > files {
		t.Error("open files:", files, "then", n)
	}
}

func TestStudioTokensAtOnce(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() { studioOf(t, s, "p1").must(t, 200, "GET", "/api/settings", nil) })
	}
	wg.Wait()
}

func TestIDsAreNoPaths(t *testing.T) {
	p := newPool(t)
	for _, id := range []data.StoreID{{}, {Tenant: "..", Environment: "x"}, {Tenant: "a/b", Environment: "prod"}, {Tenant: "a", Environment: "../b"}, {Tenant: "A", Environment: "prod"}} {
		if err := p.Create(t.Context(), id); !errors.Is(err, ErrInvalid) {
			t.Error(id, err)
		}
		if _, err := p.Acquire(t.Context(), id); !errors.Is(err, ErrInvalid) {
			t.Error(id, err)
		}
	}
}

func TestClosedPool(t *testing.T) {
	p := newPool(t)
	createAll(t, p, 1)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Acquire(t.Context(), numbered(0)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestCommitsAreTold(t *testing.T) {
	var told atomic.Int64
	s := newStore(t, func(c *Config) {
		c.OnCommit = func(id data.StoreID) {
			if id == acme {
				told.Add(1)
			}
		}
	})
	before := told.Load()
	guest(s).create(t, "items", nil)
	if told.Load() == before {
		t.Error("no word of a commit")
	}
}
