package restore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/backup"
	"holdfast/data"
)

// Report is what Verify found. Bytes were read from the target.
type Report struct {
	OK        bool
	Snapshots int
	First     int64 // sequences
	Last      int64
	Epochs    int
	Objects   int
	Bytes     int64
	Problems  []Problem
	// Leftover objects belong to no snapshot: an upload that was given up, or
	// somebody else's. They do no harm.
	Leftover []string
	Duration time.Duration
}

// Problem names an object that cannot be used, and why.
type Problem struct {
	Object string `json:"object"`
	Reason string `json:"reason"`
}

// maxNamed bounds the lists of a report.
const maxNamed = 100

// Verify reads the whole chain without restoring it: signatures, hashes,
// positions, decryption, and the checksums of the database and the file tree at
// every snapshot. What is wrong with the chain is in the report; the error is
// for what kept it from being read (target, keys).
func Verify(ctx context.Context, c Config) (Report, error) {
	start := time.Now()
	r, err := newReader(c)
	if err != nil {
		return Report{}, err
	}
	v := &verifier{reader: r, seen: map[string]bool{}, contents: map[string]backup.Chunk{}}
	if err := v.run(ctx); err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", c.Store, err)
	}
	v.report.OK = len(v.report.Problems) == 0
	v.report.Objects, v.report.Bytes, v.report.Duration = r.objects, r.bytes, time.Since(start)
	return v.report, nil
}

type verifier struct {
	*reader
	report   Report
	before   *link // nil after a manifest that cannot be used
	sums     *backup.Sums
	tree     *backup.FileTree // nil when the state is not known
	seen     map[string]bool
	contents map[string]backup.Chunk
}

func (v *verifier) run(ctx context.Context) error {
	all, err := allSequences(ctx, v.cfg.Source, v.cfg.Store)
	if err != nil {
		return err
	}
	if len(all) == 0 && v.cfg.AtLeast == 0 {
		return fmt.Errorf("%w: the target holds none of this store", backup.ErrNoSnapshot)
	}
	for i, sequence := range all {
		if i == 0 { // a chain may begin anywhere: its past may have been pruned
			v.report.First = sequence
		} else {
			v.gap(sequence)
		}
		if err := v.snapshot(ctx, sequence); err != nil {
			return err
		}
		v.report.Last = sequence
	}
	v.gap(v.cfg.AtLeast + 1)
	if err := v.checkContents(ctx); err != nil {
		return err
	}
	return v.leftovers(ctx)
}

// gap blames every manifest that is missing between the last one and sequence.
func (v *verifier) gap(sequence int64) {
	for missing := v.report.Last + 1; missing < sequence && len(v.report.Problems) < maxNamed; missing++ {
		v.lost()
		v.problem(backup.ManifestName(v.cfg.Store, missing), errors.New("it is missing"))
	}
}

func (v *verifier) lost() { v.before, v.sums, v.tree = nil, nil, nil }

// problem notes what is wrong with an object.
func (v *verifier) problem(name string, err error) {
	var known *backup.ObjectError
	if errors.As(err, &known) {
		name, err = known.Name, known.Err
	}
	if len(v.report.Problems) < maxNamed {
		v.report.Problems = append(v.report.Problems, Problem{name, err.Error()})
	}
}

// blame notes err if it is the chain's, and returns it if it is not.
func (v *verifier) blame(name string, err error) error {
	var chain *backup.ObjectError
	if errors.Is(err, data.ErrDestroyed) || errors.Is(err, data.ErrParked) || errors.Is(err, data.ErrSealed) || !errors.As(err, &chain) {
		return err
	}
	for _, ours := range []error{data.ErrNotFound, data.ErrTampered, data.ErrNewer, backup.ErrFormat} {
		if errors.Is(err, ours) {
			v.problem(name, err)
			return nil
		}
	}
	return err
}

