// Package vault keeps small things of the appliance in a sealed badger store:
// certificates, audit tiles, queues, sessions, series. Each value is sealed by an
// AEAD under its key's name, because badger's own encryption does not
// authenticate. README.md has the formats.
package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"holdfast/data"
)

// Errors of this room, beside those of package data.
var (
	// ErrWrongKey says that the folder is sealed under none of the keys at hand.
	ErrWrongKey = errors.New("the vault is sealed under another key")
	// ErrTooBig refuses a value, or one Update's writes together, beyond the limits.
	ErrTooBig = errors.New("too big for the vault")
	// ErrReadOnly refuses a write within View.
	ErrReadOnly = errors.New("write in a read-only transaction")
)

// MaxValue is the largest value in bytes. Larger things belong into sealed files.
const MaxValue = 1 << 20

// Vault is a sealed key-value store, or a part of one made by Sub. Safe for
// concurrent use.
type Vault struct {
	db     *badger.DB
	sealer *sealer
	state  *state
	prefix string
}

// state is common to a vault and its parts.
type state struct {
	busy    sync.WaitGroup        // verification beside the service
	fault   atomic.Pointer[error] // damage that was found; stops the vault
	updates updates
	journal journal
	told    atomic.Pointer[func()] // of each commit
	outer   uint32                 // generation of the key that badger's own encryption stands under
}

func (s *state) fail(err error) error {
	s.fault.CompareAndSwap(nil, &err)
	return err
}

// Open opens the vault in dir (made with mode 0700 if missing) under the keys of
// purpose "vault". ErrWrongKey when no generation opens it, data.ErrBusy when
// another process has it, data.ErrNewer for a later format, data.ErrTampered
// for changed bytes.
func Open(dir string, keys data.KeySource) (*Vault, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	generation, _, err := keys.Current()
	if err != nil {
		return nil, fmt.Errorf("open vault %s: %w", dir, err)
	}
	outer, err := prepare(dir, keys)
	if err != nil {
		return nil, fmt.Errorf("open vault %s: %w", dir, err)
	}
	var db *badger.DB
	err = guard(func() error {
		db, err = badger.Open(settings(dir, outer))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open vault %s: %w", dir, foreign(err))
	}
	v := &Vault{db: db, sealer: newSealer(keys), state: &state{outer: generation}}
	if err := v.ready(); err != nil {
		return nil, errors.Join(fmt.Errorf("open vault %s: %w", dir, err), db.Close())
	}
	return v, nil
}

// prepare is what must hold before badger sees the folder; it gives badger's key.
func prepare(dir string, keys data.KeySource) ([]byte, error) {
	if err := room(dir); err != nil {
		return nil, err
	}
	unread := newSealer(keys).checkSums(dir)
	if unread != nil && !errors.Is(unread, errSums) {
		return nil, unread
	}
	if err := checkFiles(dir); err != nil {
		return nil, err
	}
	outer, err := outerKey(dir, keys)
	if err := cmp.Or(err, unread); err != nil { // a wrong key is said as such
		return nil, err
	}
	if err := dropSums(dir); err != nil {
		return nil, err
	}
	return outer, dropUnbegun(dir)
}

// settings suit one small store beside others in a process: badger's defaults
// take a quarter of a gigabyte for caches alone.
func settings(dir string, key []byte) badger.Options {
	o := badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithEncryptionKey(key).
		WithLogger(nil).
		WithMetricsEnabled(false).
		WithCompression(options.None). // ciphertext does not shrink
		WithVerifyValueChecksum(true).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithMemTableSize(16 << 20).
		WithValueThreshold(32 << 10).
		WithValueLogFileSize(64 << 20).
		WithBlockCacheSize(16 << 20).
		WithIndexCacheSize(16 << 20)
	o.NumMemtables, o.NumCompactors, o.NumGoroutines = 2, 2, 2
	return o
}

func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o: others can read it; run: chmod 700 %s", dir, mode, dir)
	}
	return nil
}

