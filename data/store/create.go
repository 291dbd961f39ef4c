package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/security"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// Create makes a new, empty store with secrets of its own. Its keys must exist.
// It answers data.ErrExists where there is one.
func (p *Pool) Create(ctx context.Context, id data.StoreID) (err error) {
	scratch, err := p.beginInstall(id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if err := p.fromTemplate(ctx, id, scratch); err != nil {
		return fmt.Errorf("create store %s: %w", id, err)
	}
	return p.moveIn(id, scratch)
}

// template is the image of a store in which PocketBase's migrations have run: a
// new store is a copy of it, sealed with its own keys and given its own secrets.
// PocketBase is not booted for it, which is most of the time. It is made on first
// use and kept in memory.
type template struct {
	build func(context.Context) (map[string][][]byte, error)

	mu    sync.Mutex
	pages map[string][][]byte // by database
}

func (t *template) image(ctx context.Context) (map[string][][]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pages == nil {
		pages, err := t.build(ctx)
		if err != nil {
			return nil, fmt.Errorf("template store: %w", err)
		}
		t.pages = pages
	}
	return t.pages, nil
}

// fromTemplate writes the databases of a new store into a folder.
func (p *Pool) fromTemplate(ctx context.Context, id data.StoreID, dir string) error {
	image, err := p.template.image(ctx)
	if err != nil {
		return err
	}
	c := cryptfs.Config{Dir: dir, Identity: id.String(), Keys: p.config.Keys.Pages(id)}
	for name, pages := range image {
		err := cryptfs.WriteDatabase(ctx, c, name, uint32(len(pages)), func(pgno uint32, page []byte) error {
			copy(page, pages[pgno-1])
			return nil
		})
		if err != nil {
			return err
		}
	}
	return p.makeOwn(ctx, id, c)
}

// makeOwn gives a copy of the template what no two stores may share: the secrets of
// its tokens, and the beginning of its life.
func (p *Pool) makeOwn(ctx context.Context, id data.StoreID, c cryptfs.Config) (err error) {
	s := &Store{id: id, dir: c.Dir, pool: p, keys: p.config.Keys}
	if s.disk, err = cryptfs.Mount(c); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.disk.Close()) }()
	db, err := sqlite3.OpenContext(ctx, s.disk.DSN(dataFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := s.prepare(db, false); err != nil {
		return err
	}
	db.SetInterrupt(inner(ctx))
	if err := db.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := makeSecrets(db, p.config.Clock().UnixMicro()); err != nil {
		return err // the folder is dropped
	}
	return db.Exec("COMMIT")
}

// tokens are the kinds that an auth collection signs, as its options name them.
var tokens = []string{"authToken", "passwordResetToken", "emailChangeToken", "verificationToken", "fileToken"}

func makeSecrets(db *sqlite3.Conn, now int64) error {
	err := execute(db, `INSERT INTO _incarnations(id, began, reason, "from")
		SELECT ?, ?, 'created', coalesce(max(seq), 0) FROM _changes`, randomID(), now)
	if err != nil {
		return fmt.Errorf("begin an incarnation: %w", err)
	}
	for _, collection := range authCollections {
		var args []any
		for _, token := range tokens {
			args = append(args, "$."+token+".secret", security.RandomString(secretLength))
		}
		err := execute(db, `UPDATE _collections SET options = json_set(options, `+strings.Repeat("?, ?, ", len(tokens)-1)+`?, ?)
			WHERE name = ? AND type = 'auth'`, append(args, collection)...)
		if err != nil {
			return fmt.Errorf("make secrets: %w", err)
		}
	}
	return nil
}

// authCollections are those of the template.
var authCollections = []string{core.CollectionNameSuperusers, "users"}

func execute(db *sqlite3.Conn, query string, args ...any) error {
	stmt, _, err := db.Prepare(query)
	if err != nil {
		return err
	}
	for i, arg := range args {
		switch v := arg.(type) {
		case int64:
			err = errors.Join(err, stmt.BindInt64(i+1, v))
		case string:
			err = errors.Join(err, stmt.BindText(i+1, v))
		}
	}
	return errors.Join(err, stmt.Exec(), stmt.Close())
}

// buildTemplate boots an empty store under a key that nobody keeps, and reads its
// pages.
func (p *Pool) buildTemplate(ctx context.Context) (_ map[string][][]byte, err error) {
	dir, err := p.scratch()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	id, key := data.StoreID{Tenant: "template", Environment: data.Prod}, newThrowaway()
	s, err := p.open(ctx, id, dir, key)
	if err != nil {
		return nil, err
	}
	if err := s.shut(); err != nil {
		return nil, err
	}
	c := cryptfs.Config{Dir: dir, Identity: id.String(), Keys: key}
	image := map[string][][]byte{}
	for _, name := range []string{dataFile, auxFile} {
		if image[name], err = readPages(ctx, c, name); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// readPages reads a database that is not open.
func readPages(ctx context.Context, c cryptfs.Config, name string) (pages [][]byte, err error) {
	disk, err := cryptfs.Mount(c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	tap, err := disk.OpenTap(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tap.Close()) }()
	return imageOf(ctx, tap)
}

func imageOf(ctx context.Context, tap *cryptfs.Tap) (pages [][]byte, err error) {
	tap.MarkAll()
	_, err = tap.Snapshot(ctx, func(_ uint32, page []byte) error {
		pages = append(pages, slices.Clone(page))
		return nil
	})
	return pages, err
}

// throwaway is a key made for one opening.
type throwaway [32]byte

func newThrowaway() throwaway {
	var k throwaway
	_, _ = rand.Read(k[:]) // never fails
	return k
}

func (k throwaway) Pages(data.StoreID) data.KeySource   { return k }
func (k throwaway) Files(data.StoreID) data.KeySource   { return k }
func (k throwaway) Current() (uint32, [32]byte, error)  { return 1, k, nil }
func (k throwaway) Generation(uint32) ([32]byte, error) { return k, nil }
