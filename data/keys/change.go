package keys

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/data"
)

// edit changes one owner's records: on disk first, then in memory. With forget
// the previous generation of the file does not keep what the change removed.
func (r *Ring) edit(what string, owner Owner, forget bool, fn func([]record) ([]record, error)) error {
	r.change.Lock()
	defer r.change.Unlock()
	if r.root.empty() {
		return fmt.Errorf("%s %s: %w", what, owner, data.ErrSealed)
	}
	before := r.owners[owner]
	after, err := fn(slices.Clone(before))
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, owner, err)
	}
	slices.SortStableFunc(after, byName)
	if slices.EqualFunc(before, after, sameRecord) && !forget {
		return nil
	}
	if err := r.commit(owner, after, forget); err != nil {
		return fmt.Errorf("%s %s: %w", what, owner, err)
	}
	return nil
}

func byName(a, b record) int {
	return cmp.Or(cmp.Compare(a.purpose, b.purpose), cmp.Compare(a.generation, b.generation))
}

func sameRecord(a, b record) bool { return a.name() == b.name() && a.state == b.state }

func (r *Ring) commit(owner Owner, after []record, forget bool) error {
	owners := maps.Clone(r.owners)
	owners[owner] = after
	c := content{serial: r.serial + 1, salt: random32(), records: sorted(owners)}
	if err := r.save(c, forget); err != nil {
		return errors.Join(err, r.reload())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serial, r.owners = c.serial, owners
	for name := range r.open {
		if name.owner == owner {
			r.forget(name)
		}
	}
	return nil
}

// reload takes what is on disk after a write that failed half way, if it can
// be read; the change may or may not have happened.
func (r *Ring) reload() error {
	c, err := readRing(filepath.Join(r.dir, RingFile), r.root)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take(c)
	for name := range r.open {
		r.forget(name)
	}
	return nil
}

// forget wipes one opened key; mu is held.
func (r *Ring) forget(name recordName) {
	clear(r.open[name][:])
	delete(r.open, name)
}

// make gives a new live key.
func (r *Ring) make(owner Owner, purpose Purpose, generation uint32) record {
	key := random32()
	defer clear(key[:])
	now := r.now().Truncate(time.Second).UTC()
	k := record{owner: owner, purpose: purpose, generation: generation, state: Live, created: now, changed: now}
	copy(k.print[:], fingerprint(key))
	k.wrap = seal(r.entryKey(), key[:], k.aad())
	return k
}

// fingerprint names a key: it tells nothing of 32 random bytes.
func fingerprint(key [32]byte) []byte {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte("holdfast/keyring/v1|fingerprint"))
	return mac.Sum(nil)[:printSize]
}

func (r *Ring) entryKey() []byte { return r.root.derive(nil, "keyring entry", 32) }

// move puts a key into another state, which its wrap is bound to.
func (r *Ring) move(k *record, to State) error {
	now := r.now().Truncate(time.Second).UTC()
	if to == Destroyed { // also a key that can no longer be unwrapped
		k.state, k.changed, k.wrap = to, now, nil
		return nil
	}
	key, err := unwrap(r.root, *k)
	if err != nil {
		return err
	}
	defer clear(key[:])
	k.state, k.changed = to, now
	k.wrap = seal(r.entryKey(), key[:], k.aad())
	return nil
}

func unwrap(root Root, k record) (key [32]byte, err error) {
	if k.state == Destroyed {
		return key, data.ErrDestroyed
	}
	plain, ok := unseal(root.derive(nil, "keyring entry", 32), k.wrap, k.aad())
	if !ok || len(plain) != len(key) {
		return key, fmt.Errorf("key %s of %s, generation %d: %w", k.purpose, k.owner, k.generation, data.ErrTampered)
	}
	copy(key[:], plain)
	clear(plain)
	return key, nil
}

