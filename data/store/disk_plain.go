package store

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
)

// plainDisk is a stand-in until the sealed file system is there.
type plainDisk struct{ dir string }

func (d plainDisk) DSN(database string, params ...string) string {
	return "file:" + filepath.Join(d.dir, database) + "?" + strings.Join(params, "&")
}
func (d plainDisk) Init(c *sqlite3.Conn) error {
	for _, o := range []sqlite3.DBConfig{sqlite3.DBCONFIG_DEFENSIVE, sqlite3.DBCONFIG_DQS_DML, sqlite3.DBCONFIG_DQS_DDL} {
		if _, err := c.Config(o, true); err != nil {
			return err
		}
	}
	return c.Exec("PRAGMA busy_timeout=10000; PRAGMA temp_store=MEMORY; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF; PRAGMA recursive_triggers=ON")
}
func (d plainDisk) OpenTap(context.Context, string) (tap, error) { return plainTap{}, nil }
func (d plainDisk) Fault() error                                 { return nil }
func (d plainDisk) Close() error                                 { return nil }

type plainTap struct{}

func (plainTap) Snapshot(context.Context, func(uint32, []byte) error) (data.Commit, error) {
	return data.Commit{}, nil
}
func (plainTap) MarkAll()     {}
func (plainTap) Dirty() int   { return 0 }
func (plainTap) Close() error { return nil }

func mount(c Config, id data.StoreID, dir string) (disk, error) {
	return plainDisk{dir}, os.MkdirAll(dir, 0o700)
}
