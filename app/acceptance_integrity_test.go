package app_test

import (
	"context"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"

	"holdfast/data"
	"holdfast/data/cryptfs"
	"holdfast/data/keys"
)

// checkIntegrity opens every database of a server that does not run, as its
// rooms would, and has SQLite check it to the last page.
func (s *server) checkIntegrity() {
	s.t.Helper()
	ring := s.ring()
	s.checkDatabase(s.data(), "system.db", "system", ring.Source("system", keys.Pages))
	stores := filepath.Join(s.data(), "stores")
	err := filepath.WalkDir(stores, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "data.db" {
			return err
		}
		dir := filepath.Dir(path)
		rel, err := filepath.Rel(stores, dir)
		if id, e := data.ParseStoreID(filepath.ToSlash(rel)); e == nil {
			s.checkDatabase(dir, "data.db", id.String(), ring.Source(keys.Owner(id.String()), keys.Pages))
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// ring opens the keyring with the server's key file.
func (s *server) ring() *keys.Ring {
	s.t.Helper()
	slots, err := keys.OpenSlots(filepath.Join(s.data(), "keys", "root.slots"))
	if err != nil {
		s.t.Fatal(err)
	}
	root, err := slots.Unlock(keys.KeyFile(s.keyFile()))
	if err != nil {
		s.t.Fatal(err)
	}
	ring, err := keys.OpenRing(filepath.Join(s.data(), "keys"), root)
	if err != nil {
		s.t.Fatal(err)
	}
	return ring
}

func (s *server) checkDatabase(dir, name, identity string, source data.KeySource) {
	s.t.Helper()
	if _, _, err := source.Current(); err != nil {
		return // parked or destroyed: nobody may read it
	}
	files, err := cryptfs.Mount(cryptfs.Config{Dir: dir, Identity: identity, Keys: source})
	if err != nil {
		s.t.Fatal(err)
	}
	defer files.Close()
	if verdict := integrity(s.t, files, name); verdict != "ok" {
		s.t.Errorf("%s: integrity check: %s (fault: %v)", filepath.Join(dir, name), verdict, files.Fault())
	}
}

func integrity(t testing.TB, files *cryptfs.FS, name string) (verdict string) {
	t.Helper()
	db, err := driver.Open(files.DSN(name), func(c *sqlite3.Conn) error { return files.Init(c) })
	if err != nil {
		return err.Error()
	}
	defer db.Close()
	if err := db.QueryRowContext(context.Background(), "PRAGMA integrity_check").Scan(&verdict); err != nil {
		return err.Error()
	}
	return verdict
}
