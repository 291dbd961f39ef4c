package store

import (
	"context"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
)

// disk is what a store asks of the sealed file system under it.
type disk interface {
	DSN(database string, params ...string) string
	Init(*sqlite3.Conn) error
	OpenTap(ctx context.Context, database string) (tap, error)
	Fault() error
	Close() error
}

// tap is the source of a database's committed pages.
type tap interface {
	data.PageSource
	Close() error
}
