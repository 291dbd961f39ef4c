package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"holdfast/data"
)

// InstallTarget takes what a new store is made of. Pages and files come in clear
// and are sealed with the store's keys as they arrive.
type InstallTarget interface {
	// Pages writes data.db whole: next fills in each page in turn.
	Pages(ctx context.Context, total uint32, next func(pgno uint32, page []byte) error) error
	// File writes one file.
	File(ctx context.Context, info data.FileInfo, r io.Reader) error
	// Amend has fn change the store when it is whole and before it takes its place,
	// as the replay of erasures does. fn must not keep the store.
	Amend(fn func(ctx context.Context, s *Store) error)
}

// Install makes a store out of another's pages and files, as a restore does: build
// fills a scratch folder; then every token secret is rotated, superusers and the
// traces of sessions are dropped, a new incarnation begins, PocketBase is tried
// on it, and only then the folder takes its place. It answers data.ErrExists
// where there is a store of that id.
func (p *Pool) Install(ctx context.Context, id data.StoreID, build func(ctx context.Context, dir string, t InstallTarget) error) error {
	return p.install(ctx, id, life{"restored", asAnother}, build)
}

// Return is Install for a store that comes back as itself, on a host that lost it:
// its users' linked accounts and known devices stay. Every token ends all the same, for
// what was revoked after the snapshot would be valid again.
func (p *Pool) Return(ctx context.Context, id data.StoreID, build func(ctx context.Context, dir string, t InstallTarget) error) error {
	return p.install(ctx, id, life{"restored", asItself}, build)
}

// life is how a new incarnation begins: why, and what it begins without.
type life struct {
	reason  string
	without []string // tables
}

func (p *Pool) install(ctx context.Context, id data.StoreID, l life, build func(context.Context, string, InstallTarget) error) (err error) {
	scratch, err := p.beginInstall(id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if err := p.make(ctx, id, scratch, l, build); err != nil {
		return fmt.Errorf("install store %s: %w", id, err)
	}
	return p.moveIn(id, scratch)
}

// make fills a scratch folder and begins a life in it.
func (p *Pool) make(ctx context.Context, id data.StoreID, scratch string, l life, build func(context.Context, string, InstallTarget) error) error {
	t := &installTarget{config: p.config, id: id, dir: scratch}
	if err := build(ctx, scratch, t); err != nil {
		return err
	}
	return p.renew(ctx, id, scratch, l, t.amend)
}

// beginInstall makes the folder in which a new store is put together.
func (p *Pool) beginInstall(id data.StoreID) (scratch string, err error) {
	if err := checkID(id); err != nil {
		return "", err
	}
	if exists(p.path(id)) {
		return "", fmt.Errorf("install store %s: %w", id, data.ErrExists)
	}
	if scratch, err = p.scratch(); err != nil {
		return "", fmt.Errorf("install store %s: %w", id, err)
	}
	return scratch, nil
}

// scratch makes an empty folder beside the tenants'; its name can be no tenant's.
func (p *Pool) scratch() (string, error) {
	dir := filepath.Join(p.config.Dir, scratchPrefix+randomID())
	return dir, os.Mkdir(dir, 0o700)
}

const scratchPrefix = ".scratch-"

// clearScratch removes what installations left that a crash cut short.
func clearScratch(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), scratchPrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// moveIn puts a finished folder in its place, durably.
func (p *Pool) moveIn(id data.StoreID, scratch string) error {
	if err := syncTree(scratch); err != nil {
		return fmt.Errorf("install store %s: %w", id, err)
	}
	parent := filepath.Dir(p.path(id))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("install store %s: %w", id, err)
	}
	if err := os.Rename(scratch, p.path(id)); err != nil {
		if errors.Is(err, os.ErrExist) {
			err = data.ErrExists
		}
		return fmt.Errorf("install store %s: %w", id, err)
	}
	return errors.Join(syncDir(parent), syncDir(p.config.Dir))
}

// renew opens the new store once, gives it secrets and a life of its own, and
// tries it through PocketBase.
func (p *Pool) renew(ctx context.Context, id data.StoreID, dir string, l life, amend []func(context.Context, *Store) error) (err error) {
	s, err := p.open(ctx, id, dir, p.config.Keys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.shut()) }()
	return s.whole(func() error { // a full disk is told as what it is
		if err := beginIncarnation(ctx, s.app, l.reason, p.config.Clock()); err != nil {
			return err
		}
		if err := s.rotateSecrets(ctx, l.without); err != nil {
			return err
		}
		for _, fn := range amend {
			if err := fn(ctx, s); err != nil {
				return err
			}
		}
		return s.probe(ctx)
	})
}

// probe asks PocketBase for its collections and one record of each.
func (s *Store) probe(ctx context.Context) error {
	collections, err := s.Collections(ctx)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	for _, c := range collections {
		if _, err := s.app.FindRecordsByFilter(c.ID, "", "", 1, 0); err != nil {
			return fmt.Errorf("probe collection %s: %w", c.Name, err)
		}
	}
	return nil
}

func randomID() string { return strings.ToLower(rand.Text())[:15] }

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncDir(path) // a file is synced in the same way
	})
}
