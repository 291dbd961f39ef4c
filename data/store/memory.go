package store

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pocketbase/dbx"
)

// The memory that open stores take is bounded: a budget of bytes, and the least
// recently used stores close when what is open weighs more. A store's weight is
// reckoned, not measured, for nothing tells whose a page of memory is: a fixed part,
// and for each connection a fixed part and as much cache as it can have filled.
const (
	storeWeight = 256 << 10 // an app with its hooks, routes and collections
	connWeight  = 384 << 10 // a connection with its schema and statements, without cached pages
)

// Page caches are sized by the budget: a connection's is a 64th of it, within these.
// A store may have seventeen connections at work, a quarter of the budget.
const (
	cacheShare = 64
	leastCache = 2 << 20
	mostCache  = 32_000 << 10 // PocketBase's own default
)

// cacheKiB is the page cache of one connection.
func (c *Config) cacheKiB() int64 {
	return min(max(c.MemoryBudget/cacheShare, leastCache), mostCache) >> 10
}

// weigh reckons the store's memory in bytes. Its cost is one stat and a few locks.
func (s *Store) weigh() int64 {
	weight := int64(storeWeight) + s.answers.weight()
	for _, name := range []string{dataFile, auxFile} {
		conns := int64(0)
		for i, db := range s.pools(name) {
			open := int64(db.DB().Stats().OpenConnections)
			if i == writerPool {
				open = min(open, 1) // sessions share one, see writer
			}
			conns += open
		}
		if conns > 0 {
			weight += conns * (connWeight + min(s.sizeOf(name), s.pool.config.cacheKiB()<<10))
		}
	}
	return weight
}

func (s *Store) sizeOf(database string) int64 {
	st, err := os.Stat(filepath.Join(s.dir, database))
	if err != nil {
		return 0
	}
	return st.Size()
}

// writerPool is where pools has the writer.
const writerPool = 1

// pools are the connection pools of a database: readers, then the writer.
func (s *Store) pools(database string) (pools []*dbx.DB) {
	builders := []dbx.Builder{s.app.ConcurrentDB(), s.app.NonconcurrentDB()}
	if database == auxFile {
		builders = []dbx.Builder{s.app.AuxConcurrentDB(), s.app.AuxNonconcurrentDB()}
	}
	for _, b := range builders {
		if pool, ok := b.(*dbx.DB); ok {
			pools = append(pools, pool)
		}
	}
	return pools
}

// restConnections lets unused connections go: soon, and those at once that opening
// alone needed. Many stores that are opened only to be read have one each.
func (s *Store) restConnections() {
	for _, name := range []string{dataFile, auxFile} {
		for _, db := range s.pools(name) {
			db.DB().SetConnMaxIdleTime(restAfter)
		}
	}
	s.pools(dataFile)[writerPool].DB().SetMaxOpenConns(maxSessions) // PocketBase allows one
}

func (s *Store) dropIdle() {
	idle := map[string][]int{dataFile: {maxIdleReaders, maxSessions}, auxFile: {1, 1}}
	for name, most := range idle {
		for i, db := range s.pools(name) {
			if name == dataFile && i == 0 {
				continue // the first request will want it
			}
			db.DB().SetMaxIdleConns(-1)
			db.DB().SetMaxIdleConns(most[i])
		}
	}
}

// MemoryBudget is what open stores may take together, in bytes.
func (p *Pool) MemoryBudget() int64 { return p.config.MemoryBudget }

// Memory is what the open stores weigh, in bytes, by the last reckoning.
func (p *Pool) Memory() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.memory()
}

func (p *Pool) memory() (sum int64) {
	for _, e := range p.stores {
		sum += e.weight
	}
	return sum
}

// reckon weighs the stores that were used since they were last weighed, or that may
// have let connections go since.
func (p *Pool) reckon(now time.Time) {
	stores := map[*entry]*Store{}
	p.mu.Lock()
	for _, e := range p.stores {
		if e.store != nil && !e.closing && (e.holds > 0 || e.used.After(e.weighed) || now.Sub(e.weighed) > 2*restAfter && e.weight > storeWeight) {
			e.weighed = now
			stores[e] = e.store
			e.holds++ // none closes while it is looked at
		}
	}
	p.mu.Unlock()
	for e, s := range stores {
		weight := s.weigh()
		p.mu.Lock()
		e.weight = weight
		p.mu.Unlock()
		p.letGo(s, time.Time{})
	}
}

// tooMuch says that a store has to go. The last one stays whatever it weighs.
func (p *Pool) tooMuch() bool {
	return len(p.stores) > p.config.MaxOpen || len(p.stores) > 1 && p.memory() > p.config.MemoryBudget
}

// defaultBudget is a quarter of the machine's memory, or of what its control group
// may have; a gigabyte where nobody tells.
func defaultBudget() int64 {
	const unknown = 1 << 30
	if most := machineMemory("/"); most > 0 {
		return max(most/4, unknown/8)
	}
	return unknown
}

func machineMemory(root string) (bytes int64) {
	raw, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), "MemTotal:")
	if fields := strings.Fields(rest); len(fields) > 0 {
		kib, _ := strconv.ParseInt(fields[0], 10, 64)
		bytes = kib << 10
	}
	if raw, err = os.ReadFile(filepath.Join(root, "sys/fs/cgroup/memory.max")); err == nil {
		if most, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err == nil && most > 0 {
			bytes = min(bytes, most)
		}
	}
	return bytes
}
