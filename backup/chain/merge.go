package chain

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"holdfast/backup"
	"holdfast/backup/read"
	"holdfast/data"
)

// errSlow means that merging took so long that its parts may be swept before
// their manifest is there.
var errSlow = errors.New("merging took too long")

// merger makes one link of several.
type merger struct {
	k     *Keeper
	links []*read.Link
	level int
	run   backup.Epoch // stands in the names of the parts; no two runs share one
	over  *read.Overlay
	tree  *backup.FileTree         // of an image
	net   map[string]backup.Change // of the others: the last word about each file

	list  backup.PageList
	refs  []*backup.Ref
	parts uint32
	taken int
	group *errgroup.Group
}

// merge puts the link that stands for the steps, its manifest last.
func (k *Keeper) merge(ctx context.Context, steps []span, level int, done *Compacted) (span, error) {
	start := k.cfg.Clock()
	m, err := k.newMerger(ctx, steps, level)
	if err != nil {
		return span{}, err
	}
	defer m.over.Close()
	if err := m.write(ctx); err != nil {
		return span{}, err
	}
	if k.cfg.Clock().Sub(start) > relied {
		return span{}, errSlow
	}
	merged, err := m.manifest(ctx)
	if err != nil {
		return span{}, err
	}
	done.add(m, merged)
	return span{MergedName: merged.Name(), known: true}, nil
}

func (d *Compacted) add(m *merger, merged *backup.Merged) {
	d.Merged++
	if merged.Level == backup.Image {
		d.Images++
	}
	d.Objects += int(m.parts) + 1
	d.Taken += m.taken
	for _, r := range m.refs {
		if p, err := backup.ParsePartName(m.k.cfg.Store, r.Name); err == nil && p.Epoch == m.run {
			d.Bytes += r.Size
		}
	}
}

func (k *Keeper) newMerger(ctx context.Context, steps []span, level int) (*merger, error) {
	names := make([]backup.MergedName, len(steps))
	for i, s := range steps {
		names[i] = s.MergedName
	}
	links, err := k.reader.Stretch(ctx, names)
	if err == nil && level == backup.Image {
		if err = read.Follows(nil, links[0]); err == nil {
			k.ledger, err = k.reader.Ledger(ctx) // parts that it condemned must not be taken over
		}
	}
	if err != nil {
		return nil, err
	}
	over, err := read.NewOverlay(k.cfg.Scratch)
	if err != nil {
		return nil, err
	}
	m := &merger{k: k, links: links, level: level, over: over, tree: backup.NewFileTree(), net: map[string]backup.Change{}, group: new(errgroup.Group)}
	rand.Read(m.run[:]) //nolint:errcheck // never fails
	m.group.SetLimit(uploading)
	return m, nil
}

// write reads the links and puts the parts.
func (m *merger) write(ctx context.Context) error {
	err := m.collect(ctx)
	if err == nil {
		err = m.pages(ctx)
	}
	if err == nil {
		err = m.flush(ctx)
	}
	if err == nil {
		err = m.files(ctx)
	}
	return errors.Join(err, m.group.Wait())
}

func (m *merger) image() bool { return m.level == backup.Image }

// collect takes the pages of all links (but an image's own, which are read in
// step with writing) and the changes of the tree.
func (m *merger) collect(ctx context.Context) error {
	m.over.Begin(math.MaxUint32)
	if m.image() {
		m.over.Begin(m.links[0].Pages.Total)
	}
	for i, l := range m.links {
		own := m.image() && i == 0
		if !own {
			m.over.Resize(min(m.over.Total, l.Low))
		}
		err := m.k.reader.Each(ctx, l, func(ref backup.Ref) bool { return !own || ref.Kind == backup.Tree }, func(p read.Part) error {
			if p.Pages != nil {
				return m.over.PutAll(p.Pages)
			}
			return m.change(l, p.Changes)
		})
		if err != nil {
			return err
		}
		m.over.Resize(l.Pages.Total)
	}
	return nil
}

func (m *merger) change(l *read.Link, changes []backup.Change) error {
	if m.image() {
		return l.ApplyTree(m.tree, changes)
	}
	for _, c := range changes {
		m.net[c.Name()] = c
	}
	return nil
}

// pages writes the pages in order: the overlay's, in an image merged with those
// of the image before.
func (m *merger) pages(ctx context.Context) error {
	numbers := m.over.Numbers()
	if m.image() {
		var err error
		if numbers, err = m.rebase(ctx, numbers); err != nil {
			return err
		}
	}
	for _, pgno := range numbers {
		if err := m.fromOverlay(ctx, pgno); err != nil {
			return err
		}
	}
	return nil
}

