package chain

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/backup"
	"holdfast/backup/read"
)

// sweep deletes what a prune condemned and nothing has come to need since.
//
// During the grace a merged link may have taken over a part of an older image,
// and a snapshot may have come to refer to content that was there. Whoever did
// that before the prune's word was on the target has put its manifest since
// (relied bounds it); whoever came after it saw the word and kept away.
func (k *Keeper) sweep(ctx context.Context, ledger *read.Ledger, done *Pruned) error {
	m := &mark{k: k, ledger: ledger, links: map[string]*read.Link{}}
	start := k.cfg.Clock()
	if err := k.newestWord(ctx, ledger); err != nil {
		return err
	}
	if err := m.survey(ctx); err != nil {
		return err
	}
	live, err := m.live(ctx, 0, map[string]bool{})
	if err != nil {
		return err
	}
	var gone []string
	for _, name := range ledger.Prune.Condemned {
		if name = backup.Prefix(k.cfg.Store) + name; live[name] {
			done.Rescued++
		} else {
			gone = append(gone, name)
		}
	}
	return k.remove(ctx, inOrder(gone, k.cfg.Store), start, done)
}

// newestWord refuses a sweep of a prune that is not the newest any more: another
// keeper did it long ago, and its names may be in use again.
func (k *Keeper) newestWord(ctx context.Context, ledger *read.Ledger) error {
	now, err := k.reader.Ledger(ctx)
	if err == nil && (now.Prune == nil || now.Number != ledger.Number) {
		return errStale
	}
	return err
}

// inOrder has manifests first: no reader is to find one whose objects are gone.
func inOrder(names []string, store string) [][]string {
	var manifests, rest []string
	for _, name := range names {
		if strings.HasPrefix(name, backup.ManifestPrefix(store)) || strings.HasPrefix(name, backup.MergedPrefix(store)) {
			manifests = append(manifests, name)
		} else {
			rest = append(rest, name)
		}
	}
	slices.Reverse(manifests) // newest first: a way breaks off at its end
	return [][]string{manifests, rest}
}

// errStale means that a sweep took so long that it must look again.
var errStale = errors.New("the sweep took too long; it goes on with the next prune")

// remove deletes, several at the same time, for as long as what was found out
// holds.
func (k *Keeper) remove(ctx context.Context, steps [][]string, start time.Time, done *Pruned) error {
	var swept, locked atomic.Int64
	for _, names := range steps {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(uploading)
		for _, name := range names {
			g.Go(func() error {
				err := k.removeOne(gctx, name, start)
				switch {
				case err == nil:
					swept.Add(1)
				case errors.Is(err, backup.ErrLocked):
					locked.Add(1)
				}
				return stop(err)
			})
		}
		err := g.Wait()
		done.Swept, done.Locked = int(swept.Load()), int(locked.Load())
		if err != nil {
			return err
		}
	}
	return nil
}

// stop ends a sweep but for an object that is locked.
func stop(err error) error {
	if errors.Is(err, backup.ErrLocked) {
		return nil
	}
	return err
}

func (k *Keeper) removeOne(ctx context.Context, name string, start time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if k.cfg.Clock().Sub(start) > relied {
		return errStale
	}
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	return k.cfg.Target.Delete(ctx, name)
}

// Purge deletes every object of a store. It is for one whose keys were
// destroyed: what is left of it is noise. Objects under a lock stay and are
// counted.
func Purge(ctx context.Context, target backup.ObjectStore, store string) (deleted, locked int, err error) {
	if err := backup.CheckStore(store); err != nil {
		return 0, 0, err
	}
	for after := ""; ; {
		list, err := target.List(ctx, backup.Prefix(store), after, 1000)
		if err != nil || len(list) == 0 {
			return deleted, locked, err
		}
		for _, info := range list {
			after = info.Name
			err := target.Delete(ctx, info.Name)
			if stop(err) != nil {
				return deleted, locked, err
			}
			if err != nil {
				locked++
			} else {
				deleted++
			}
		}
	}
}
