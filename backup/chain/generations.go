package chain

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/backup"
	"holdfast/backup/read"
	"holdfast/data"
)

// Generations lists the generations of the store's segments key that anything on the
// target is sealed under, but for what was put after a moment: when the newest of the
// generations that matter was retired, and an hour more for clocks that differ. Of those
// objects nothing is read but the header. The manifests of bases that prunes leave as
// place-holders do not count: nobody opens them again.
func (k *Keeper) Generations(ctx context.Context, until time.Time) ([]uint32, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	g := generations{target: k.cfg.Target, store: k.cfg.Store, until: until, in: map[uint32]bool{}}
	err := g.manifests(ctx, k)
	for after, more := "", true; more && err == nil; {
		after, more, err = g.page(ctx, after)
	}
	if err != nil {
		return nil, fmt.Errorf("generations of %s: %w", k.cfg.Store, err)
	}
	return slices.Sorted(maps.Keys(g.in)), nil
}

type generations struct {
	target backup.ObjectStore
	store  string
	until  time.Time
	in     map[uint32]bool

	ledger *read.Ledger
	kept   map[string]bool // manifests on the way to points that prunes kept
}

// manifests finds out which manifests of pruned stretches are still opened.
func (g *generations) manifests(ctx context.Context, k *Keeper) (err error) {
	if g.ledger, err = k.reader.Ledger(ctx); err != nil || g.ledger.Prune == nil {
		return err
	}
	m := &mark{k: k, ledger: g.ledger, links: map[string]*read.Link{}}
	if err := m.survey(ctx); err != nil {
		return err
	}
	g.kept, err = m.ways(ctx, g.ledger.Prune)
	return err
}

func (g *generations) page(ctx context.Context, after string) (last string, more bool, err error) {
	const limit = 1000
	list, err := g.target.List(ctx, backup.Prefix(g.store), after, limit)
	for _, info := range list {
		last = info.Name
		if err == nil && info.Size > 0 && !info.Modified.After(g.until) && !g.placeholder(info.Name) {
			err = g.object(ctx, info.Name)
		}
	}
	return last, len(list) == limit, err
}

// placeholder says whether an object is the manifest of a base that no point needs.
func (g *generations) placeholder(name string) bool {
	sequence, err := backup.ParseManifestName(g.store, name)
	return err == nil && sequence <= g.ledger.Horizon() && slices.Contains(g.ledger.Bases, sequence) && !g.kept[name]
}

// object reads an object's header. One that vanished is no matter.
func (g *generations) object(ctx context.Context, name string) error {
	r, err := g.target.Get(ctx, name)
	if errors.Is(err, data.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	head := make([]byte, backup.HeaderSize)
	if _, err := io.ReadFull(r, head); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	h, err := backup.ParseHeader(head)
	if err != nil {
		return read.Named(name, err)
	}
	g.in[h.Generation] = true
	return nil
}

// StagedGenerations lists the generations that a staging folder's journal is sealed
// under. It answers data.ErrBusy while a snapshot is staged that its target has not got.
func StagedGenerations(dir string) ([]uint32, error) {
	if _, err := os.Stat(filepath.Join(dir, pendingName)); err == nil {
		return nil, fmt.Errorf("%s: %w", dir, data.ErrBusy)
	}
	f, err := os.Open(filepath.Join(dir, journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	in := map[uint32]bool{}
	for at := int64(0); ; {
		head := make([]byte, 4+backup.HeaderSize)
		if _, err := f.ReadAt(head, at); err != nil { // the end, or a torn tail
			return slices.Sorted(maps.Keys(in)), nil //nolint:nilerr // see above
		}
		h, err := backup.ParseHeader(head[4:])
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		in[h.Generation] = true
		at += 4 + int64(binary.BigEndian.Uint32(head))
	}
}
