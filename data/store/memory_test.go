package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// once opens a store, has it answer, and lets it go.
func once(t testing.TB, p *Pool, n int) {
	t.Helper()
	s, err := p.Acquire(t.Context(), numbered(n))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	guest(s).must(t, 200, "GET", "/api/collections/users/records", nil)
}

func (p *Pool) isOpen(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stores[numbered(n)] != nil
}

// The stores that were used longest ago close when what is open weighs more than
// the budget; those at work do not, whatever they weigh.
func TestMemoryBudget(t *testing.T) {
	clock := time.Unix(1e9, 0)
	p := newPool(t, func(c *Config) {
		c.Clock = func() time.Time { clock = clock.Add(time.Second); return clock }
		c.MemoryBudget = 4 << 20
	})
	createAll(t, p, 6)
	for n := range 6 {
		once(t, p, n)
		p.Sweep(clock)
		if p.Memory() > p.config.MemoryBudget {
			t.Errorf("after store %d: %d bytes", n, p.Memory())
		}
	}
	open := p.OpenCount()
	if open < 2 || open > 5 || !p.isOpen(5) || p.isOpen(0) {
		t.Errorf("%d stores are open", open)
	}
	held := []*Store{acquire(t, p, numbered(0)), acquire(t, p, numbered(1)), acquire(t, p, numbered(2)), acquire(t, p, numbered(3)), acquire(t, p, numbered(4))}
	for _, s := range held {
		guest(s).must(t, 200, "GET", "/api/collections/users/records", nil)
	}
	p.Sweep(clock)
	for n, s := range held {
		if !p.isOpen(n) {
			t.Error("closed while it was held:", n)
		}
		guest(s).must(t, 200, "GET", "/api/health", nil)
	}
	if p.Memory() <= p.config.MemoryBudget || p.isOpen(5) {
		t.Error("the budget was not meant to hold here:", p.Memory())
	}
}

// A budget that is too small for anything leaves one store open.
func TestMemoryBudgetLeavesOne(t *testing.T) {
	p := newPool(t, func(c *Config) { c.MemoryBudget = 1 })
	createAll(t, p, 2)
	once(t, p, 0)
	once(t, p, 1)
	p.Sweep(time.Now())
	if p.OpenCount() != 1 || !p.isOpen(1) {
		t.Error("open:", p.OpenCount())
	}
}

// A store that only answers readers holds few connections.
func TestOpenedStoreHoldsFewConnections(t *testing.T) {
	p := newPool(t)
	createAll(t, p, 1)
	s := acquire(t, p, numbered(0))
	guest(s).must(t, 200, "GET", "/api/collections/users/records", nil)
	for name, most := range map[string]int{dataFile: 2, auxFile: 0} {
		n := 0
		for _, db := range s.pools(name) {
			n += db.DB().Stats().OpenConnections
		}
		if n > most {
			t.Errorf("%s: %d connections", name, n)
		}
	}
	if w := s.weigh(); w < storeWeight+connWeight || w > storeWeight+2*(connWeight+leastCache) {
		t.Error("weighs", w)
	}
}

func TestCacheFollowsTheBudget(t *testing.T) {
	for budget, kib := range map[int64]int64{1 << 20: 2048, 1 << 30: 16384, 64 << 30: 32000} {
		if c := (&Config{MemoryBudget: budget}); c.cacheKiB() != kib {
			t.Error(budget, c.cacheKiB())
		}
	}
}

func TestMachineMemory(t *testing.T) {
	root := t.TempDir()
	put := func(name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(bytes int64) {
		t.Helper()
		if got := machineMemory(root); got != bytes {
			t.Errorf("%d, want %d", got, bytes)
		}
	}
	want(0)
	put("proc/meminfo", "MemTotal:       24000000 kB\nMemFree: 1 kB\n")
	want(24000000 << 10)
	put("sys/fs/cgroup/memory.max", "max\n")
	want(24000000 << 10)
	put("sys/fs/cgroup/memory.max", "1073741824\n")
	want(1 << 30)
	put("proc/meminfo", "nonsense")
	want(0)
	if defaultBudget() < 128<<20 {
		t.Error(defaultBudget())
	}
}
