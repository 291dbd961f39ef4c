package system

import (
	"context"
	"errors"
	"io"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// files is what the database needs of the sealed file system.
type files interface {
	DSN(database string, params ...string) string
	Init(*sqlite3.Conn) error
	Fault() error
	Rekey(ctx context.Context, progress func(done, total int64)) error
	Generations(ctx context.Context) ([]uint32, error)
	Seals() ([]cryptfs.Seals, error)
	Scrub(ctx context.Context, database string, base *cryptfs.Base, check func(pgno uint32, page []byte) error, report func(cryptfs.Progress)) error
	Close() error
}

// tap sees the committed pages.
type tap interface {
	data.PageSource
	io.Closer
	View(follower string) *cryptfs.View
}

// mount puts the sealed file system under the folder. The tap must be there
// before the database is first opened, so that it sees every commit.
func mount(ctx context.Context, c Config, committed func()) (files, tap, error) {
	fs, err := cryptfs.Mount(cryptfs.Config{
		Dir:      c.Dir,
		Identity: Identity,
		Keys:     c.Keys,

		AcceptCutLog: c.AcceptCutLog,
		OnCommit:     func(string) { committed() },
	})
	if err != nil {
		return nil, nil, err
	}
	t, err := fs.OpenTap(ctx, Database)
	if err != nil {
		return fs, nil, errors.Join(err, fs.Fault())
	}
	return fs, t, nil
}
