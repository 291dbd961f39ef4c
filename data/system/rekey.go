package system

import (
	"context"
	"errors"

	"holdfast/data/cryptfs"
)

// Rekey seals the database anew under the current generation of its key, while it
// is in use; see cryptfs.FS.Rekey.
func (d *DB) Rekey(ctx context.Context, progress func(done, total int64)) error {
	return d.files.Rekey(ctx, progress)
}

// Generations are those of the key that anything of the database is sealed under.
func (d *DB) Generations(ctx context.Context) ([]uint32, error) { return d.files.Generations(ctx) }

// Seals tells how often the key sealed, and how often it may.
func (d *DB) Seals() ([]cryptfs.Seals, error) { return d.files.Seals() }

// Scrub authenticates every page of the database and every frame of its log.
func (d *DB) Scrub(ctx context.Context, report func(cryptfs.Progress)) error {
	return d.files.Scrub(ctx, Database, nil, nil, report)
}

// Lost tells what an opening with Config.AcceptCutLog or AcceptPutBack gave up; nil for
// nothing.
func (d *DB) Lost() error {
	if fault := d.files.Fault(); errors.Is(fault, cryptfs.ErrCutLog) {
		return errors.Join(fault, d.accepted)
	}
	return d.accepted
}
