package keys

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/data"
)

// edit is a change of one owner's records.
type edit struct {
	owner  Owner
	forget bool // the previous generation of the file must not keep what it removed
	change func([]record) ([]record, error)

	done bool // guarded by Ring.change, as err
	err  error
}

// edit changes one owner's records: on disk first, then in memory. Those that come
// while the file is being written share the next write, for each is of the whole file.
func (r *Ring) edit(what string, owner Owner, forget bool, change func([]record) ([]record, error)) error {
	e := &edit{owner: owner, forget: forget, change: change}
	r.queue.Lock()
	r.edits = append(r.edits, e)
	r.queue.Unlock()
	r.change.Lock()
	defer r.change.Unlock()
	if !e.done {
		r.runEdits()
	}
	if e.err != nil {
		return fmt.Errorf("%s %s: %w", what, owner, e.err)
	}
	return nil
}

// runEdits carries out all edits that wait, with one write.
func (r *Ring) runEdits() {
	r.queue.Lock()
	edits := r.edits
	r.edits = nil
	r.queue.Unlock()
	after, forget, written := map[Owner][]record{}, false, edits[:0:0]
	for _, e := range edits {
		e.done = true
		if e.err = r.apply(e, after); e.err == nil && after[e.owner] != nil {
			forget, written = forget || e.forget, append(written, e)
		}
	}
	if len(written) == 0 {
		return
	}
	if err := r.commit(after, forget); err != nil {
		for _, e := range written {
			e.err = err
		}
	}
}

// apply adds what an edit makes of its owner's records, if it changes them.
func (r *Ring) apply(e *edit, after map[Owner][]record) error {
	if r.root.empty() {
		return data.ErrSealed
	}
	before, ok := after[e.owner]
	if !ok {
		before = r.owners[e.owner]
	}
	ks, err := e.change(slices.Clone(before))
	if err != nil {
		return err
	}
	slices.SortStableFunc(ks, byName)
	if e.forget || !slices.EqualFunc(before, ks, sameRecord) {
		after[e.owner] = ks
	}
	return nil
}

func byName(a, b record) int {
	return cmp.Or(cmp.Compare(a.purpose, b.purpose), cmp.Compare(a.generation, b.generation))
}

func sameRecord(a, b record) bool { return a.name() == b.name() && a.state == b.state }

// commit writes the keyring with some owners' records as they are to be.
func (r *Ring) commit(after map[Owner][]record, forget bool) error {
	serial := r.serial + 1
	body, count := r.body(after)
	if err := r.save(sealRing(r.root, serial, random32(), count, body), serial, forget); err != nil {
		return errors.Join(err, r.reload())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serial = serial
	for owner, ks := range after {
		for _, k := range r.owners[owner] {
			r.forget(k.name())
		}
		if at, found := slices.BinarySearch(r.order, owner); !found {
			r.order = slices.Insert(r.order, at, owner)
		}
		r.owners[owner] = ks
	}
	return nil
}

// body begins a file with all records, some owners' as they are to be: see sealRing.
func (r *Ring) body(after map[Owner][]record) (body []byte, count int) {
	order := r.order
	for owner := range after {
		if at, found := slices.BinarySearch(order, owner); !found {
			order = slices.Insert(slices.Clip(order), at, owner)
		}
	}
	body = newRingFile(r.size + len(after)*recordUsual*8)
	for _, owner := range order {
		ks, changed := after[owner]
		if !changed {
			ks = r.owners[owner]
		}
		for i := range ks {
			body = ks[i].append(body)
		}
		count += len(ks)
	}
	r.size = len(body) - ringEntries
	return body, count
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

// forget wipes one opened key, if it is one; mu is held.
func (r *Ring) forget(name recordName) {
	if key := r.open[name]; key != nil {
		clear(key[:])
		delete(r.open, name)
	}
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
	if err := r.save(formatRing(root, c), c.serial, true); err != nil && !r.stands(root, c.serial) {
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

// save writes the keyring and returns when it would survive a power cut.
// Each file that falls out of use is overwritten, so that no freed block keeps
// wraps of keys that are destroyed later. The previous generation is a copy, not
// a second link: no file that has a name is ever overwritten.
func (r *Ring) save(after []byte, serial uint64, forget bool) error {
	path, prev := filepath.Join(r.dir, RingFile), filepath.Join(r.dir, PreviousFile)
	before, err := r.stillOurs(path, serial-1)
	if err != nil {
		return err
	}
	switch {
	case forget:
		err = inOrder(path, after, prev, after)
	case before == nil:
		err = replaceShredding(path, after)
	default:
		err = inOrder(prev, before, path, after)
	}
	if err == nil {
		r.seen = maphash.Bytes(r.seed, after)
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
	if serial > 0 && maphash.Bytes(r.seed, b) == r.seen { // what this process wrote: no need to check its sum
		return b, nil
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