// Sub gives the part of the vault whose keys begin with prefix and a separator:
// rooms that take different prefixes cannot meet. Closing it does nothing. The
// prefix must not be empty or contain a zero byte.
func (v *Vault) Sub(prefix string) *Vault {
	if prefix == "" || strings.ContainsRune(prefix, 0) {
		panic(fmt.Sprintf("vault: prefix %q", prefix))
	}
	return &Vault{v.db, v.sealer, v.state, v.prefix + prefix + "\x00"}
}

// Close flushes and closes the whole vault; on a part made by Sub it does nothing.
// On a full disk it leaves the flush to the next Open: nothing is lost, but the
// folder stays locked until the process ends.
func (v *Vault) Close() error {
	if v.prefix != "" {
		return nil
	}
	v.state.busy.Wait()
	if err := room(v.db.Opts().Dir); err != nil {
		return fmt.Errorf("close the vault: %w", err)
	}
	if err := guard(v.db.Close); err != nil {
		return err
	}
	if v.state.fault.Load() != nil {
		return nil // a sum would vouch for the damage
	}
	return v.sealer.writeSums(v.db.Opts().Dir)
}

// View runs fn on one consistent state, read-only.
func (v *Vault) View(ctx context.Context, fn func(*Tx) error) error {
	return v.run(ctx, false, fn)
}

// Update runs fn and commits what it wrote, all or nothing; the commit is on
// disk when Update returns nil. When another Update touched what fn read, fn
// runs again: it must be free of other effects. ErrTooBig when the writes
// exceed what one commit can hold (about 2 MB), syscall.ENOSPC when the disk is
// nearly full.
func (v *Vault) Update(ctx context.Context, fn func(*Tx) error) error {
	for {
		err := v.run(ctx, true, fn)
		if !errors.Is(err, badger.ErrConflict) {
			return err
		}
	}
}

func (v *Vault) run(ctx context.Context, write bool, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if v.db.IsClosed() {
		return fmt.Errorf("the vault is closed: %w", data.ErrSealed)
	}
	if fault := v.state.fault.Load(); fault != nil {
		return fmt.Errorf("the vault is damaged: %w", *fault)
	}
	if write {
		if err := room(v.db.Opts().Dir); err != nil {
			return err
		}
		defer v.state.updates.enter()()
	}
	txn := v.db.NewTransaction(write)
	defer txn.Discard()
	t := &Tx{v: v, txn: txn, ctx: ctx}
	if err := fn(t); err != nil || !write {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	defer v.state.journal.begin(t.wrote)()
	if err := guard(txn.Commit); err != nil {
		return fmt.Errorf("commit to the vault: %w", foreign(err))
	}
	if told := v.state.told.Load(); told != nil && ctx.Value(quietly{}) == nil {
		(*told)()
	}
	return nil
}

// Collect frees the space of overwritten and expired values; the appliance's
// clock calls it now and then. It may take seconds and stops early when ctx ends.
func (v *Vault) Collect(ctx context.Context) error {
	for ctx.Err() == nil {
		err := guard(func() error { return v.db.RunValueLogGC(0.5) })
		if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("collect the vault's free space: %w", foreign(err))
		}
	}
	return ctx.Err()
}

// Follow has fn called after each commit, to the vault or a part of it; it must
// not block. There is one follower, the last that asked.
func (v *Vault) Follow(fn func()) { v.state.told.Store(&fn) }

type quietly struct{}

// Quietly marks commits that the follower is not told of: what is lost of them
// does no harm.
func Quietly(ctx context.Context) context.Context {
	return context.WithValue(ctx, quietly{}, true)
}

// Size is what the vault takes on disk, in bytes, as of the last minute.
func (v *Vault) Size() int64 {
	lsm, vlog := v.db.Size()
	return lsm + vlog
}