// rewrap opens each key under the old root and wraps it under the new one.
func (r *Ring) rewrap(root Root) error {
	next := &Ring{root: root, now: r.now}
	c := content{serial: r.serial + 1, salt: random32()}
	for _, k := range sorted(r.owners) {
		if k.state != Destroyed {
			key, err := unwrap(r.root, k)
			if err != nil {
				return fmt.Errorf("rewrap keyring: %w", err)
			}
			k.wrap = seal(next.entryKey(), key[:], k.aad())
			clear(key[:])
		}
		c.records = append(c.records, k)
	}
	if err := r.saveUnder(root, c, true); err != nil && !r.stands(root, c.serial) {
		return fmt.Errorf("rewrap keyring: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.root = root
	r.take(c)
	return nil
}

// stands says whether the keyring is under root all the same: then only the
// previous generation could not be written. Check tells of it, the next start mends it.
func (r *Ring) stands(root Root, serial uint64) bool {
	c, err := readRing(filepath.Join(r.dir, RingFile), root)
	return err == nil && c.serial == serial
}

func (r *Ring) save(c content, forget bool) error { return r.saveUnder(r.root, c, forget) }

// saveUnder writes the keyring and returns when it would survive a power cut.
// Each file that falls out of use is overwritten, so that no freed block keeps
// wraps of keys that are destroyed later. The previous generation is a copy, not
// a second link: no file that has a name is ever overwritten.
func (r *Ring) saveUnder(root Root, c content, forget bool) error {
	path, prev := filepath.Join(r.dir, RingFile), filepath.Join(r.dir, PreviousFile)
	before, err := r.stillOurs(path, c.serial-1)
	if err != nil {
		return err
	}
	after := formatRing(root, c)
	switch {
	case forget:
		err = inOrder(path, after, prev, after)
	case before == nil:
		err = replaceShredding(path, after)
	default:
		err = inOrder(prev, before, path, after)
	}
	if r.changed != nil { // a write that failed half way may have happened
		r.changed()
	}
	return err
}

func inOrder(first string, a []byte, second string, b []byte) error {
	if err := replaceShredding(first, a); err != nil {
		return err
	}
	return replaceShredding(second, b)
}

// stillOurs gives the file as it stands, nil before the first write. It refuses
// to go on over what another process wrote meanwhile.
func (r *Ring) stillOurs(path string, serial uint64) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && serial == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f, err := parseFrame(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if f.serial != serial {
		return nil, fmt.Errorf("%s changed (serial %d, not %d): %w", path, f.serial, serial, data.ErrBusy)
	}
	return b, nil
}

// tidy finishes what a crash cut short: temporary files, and a previous
// generation that still holds destroyed keys.
func (r *Ring) tidy() error {
	path, prev := filepath.Join(r.dir, RingFile), filepath.Join(r.dir, PreviousFile)
	if err := errors.Join(removeLeftovers(path, r.now()), removeLeftovers(prev, r.now())); err != nil {
		return fmt.Errorf("tidy keyring: %w", err)
	}
	if !r.stale(prev) {
		return nil
	}
	c := content{serial: r.serial, salt: random32(), records: sorted(r.owners)}
	if err := replaceShredding(prev, formatRing(r.root, c)); err != nil {
		return fmt.Errorf("tidy keyring: %w", err)
	}
	return nil
}

// stale says whether the previous generation holds what it should not: keys that
// were destroyed since, or all keys under an older root key. A damaged one is
// left for Check to tell.
func (r *Ring) stale(prev string) bool {
	b, err := os.ReadFile(prev)
	if err != nil {
		return false
	}
	if f, err := parseFrame(b); err == nil && f.root != r.root.id() {
		return true
	}
	gone := r.tombstones()
	if len(gone) == 0 {
		return false
	}
	old, err := parseRing(r.root, b)
	return err == nil && outlived(old.records, gone)
}

func (r *Ring) tombstones() map[recordName]bool {
	gone := map[recordName]bool{}
	for _, ks := range r.owners {
		for _, k := range ks {
			if k.state == Destroyed {
				gone[k.name()] = true
			}
		}
	}
	return gone
}

// outlived says whether an older keyring still holds a key destroyed since.
func outlived(old []record, gone map[recordName]bool) bool {
	return slices.ContainsFunc(old, func(k record) bool { return k.wrap != nil && gone[k.name()] })
}
