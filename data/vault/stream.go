package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"google.golang.org/protobuf/proto"

	"holdfast/data"
)

// loadPending bounds the writes of Load that are under way.
const loadPending = 16

// streamBatch is about how many bytes are written at once.
const streamBatch = 1 << 20

// entryDeleted is badger's mark of a deletion, as its own backups have it.
const entryDeleted = 1

// Stream writes the newest version of every record that was written or deleted after a
// version, as of one moment, and returns the version that it reaches; 0 is from the
// beginning. Nothing came since where it returns the version that it was given. Values are
// sealed as they are kept; keys stand in clear, so w must seal the whole. The form is that
// of badger's backups.
//
// Where an earlier call of this process returned the version it is given, it costs what
// changed since, unless that is more than is remembered; else a look at all keys.
//
// A deletion that badger has cleared away by the time it is asked is not in the
// stream: now and then take it from the beginning.
func (v *Vault) Stream(ctx context.Context, since uint64, w io.Writer) (version uint64, err error) {
	if err := v.View(ctx, func(*Tx) error { return nil }); err != nil {
		return 0, err
	}
	mark := v.state.journal.cut()
	s := &stretch{ctx: ctx, since: since, version: since, w: w}
	err = guard(func() error {
		s.txn = v.db.NewTransaction(false) // one for all: what it sees is what the version says
		defer s.txn.Discard()
		if keys, ok := v.state.journal.after(since); ok {
			return errors.Join(s.named(keys), s.flush())
		}
		return errors.Join(s.all(), s.flush())
	})
	if err != nil {
		return 0, fmt.Errorf("stream the vault: %w", foreign(err))
	}
	v.state.journal.reached(mark, s.version)
	return s.version, nil
}

// stretch is what one call of Stream writes.
type stretch struct {
	ctx     context.Context
	txn     *badger.Txn
	since   uint64
	version uint64 // of the newest that was taken
	w       io.Writer
	list    pb.KVList
	size    int // of list, about, in bytes
}

// all looks at every key.
func (s *stretch) all() error {
	o := badger.DefaultIteratorOptions
	o.AllVersions, o.SinceTs = true, s.since
	it := s.txn.NewIterator(o)
	defer it.Close()
	var last []byte
	for it.Rewind(); it.Valid(); it.Next() {
		if bytes.Equal(it.Item().Key(), last) {
			continue // an older version
		}
		last = it.Item().KeyCopy(last)
		if err := s.take(it.Item()); err != nil {
			return err
		}
	}
	return nil
}

// named looks at some keys.
func (s *stretch) named(keys []string) error {
	for _, key := range keys {
		item, err := s.txn.Get([]byte(key))
		switch {
		case errors.Is(err, badger.ErrKeyNotFound):
			err = s.gone([]byte(key))
		case err == nil:
			err = s.take(item)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// gone takes a deletion, or what expired; nothing where the key never was.
func (s *stretch) gone(key []byte) error {
	it := s.txn.NewKeyIterator(key, badger.IteratorOptions{SinceTs: s.since})
	defer it.Close()
	if it.Rewind(); !it.Valid() {
		return nil
	}
	return s.take(it.Item())
}

// take adds a record, if it is later than since.
func (s *stretch) take(item *badger.Item) (err error) {
	if err := s.ctx.Err(); err != nil || item.Version() <= s.since {
		return err
	}
	kv := &pb.KV{Key: item.KeyCopy(nil), UserMeta: []byte{item.UserMeta()}, Version: item.Version(), ExpiresAt: item.ExpiresAt(), Meta: []byte{0}}
	if item.IsDeletedOrExpired() {
		kv.Meta[0] = entryDeleted
	} else if kv.Value, err = item.ValueCopy(nil); err != nil {
		return err
	}
	s.version = max(s.version, kv.Version)
	s.list.Kv = append(s.list.Kv, kv)
	if s.size += len(kv.Key) + len(kv.Value) + perKey; s.size < streamBatch {
		return nil
	}
	return s.flush()
}

// flush writes what was taken: its length (8 bytes, little-endian), then itself.
func (s *stretch) flush() error {
	if len(s.list.Kv) == 0 {
		return nil
	}
	b, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 8), &s.list)
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
	s.list.Kv, s.size = s.list.Kv[:0], 0
	_, err = s.w.Write(b)
	return err
}

// Load makes a vault in dir, which must not exist or be empty, of what Stream
// wrote: next gives one stretch after the other in the order in which they were
// written, then io.EOF. The keys must be those that the values were sealed under.
// After an error what is in dir is of no use.
func Load(ctx context.Context, dir string, keys data.KeySource, next func() (io.Reader, error)) (err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("load vault %s: %w", dir, data.ErrExists)
	}
	v, err := Open(dir, keys)
	if err != nil {
		return fmt.Errorf("load vault: %w", err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	for ctx.Err() == nil {
		r, err := next()
		if errors.Is(err, io.EOF) {
			return v.Check(ctx)
		}
		if err == nil {
			err = guard(func() error { return v.db.Load(r, loadPending) })
		}
		if err != nil {
			return fmt.Errorf("load vault: %w", err)
		}
	}
	return ctx.Err()
}
