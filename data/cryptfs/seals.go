package cryptfs

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"holdfast/data"
	"holdfast/data/cryptfs/disk"
)

// sealBound is how often one AES-256-GCM key may seal under random 96-bit nonces:
// at 2^32 the odds of a nonce coming twice are still below 2^-32.
const sealBound = 1 << 32

// sealBlock is how many seals are counted ahead at a time: a killed process loses
// at most so many of the bound, and a sync is due once in so many seals.
const sealBlock = 1 << 16

// ErrSpent refuses a write under a key that has sealed as often as is safe. A new
// generation of the key ends it.
var ErrSpent = errors.New("the page key has sealed as often as is safe: rotate it")

// Seals tells how often the keys of one generation have sealed for a database.
type Seals struct {
	Database   string // file name
	Part       string // "pages" of the database file, or the "log": each has a key of its own
	Generation uint32
	Count      int64 // never too low; a crash may add up to 65,536
	Bound      int64 // writes are refused shortly before
}

// Due says that the key should be rotated: half of what it may seal is used up.
func (s Seals) Due() bool { return s.Count >= s.Bound/2 }

// Parts of a database that have keys of their own.
const (
	partPages = iota
	partLog
	partCount
)

var partNames = [partCount]string{"pages", "log"}

// tally counts the seals of one database by part and generation. What it counted
// ahead is on disk before any of it is used, so that neither a crash nor a power
// cut makes it go back.
type tally struct {
	disk   disk.System
	path   string // of its file
	sealer *sealer
	floor  func() (pages, frames int64) // of a database that has no file yet
	bound  int64

	newest [partCount]atomic.Pointer[sealCount]

	mu     sync.Mutex
	loaded bool
	serial uint64
	slot   int // that was written last: 0 or 1
	counts map[uint32]*[partCount]sealCount
}

// sealCount is how often one key sealed, and how far it is counted ahead.
type sealCount struct {
	generation  uint32
	used, ahead atomic.Int64
}

func newTally(fs *FS, path, name string, floor func() (pages, frames int64)) *tally {
	return &tally{disk: fs.Disk, path: path + sealsSuffix, floor: floor, bound: sealBound,
		sealer: newSealer(fs.Keys, "seals", fs.Identity, name), counts: map[uint32]*[partCount]sealCount{}}
}

// take counts some seals. The common case is one addition.
func (t *tally) take(part int, generation uint32, seals int64) error {
	if c := t.newest[part].Load(); c != nil && c.generation == generation && c.used.Add(seals) <= c.ahead.Load() {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.load(); err != nil {
		return err
	}
	c := &t.of(generation)[part]
	if used := c.used.Load(); used+seals > c.ahead.Load() {
		if err := t.reserve(c, used, seals); err != nil {
			return err
		}
	}
	c.used.Add(seals)
	t.newest[part].Store(c)
	return nil
}

func (t *tally) of(generation uint32) *[partCount]sealCount {
	c := t.counts[generation]
	if c == nil {
		c = new([partCount]sealCount)
		for part := range c {
			c[part].generation = generation
		}
		t.counts[generation] = c
	}
	return c
}

// reserve counts a block ahead. Others go on using what is left of the one before.
func (t *tally) reserve(c *sealCount, used, seals int64) error {
	ahead := min(used+sealBlock, t.bound-sealBlock)
	if used+seals > ahead {
		return fmt.Errorf("%s, generation %d, %d seals: %w", t.path, c.generation, used, ErrSpent)
	}
	before := c.ahead.Swap(ahead)
	if err := t.save(true); err != nil {
		c.ahead.Store(before)
		return fmt.Errorf("count seals: %w", err)
	}
	return nil
}

// settle writes down what was used where a block was counted ahead, at the end of
// a mount. It need not be synced: an older count is a higher one.
func (t *tally) settle() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.loaded || t.serial == 0 {
		return nil
	}
	for part := range t.newest {
		t.newest[part].Store(nil)
	}
	for _, c := range t.counts {
		for part := range c {
			c[part].ahead.Store(min(c[part].used.Load(), c[part].ahead.Load()))
		}
	}
	return t.save(false)
}

// renew seals both slots under the current generation, forgetting the generations
// that are below the oldest in use.
func (t *tally) renew(oldest uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.load(); err != nil {
		return err
	}
	maps.DeleteFunc(t.counts, func(generation uint32, _ *[partCount]sealCount) bool { return generation < oldest })
	if t.serial == 0 { // never written
		return nil
	}
	return errors.Join(t.save(true), t.save(true))
}

// seals tells the counts, in order of generation.
func (t *tally) seals(database string) ([]Seals, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.load(); err != nil {
		return nil, err
	}
	var all []Seals
	for _, generation := range slices.Sorted(maps.Keys(t.counts)) {
		for part, name := range partNames {
			all = append(all, Seals{Database: database, Part: name, Generation: generation,
				Count: t.counts[generation][part].used.Load(), Bound: t.bound})
		}
	}
	return all, nil
}

// load reads the file once.
func (t *tally) load() error {
	if t.loaded {
		return nil
	}
	file, err := t.read()
	if errors.Is(err, os.ErrNotExist) {
		err = t.begin()
	} else if err == nil {
		t.serial, t.slot = file.serial, file.slot
		for _, c := range file.counts {
			for part, n := range c.counts {
				count := &t.of(c.generation)[part]
				count.used.Store(n)
				count.ahead.Store(n)
			}
		}
	}
	t.loaded = err == nil
	return err
}

// begin counts a database without a file (new, restored, or of an earlier
// version) as if each of its pages had been sealed once under the newest key.
func (t *tally) begin() error {
	generation, _, err := t.sealer.keys.Current()
	if err != nil {
		return fmt.Errorf("current page key: %w", err)
	}
	pages, frames := t.floor()
	c := t.of(generation)
	for part, n := range [partCount]int64{pages, 2 * frames} {
		c[part].used.Store(n)
		c[part].ahead.Store(n)
	}
	return nil
}

// Seals tells, for each database that was opened under this mount, how often its
// keys have sealed. It fails with a *PageError where a count was changed on disk.
func (fs *FS) Seals() ([]Seals, error) {
	var all []Seals
	for _, db := range fs.opened() {
		seals, err := db.tally.seals(db.name)
		if err != nil {
			return nil, fmt.Errorf("seals of %s: %w", db.name, err)
		}
		all = append(all, seals...)
	}
	return all, nil
}

// opened gives the databases of this mount by name.
func (fs *FS) opened() []*database {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var all []*database
	for _, path := range slices.Sorted(maps.Keys(fs.dbs)) {
		all = append(all, fs.dbs[path])
	}
	return all
}

// length is the size of a file in units of so many bytes, 0 where there is none.
func length(path string, unit int64) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size() / unit
}

// floor is what the files of a database show of its past.
func (db *database) floor() (pages, frames int64) {
	return length(db.path, data.PageSize), length(db.path+walSuffix, frameSize)
}

// RotationDue says whether a key of the newest generation has sealed half as often
// as it may.
func RotationDue(seals []Seals) bool {
	newest := uint32(0)
	for _, s := range seals {
		newest = max(newest, s.Generation)
	}
	return slices.ContainsFunc(seals, func(s Seals) bool { return s.Generation == newest && s.Due() })
}
