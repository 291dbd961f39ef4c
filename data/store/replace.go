package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"holdfast/data"
)

// Replace puts a store that build makes in the place of a living one, which it
// keeps (see Kept). The new one is made as by Return, under the same id and keys,
// while the living one goes on. Then whoever asks for the store waits: running
// requests end, last sees the living store as it will be kept, and the folders
// change places. An error of build or last leaves everything as it was. It answers
// data.ErrNotFound without a living store, and data.ErrExists while an earlier one is
// kept.
func (p *Pool) Replace(ctx context.Context, id data.StoreID, build func(ctx context.Context, dir string, t InstallTarget) error,
	last func(ctx context.Context, old *Store) error,
) (err error) {
	if err := p.replaceable(id); err != nil {
		return fmt.Errorf("replace store %s: %w", id, err)
	}
	scratch, err := p.scratch()
	if err != nil {
		return fmt.Errorf("replace store %s: %w", id, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	err = p.make(ctx, id, scratch, life{"restored", asItself}, build)
	if err == nil {
		err = syncTree(scratch)
	}
	if err == nil {
		err = p.swap(ctx, id, last, func() error { return p.exchange(id, scratch) })
	}
	if err != nil {
		return fmt.Errorf("replace store %s: %w", id, err)
	}
	return nil
}

func (p *Pool) replaceable(id data.StoreID) error {
	switch err := checkID(id); {
	case err != nil:
		return err
	case !exists(filepath.Join(p.path(id), dataFile)):
		return data.ErrNotFound
	case p.Kept(id):
		return data.ErrExists
	}
	return nil
}

// Kept says whether the state that a Replace replaced is still there.
func (p *Pool) Kept(id data.StoreID) bool { return exists(p.keptPath(id)) }

// keptPath is beside the environments; its name can be none's.
func (p *Pool) keptPath(id data.StoreID) string { return p.path(id) + ".replaced" }

// DropKept removes the state that a Replace replaced. None is no error.
func (p *Pool) DropKept(id data.StoreID) error {
	if err := checkID(id); err != nil || !p.Kept(id) {
		return err
	}
	gone, err := p.scratchName()
	if err == nil {
		err = os.Rename(p.keptPath(id), gone)
	}
	if err == nil {
		err = errors.Join(syncDir(filepath.Dir(p.path(id))), os.RemoveAll(filepath.Dir(gone)))
	}
	if err != nil {
		return fmt.Errorf("drop what was replaced of store %s: %w", id, err)
	}
	return nil
}

// Revert puts what a Replace replaced back into its place, as a life of its own, and
// drops what stood there. amend changes it before, and last sees what is dropped.
// data.ErrNotFound where nothing is kept.
func (p *Pool) Revert(ctx context.Context, id data.StoreID, amend, last func(ctx context.Context, s *Store) error) error {
	err := checkID(id)
	if err == nil && !p.Kept(id) {
		err = data.ErrNotFound
	}
	if err == nil {
		err = p.renew(ctx, id, p.keptPath(id), life{"reverted", asItself}, []func(context.Context, *Store) error{amend})
	}
	if err == nil {
		err = syncTree(p.keptPath(id))
	}
	if err == nil {
		err = p.swap(ctx, id, last, func() error { return p.bringBack(id) })
	}
	if err != nil {
		return fmt.Errorf("revert store %s: %w", id, err)
	}
	return nil
}

// swap holds the store while last looks at it and move puts another in its place.
func (p *Pool) swap(ctx context.Context, id data.StoreID, last func(context.Context, *Store) error, move func() error) error {
	open, err := p.holdBack(ctx, id)
	if err != nil {
		return err
	}
	defer open()
	if err := p.lookAt(ctx, id, p.path(id), p.config.Keys, last); err != nil {
		return err
	}
	defer p.forgetFiles(id)
	return move()
}

// lookAt opens a store past the pool's tables.
func (p *Pool) lookAt(ctx context.Context, id data.StoreID, dir string, keys Keys, fn func(context.Context, *Store) error) (err error) {
	s, err := p.open(ctx, id, dir, keys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.shut()) }()
	return fn(ctx, s)
}

// holdBack closes a store and lets whoever asks for it wait until open is called.
func (p *Pool) holdBack(ctx context.Context, id data.StoreID) (open func(), err error) {
	ready, gone := make(chan struct{}), make(chan struct{})
	close(ready)
	for {
		if err := p.Evict(ctx, id); err != nil {
			return nil, err
		}
		p.mu.Lock()
		_, again := p.stores[id]
		if !again {
			p.stores[id] = &entry{ready: ready, gone: gone, closing: true}
		}
		p.mu.Unlock()
		if !again {
			return func() { p.unblock(id); close(gone) }, nil
		}
	}
}

// The prefixes tell what a crash between two renames leaves in the pool's folder: a
// replacement on its way in, and a kept state on its way back.
const (
	nextPrefix = ".next."
	backPrefix = ".back."
)

func (p *Pool) onItsWay(prefix string, id data.StoreID) string {
	return filepath.Join(p.config.Dir, prefix+id.Tenant+"."+id.Environment)
}

// exchange puts a finished folder in the place of a store, which is kept.
func (p *Pool) exchange(id data.StoreID, scratch string) error {
	next := p.onItsWay(nextPrefix, id)
	if err := rename(scratch, next); err != nil {
		return err
	}
	if err := rename(p.path(id), p.keptPath(id)); err != nil {
		return errors.Join(err, os.RemoveAll(next))
	}
	return rename(next, p.path(id))
}

// bringBack puts the kept folder in the place of the store, which goes.
func (p *Pool) bringBack(id data.StoreID) error {
	back := p.onItsWay(backPrefix, id)
	if err := rename(p.keptPath(id), back); err != nil {
		return err
	}
	gone, err := p.scratchName()
	if err == nil {
		err = rename(p.path(id), gone)
	}
	if err != nil {
		return errors.Join(err, rename(back, p.keptPath(id)))
	}
	return errors.Join(rename(back, p.path(id)), os.RemoveAll(filepath.Dir(gone)))
}

// rename makes both names last.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(to)), syncDir(filepath.Dir(from)))
}

func (p *Pool) scratchName() (string, error) {
	dir, err := p.scratch()
	return filepath.Join(dir, "gone"), err
}

// endSwaps takes up the swaps that a crash cut short: where the place is empty, what
// was on its way takes it; where it is not, nothing was replaced yet.
func (p *Pool) endSwaps() error {
	entries, err := os.ReadDir(p.config.Dir)
	for _, e := range entries {
		for _, prefix := range []string{nextPrefix, backPrefix} {
			if rest, ok := strings.CutPrefix(e.Name(), prefix); ok {
				tenant, environment, _ := strings.Cut(rest, ".")
				err = errors.Join(err, p.endSwap(prefix, data.StoreID{Tenant: tenant, Environment: environment}))
			}
		}
	}
	return err
}

func (p *Pool) endSwap(prefix string, id data.StoreID) error {
	from := p.onItsWay(prefix, id)
	switch {
	case !exists(p.path(id)):
		return rename(from, p.path(id))
	case prefix == backPrefix:
		return rename(from, p.keptPath(id))
	}
	return os.RemoveAll(from)
}
