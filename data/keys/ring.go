package keys

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"holdfast/data"
)

// Names in the keys folder.
const (
	RingFile     = "keyring"
	PreviousFile = "keyring.prev"
)

// Ring is the keyring: all keys of the house, wrapped under the root key in one
// small file. Safe for concurrent use; each change is on disk when its method
// returns, and undone when it fails. Keys come out of it as data.KeySource only.
type Ring struct {
	dir string
	now func() time.Time

	change  sync.Mutex // held by the one change under way, file included
	changed func()     // told after each change; may be nil
	size    int        // of the entries as they were last written
	seed    maphash.Seed
	seen    uint64     // hash of the file as it was last written, 0 before
	queue   sync.Mutex // guards edits
	edits   []*edit    // that wait for the change under way

	mu     sync.RWMutex // guards what follows
	root   Root         // zero once sealed
	serial uint64
	owners map[Owner][]record       // by purpose, then generation
	order  []Owner                  // sorted
	open   map[recordName]*[32]byte // unwrapped on first use
}

type recordName struct {
	owner      Owner
	purpose    Purpose
	generation uint32
}

func (r record) name() recordName { return recordName{r.owner, r.purpose, r.generation} }

// Entry describes a key without telling it. Fingerprint stays when the key is
// destroyed.
type Entry struct {
	Owner       Owner     `json:"owner"`
	Purpose     Purpose   `json:"purpose"`
	Generation  uint32    `json:"generation"`
	State       State     `json:"state"`
	Created     time.Time `json:"created"`
	Changed     time.Time `json:"changed"` // when it came into its state
	Fingerprint string    `json:"fingerprint"`
}

// CreateRing makes an empty keyring in dir; data.ErrExists if one is there.
func CreateRing(dir string, root Root) (*Ring, error) {
	if root.empty() {
		return nil, fmt.Errorf("create keyring: %w", data.ErrSealed)
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("create keyring: %w", err)
	}
	for _, name := range []string{RingFile, PreviousFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("create keyring %s: %w", filepath.Join(dir, name), cmp.Or(err, data.ErrExists))
		}
	}
	r := newRing(dir, root, content{})
	if err := r.save(formatRing(root, content{serial: 1, salt: random32()}), 1, false); err != nil {
		return nil, fmt.Errorf("create keyring: %w", err)
	}
	r.serial = 1
	return r, nil
}

