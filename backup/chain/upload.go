package chain

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"holdfast/backup"
	"holdfast/data"
)

// errConflict means that other bytes stand under the name of a part.
var errConflict = errors.New("a part of this name is on the target with other content")

// confirm puts the pending snapshot on the target, its manifest last, and
// records that it is there. It resumes what a crash or an error left.
func (c *Chain) confirm(ctx context.Context) error {
	p := c.pending
	if p == nil {
		return nil
	}
	if err := c.upload(ctx, p); err != nil {
		return err
	}
	if c.cfg.Confirmed != nil {
		if err := c.cfg.Confirmed(ctx, p.index.Result); err != nil {
			return err
		}
	}
	if err := c.journal.append(p.record, c.state); err != nil {
		return err
	}
	c.confirmed, c.staged, c.unsure = p.record.meta, nil, false
	c.dropPending()
	return nil
}

func (c *Chain) upload(ctx context.Context, p *pending) error {
	manifest := len(p.index.Items) - 1
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(uploading)
	for i := range manifest {
		g.Go(func() error { return c.uploadItem(gctx, p, i, errConflict) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := c.stillThere(ctx, p); err != nil {
		return err
	}
	return c.uploadItem(ctx, p, manifest, backup.ErrFenced)
}

// spill puts what is staged so far, before the snapshot is whole, and makes room:
// a large base needs no more disk than the bound. Without its manifest nobody
// looks at it.
func (c *Chain) spill(ctx context.Context, s *stage) error {
	p := &pending{f: s.f, index: index{Items: s.items}, done: index{Items: s.items}.done()}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(uploading)
	for i := range s.items {
		g.Go(func() error { return c.uploadItem(gctx, p, i, errConflict) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.sent()
}

// errSwept means that a prune condemned content that the snapshot refers to.
var errSwept = errors.New("it took so long that its content may have been pruned")

// stillThere looks whether prunes have condemned content that was put or found
// for this snapshot, if that was long ago: until the manifest is there, nothing
// tells them that it is needed. A prune that gave the snapshot's own sequence up is
// about another writer's: its manifest may be swept, and the name be free again.
func (c *Chain) stillThere(ctx context.Context, p *pending) error {
	if c.cfg.Clock().Sub(p.index.Since) < relied {
		return nil
	}
	ledger, err := c.reader.Ledger(ctx)
	if err != nil {
		return err
	}
	if ledger.Horizon() >= p.record.Sequence {
		return fmt.Errorf("snapshot %d was given up: %w", p.record.Sequence, backup.ErrFenced)
	}
	for _, change := range p.record.changes {
		for _, chunk := range change.Chunks() {
			if ledger.Condemned(backup.ContentName(c.cfg.Store, chunk)) {
				return errSwept
			}
		}
	}
	return nil
}

// uploadItem puts one object. A taken name is as good if the bytes are ours: an
// answer was lost, or a crash came between.
func (c *Chain) uploadItem(ctx context.Context, p *pending, i int, foreign error) error {
	if p.done[i] {
		return nil
	}
	it := p.index.Items[i]
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	err := c.cfg.Target.Put(ctx, it.Name, p.reader(i), it.Size, backup.PutOptions{IfNoneMatch: true, Lock: c.cfg.Lock.From(c.cfg.Clock())})
	if errors.Is(err, data.ErrExists) {
		err = c.compare(ctx, it.Name, it.SHA256, foreign)
	}
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	p.done[i] = true
	return nil
}

// compare answers foreign unless the object has the hash.
func (c *Chain) compare(ctx context.Context, name string, want backup.Hash, foreign error) error {
	object, err := backup.Fetch(ctx, c.cfg.Target, name, backup.MaxObject)
	if err == nil && sha256.Sum256(object) == want {
		return nil
	}
	if err == nil || errors.Is(err, backup.ErrFormat) {
		return fmt.Errorf("%s: %w", name, foreign)
	}
	return err
}

// reconcile compares the state with the target once: a target that lost the
// chain needs a base, one that somebody else wrote to is left alone.
func (c *Chain) reconcile(ctx context.Context) error {
	if c.checked || c.confirmed.Sequence == 0 {
		return nil
	}
	name := backup.ManifestName(c.cfg.Store, c.confirmed.Sequence)
	err := c.compare(ctx, name, c.confirmed.Manifest, backup.ErrFenced)
	if errors.Is(err, data.ErrNotFound) {
		c.forget(fmt.Errorf("%s is no longer on the target", name))
		err = nil
	}
	if err != nil {
		return err
	}
	c.checked = true
	return nil
}

// ours refuses to begin an epoch behind a manifest that this chain did not put,
// unless it is to take over or remembers nothing: what it goes on from may be gone
// because another writer's prune had no more need of it. Parts of our own epoch that are
// not as we would put them are a crash's, or those of a copy of this host's staging.
func (c *Chain) ours(newest int64, hash backup.Hash) error {
	known := c.confirmed.Sequence
	if c.cfg.TakeOver || c.unsure || known == 0 || newest <= known || slices.Contains(c.staged, hash) || errors.Is(c.restart, errConflict) {
		return nil
	}
	return fmt.Errorf("%s: %w", backup.ManifestName(c.cfg.Store, newest), backup.ErrFenced)
}

// newest finds the last manifest on the target: its sequence and hash, zero
// without one.
func (c *Chain) newest(ctx context.Context) (int64, backup.Hash, error) {
	sequence, err := backup.Newest(ctx, c.cfg.Target, c.cfg.Store)
	if err != nil || sequence == 0 {
		return 0, backup.Hash{}, err
	}
	object, err := backup.Fetch(ctx, c.cfg.Target, backup.ManifestName(c.cfg.Store, sequence), backup.MaxObject)
	return sequence, sha256.Sum256(object), err
}