func (v *verifier) snapshot(ctx context.Context, sequence int64) error {
	name := backup.ManifestName(v.cfg.Store, sequence)
	v.seen[name] = true
	l, err := v.manifest(ctx, sequence)
	if err != nil {
		v.lost()
		return v.blame(name, err)
	}
	v.count(l.size, 0)
	v.report.Snapshots++
	if err := v.walk(l); err != nil {
		v.lost()
		v.problem(name, err)
	}
	v.before = l
	return v.parts(ctx, l)
}

// walk checks the step from the manifest before, as far as that one is known.
func (v *verifier) walk(l *link) error {
	if l.IsBase() {
		v.report.Epochs++
		var err error
		if v.sums, err = backup.NewSums(l.SumKey); err != nil {
			return err
		}
		v.tree = backup.NewFileTree()
		return startsEpoch(l)
	}
	if v.before == nil {
		if v.report.First == l.Sequence {
			v.problem(backup.ManifestName(l.Store, l.Base), errors.New("it is missing, and others build on it"))
		}
		return nil // the cause is named
	}
	return follows(v.before, l)
}

// parts reads the objects of a snapshot and brings the state forward.
func (v *verifier) parts(ctx context.Context, l *link) error {
	if v.sums != nil {
		v.sums.Resize(min(v.sums.Total(), l.Pages.Total))
	}
	for i, ref := range l.Objects {
		v.seen[ref.Name] = true
		p, err := v.part(ctx, l, i)
		if err == nil {
			v.count(p.size, 0)
			err = named(ref.Name, v.apply(p))
		}
		if err != nil {
			v.sums, v.tree = nil, nil
			if err := v.blame(ref.Name, err); err != nil {
				return err
			}
		}
	}
	v.state(l)
	return nil
}

func (v *verifier) apply(p part) error {
	for _, c := range p.changes {
		if c.Put != nil {
			for _, chunk := range c.Put.Chunks {
				v.contents[chunk.ID] = chunk
			}
		}
	}
	if v.sums == nil {
		return nil
	}
	if p.pages != nil {
		for i, pgno := range p.pages.Numbers {
			v.sums.Put(pgno, v.sums.Of(pgno, p.pages.Image(i)))
		}
	}
	return v.tree.Apply(p.changes)
}

// state compares the checksums with the manifest's.
func (v *verifier) state(l *link) {
	if v.sums == nil {
		return
	}
	v.sums.Resize(l.Pages.Total)
	name := backup.ManifestName(l.Store, l.Sequence)
	if v.sums.Root() != l.Pages.After {
		v.problem(name, wrong(l, "whole-database checksum"))
	}
	if v.tree.Root() != l.Files.After || v.tree.Count() != l.Files.Count {
		v.problem(name, wrong(l, "checksum of the file tree"))
	}
}

// checkContents reads every chunk that any snapshot refers to.
func (v *verifier) checkContents(ctx context.Context) error {
	list := make([]backup.Chunk, 0, len(v.contents))
	for _, c := range v.contents {
		list = append(list, c)
	}
	s := ahead(ctx, len(list), func(ctx context.Context, i int) (error, error) { //nolint:staticcheck // a failure is a result here
		f, err := v.content(ctx, list[i])
		if err == nil {
			list[i].Size = f.size
		}
		return err, ctx.Err()
	})
	defer s.close()
	for i := range list {
		failure, err := s.next()
		if err != nil {
			return err
		}
		name := backup.ContentName(v.cfg.Store, list[i].ID)
		v.seen[name] = true
		if failure == nil {
			v.count(list[i].Size, 0)
		} else if err := v.blame(name, failure); err != nil {
			return err
		}
	}
	return nil
}

// leftovers lists what no snapshot refers to.
func (v *verifier) leftovers(ctx context.Context) error {
	const limit = 1000
	for after := ""; ; {
		page, err := v.cfg.Source.List(ctx, backup.Prefix(v.cfg.Store), after, limit)
		if err != nil {
			return err
		}
		for _, o := range page {
			if after = o.Name; !v.seen[o.Name] && len(v.report.Leftover) < maxNamed {
				v.report.Leftover = append(v.report.Leftover, o.Name)
			}
		}
		if len(page) < limit {
			return nil
		}
	}
}