// rebase writes the pages up to the end of the image before, and returns the
// numbers of the overlay that come after it.
func (m *merger) rebase(ctx context.Context, numbers []uint32) ([]uint32, error) {
	base := m.links[0]
	var unread []int
	for i, ref := range base.Objects {
		if ref.Kind == backup.Pages && !m.untouched(ref, numbers) {
			unread = append(unread, i)
		}
	}
	s := read.Ahead(ctx, len(unread), func(ctx context.Context, i int) (read.Part, error) { return m.k.reader.Part(ctx, base, unread[i]) })
	defer s.Close()
	for _, ref := range base.Objects {
		if ref.Kind != backup.Pages {
			continue
		}
		var err error
		if m.untouched(ref, numbers) {
			numbers, err = m.take(ctx, ref, numbers)
		} else {
			numbers, err = m.mix(ctx, s, numbers)
		}
		if err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

// untouched reports whether no page of a part has changed since.
func (m *merger) untouched(ref backup.Ref, numbers []uint32) bool {
	if ref.Last == 0 || ref.Last > m.over.Low || m.k.ledger.Condemned(ref.Name) {
		return false
	}
	i, found := slices.BinarySearch(numbers, ref.First)
	return !found && (i == len(numbers) || numbers[i] > ref.Last)
}

// take lists a part of the image before as it is.
func (m *merger) take(ctx context.Context, ref backup.Ref, numbers []uint32) ([]uint32, error) {
	numbers, err := m.upTo(ctx, ref.First, numbers)
	if err == nil {
		err = m.flush(ctx)
	}
	m.refs = append(m.refs, &ref)
	m.taken++
	return numbers, err
}

// mix writes the pages of a part of the image before, and those of the overlay
// that lie among them.
func (m *merger) mix(ctx context.Context, s *read.Stream[read.Part], numbers []uint32) ([]uint32, error) {
	p, err := s.Next()
	if err != nil {
		return nil, err
	}
	for i, pgno := range p.Pages.Numbers {
		if numbers, err = m.upTo(ctx, pgno, numbers); err != nil {
			return nil, err
		}
		if len(numbers) > 0 && numbers[0] == pgno || pgno > m.over.Low {
			continue // changed, or cut off
		}
		if err := m.page(ctx, pgno, p.Pages.Image(i)); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

// upTo writes the overlay's pages before a number.
func (m *merger) upTo(ctx context.Context, pgno uint32, numbers []uint32) ([]uint32, error) {
	for len(numbers) > 0 && numbers[0] < pgno {
		if err := m.fromOverlay(ctx, numbers[0]); err != nil {
			return nil, err
		}
		numbers = numbers[1:]
	}
	return numbers, nil
}

func (m *merger) fromOverlay(ctx context.Context, pgno uint32) error {
	page := make([]byte, data.PageSize)
	if _, err := m.over.Get(pgno, page); err != nil {
		return err
	}
	return m.page(ctx, pgno, page)
}

func (m *merger) page(ctx context.Context, pgno uint32, page []byte) error {
	m.list.Add(pgno, page)
	if len(m.list.Numbers) < backup.PagesPerPart {
		return nil
	}
	return m.flush(ctx)
}

func (m *merger) flush(ctx context.Context) error {
	if len(m.list.Numbers) == 0 {
		return nil
	}
	ref := backup.Ref{Kind: backup.Pages}
	ref.SetRange(m.list.Numbers)
	plain := m.list.Format()
	m.list = backup.PageList{Numbers: m.list.Numbers[:0], Images: m.list.Images[:0]}
	return m.put(ctx, &ref, plain)
}

// put seals a part and puts it, several at the same time.
func (m *merger) put(ctx context.Context, ref *backup.Ref, plain []byte) error {
	last := m.links[len(m.links)-1]
	h := backup.Header{Kind: ref.Kind, Epoch: m.run, Sequence: last.Sequence, Part: m.parts, Previous: m.links[0].Start}
	ref.Part, ref.Name = m.parts, backup.PartName(m.k.cfg.Store, h)
	m.parts++
	m.refs = append(m.refs, ref)
	m.group.Go(func() error {
		object, err := m.k.reader.Codec().Seal(h, ref.Name, plain)
		if err != nil {
			return err
		}
		ref.Size, ref.SHA256 = int64(len(object)), sha256.Sum256(object)
		return m.k.put(ctx, ref.Name, object)
	})
	return ctx.Err()
}

func (k *Keeper) put(ctx context.Context, name string, object []byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	return k.cfg.Target.Put(ctx, name, bytes.NewReader(object), int64(len(object)), backup.PutOptions{
		IfNoneMatch: true, Lock: k.cfg.Lock.From(k.cfg.Clock()),
	})
}

// files puts the changes of the tree: of an image, every file.
func (m *merger) files(ctx context.Context) error {
	last := m.links[len(m.links)-1]
	changes := slices.SortedFunc(maps.Values(m.net), func(a, b backup.Change) int { return strings.Compare(a.Name(), b.Name()) })
	if m.image() {
		if m.tree.Root() != last.Files.After {
			return last.Wrong("the file tree is not the one that was shipped")
		}
		for _, name := range m.tree.Names() {
			f, _ := m.tree.Get(name)
			changes = append(changes, backup.Change{Put: &f})
		}
	}
	parts, err := backup.FormatChanges(changes)
	if err != nil {
		return err
	}
	for _, plain := range parts {
		if err := m.put(ctx, &backup.Ref{Kind: backup.Tree}, plain); err != nil {
			return err
		}
	}
	return nil
}

// manifest signs for it all. A name that is taken is as good, if it opens:
// another keeper was faster.
func (m *merger) manifest(ctx context.Context) (*backup.Merged, error) {
	first, last := m.links[0], m.links[len(m.links)-1]
	out := &backup.Merged{Snapshot: *last.Snapshot, First: first.First, Level: m.level, Start: first.Start, End: last.End}
	out.Pages.Before, out.Files.Before, out.Objects = first.Pages.Before, first.Files.Before, []backup.Ref{}
	if !m.image() {
		out.Low = m.over.Low
	}
	for _, r := range m.refs {
		out.Objects = append(out.Objects, *r)
	}
	object, err := m.k.reader.Codec().SealMerged(out)
	if err != nil {
		return nil, err
	}
	err = m.k.put(ctx, out.Name().In(m.k.cfg.Store), object)
	if errors.Is(err, data.ErrExists) {
		_, err = m.k.reader.Merged(ctx, out.Name())
	}
	if err != nil {
		return nil, fmt.Errorf("merge %d to %d: %w", out.First, out.Sequence, err)
	}
	return out, nil
}