// OpenRing opens the keyring in dir. data.ErrNotFound without one, data.ErrTampered
// for changed bytes (RecoverRing goes back to the previous generation),
// data.ErrNewer for a later format, ErrWrongKey under another root key,
// ErrExposed when others can read it.
func OpenRing(dir string, root Root) (*Ring, error) {
	if root.empty() {
		return nil, fmt.Errorf("open keyring: %w", data.ErrSealed)
	}
	if err := refuseExposed(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	path := filepath.Join(dir, RingFile)
	c, err := readRing(path, root)
	if err != nil {
		return nil, fmt.Errorf("open keyring: %w%s", err, previousHint(dir, root, err))
	}
	r := newRing(dir, root, c)
	return r, r.tidy()
}

func previousHint(dir string, root Root, err error) string {
	if !errors.Is(err, data.ErrTampered) && !errors.Is(err, data.ErrNotFound) {
		return ""
	}
	if c, err := readRing(filepath.Join(dir, PreviousFile), root); err == nil {
		return fmt.Sprintf("; the one before its last change is whole (%s, serial %d): recover the keyring from it", PreviousFile, c.serial)
	}
	return fmt.Sprintf("; restore %s from its off-host copy", filepath.Join(dir, RingFile))
}

// RecoverRing replaces a damaged or missing keyring by its previous generation:
// the last change (a key added, rotated, parked) is lost; a destroyed key does
// not come back. The damaged file is kept as "keyring.damaged".
func RecoverRing(dir string, root Root) (*Ring, error) {
	path := filepath.Join(dir, RingFile)
	if _, err := readRing(path, root); err == nil {
		return nil, fmt.Errorf("recover keyring %s: it is whole: %w", path, data.ErrExists)
	}
	c, err := readRing(filepath.Join(dir, PreviousFile), root)
	if err != nil {
		return nil, fmt.Errorf("recover keyring: %w", err)
	}
	if err := os.Rename(path, path+".damaged"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("recover keyring: %w", err)
	}
	if err := replaceFile(path, formatRing(root, c)); err != nil {
		return nil, fmt.Errorf("recover keyring: %w", err)
	}
	return OpenRing(dir, root)
}

func readRing(path string, root Root) (content, error) {
	b, err := readPrivate(path, ringLimit)
	if err != nil {
		return content{}, err
	}
	c, err := parseRing(root, b)
	if err != nil {
		return content{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func newRing(dir string, root Root, c content) *Ring {
	r := &Ring{dir: dir, now: time.Now, seed: maphash.MakeSeed(), root: root, open: map[recordName]*[32]byte{}}
	r.take(c)
	return r
}

func (r *Ring) take(c content) {
	r.serial, r.owners = c.serial, make(map[Owner][]record)
	for _, k := range c.records {
		r.owners[k.owner] = append(r.owners[k.owner], k)
	}
	r.order = slices.Sorted(maps.Keys(r.owners))
}

// Rewrap puts the whole keyring under a new root key, which must be in slots
// already: see RotateRoot.
func (r *Ring) Rewrap(root Root) error {
	if root.empty() {
		return fmt.Errorf("rewrap keyring: %w", data.ErrSealed)
	}
	r.change.Lock()
	defer r.change.Unlock()
	return r.rewrap(root)
}

// State is the owner's: parked or destroyed when its keys are, else live.
// data.ErrNotFound for an unknown owner.
func (r *Ring) State(owner Owner) (State, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	ks := r.owners[owner]
	if len(ks) == 0 {
		return "", fmt.Errorf("keys of %s: %w", owner, data.ErrNotFound)
	}
	return stateOf(ks), nil
}

// Root is the key above all, for the slots that wrap it; zero once sealed.
func (r *Ring) Root() Root {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.root
}

// Serial counts the changes: it goes up by one with each.
func (r *Ring) Serial() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.serial
}

// OnChange has fn called after each change that is on disk, before the method
// that made it returns. fn must be quick and must not ask the ring. Only the last
// fn counts.
func (r *Ring) OnChange(fn func()) {
	r.change.Lock()
	defer r.change.Unlock()
	r.changed = fn
}

// Entries describes all keys by owner, purpose and generation.
func (r *Ring) Entries() []Entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var entries []Entry
	for _, k := range sorted(r.owners) {
		entries = append(entries, Entry{k.owner, k.purpose, k.generation, k.state, k.created, k.changed, fmt.Sprintf("%x", k.print)})
	}
	return entries
}

// Seal wipes every key from memory: all sources answer data.ErrSealed from now
// on. The files stay; OpenRing opens them again.
func (r *Ring) Seal() {
	r.change.Lock()
	defer r.change.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.open {
		r.forget(name)
	}
	r.root.Wipe()
	r.root = Root{}
}

// Check reads both files again and tells what is wrong with them.
func (r *Ring) Check() error {
	r.change.Lock()
	defer r.change.Unlock()
	r.mu.RLock()
	root := r.root
	r.mu.RUnlock()
	if root.empty() {
		return data.ErrSealed
	}
	_, err := readRing(filepath.Join(r.dir, RingFile), root)
	_, prev := readRing(filepath.Join(r.dir, PreviousFile), root)
	if errors.Is(prev, data.ErrNotFound) {
		prev = nil
	}
	return errors.Join(err, prev)
}

func sorted(owners map[Owner][]record) []record {
	all := make([]record, 0, len(owners)*4)
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		all = append(all, owners[owner]...)
	}
	return all
}
