package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"holdfast/data"
)

// loadPending bounds the writes of Load that are under way.
const loadPending = 16

// Stream writes every record that was written or deleted after a version, with
// its history, and returns the version that it reaches; 0 is from the beginning.
// Nothing came since where it returns the version that it was given. Values are
// sealed as they are kept; keys stand in clear, so w must seal the whole.
//
// A deletion that badger has cleared away by the time it is asked is not in the
// stream: now and then take it from the beginning.
func (v *Vault) Stream(ctx context.Context, since uint64, w io.Writer) (version uint64, err error) {
	if err := v.View(ctx, func(*Tx) error { return nil }); err != nil {
		return 0, err
	}
	err = guard(func() error {
		version, err = v.db.Backup(contextWriter{ctx, w}, since)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("stream the vault: %w", foreign(err))
	}
	return max(version, since), nil
}

// contextWriter ends a stream with its context.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
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
