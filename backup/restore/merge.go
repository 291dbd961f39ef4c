package restore

import (
	"context"
	"fmt"

	"holdfast/backup"
	"holdfast/backup/read"
	"holdfast/data"
)

// merge gives the pages of a snapshot in order: from the overlay, else from the
// base, else zeros. It sums them on the way.
type merge struct {
	r     *reader
	base  *read.Link
	over  *read.Overlay
	parts *read.Stream[read.Part]
	left  int // parts not yet taken
	part  *backup.PageList
	at    int // next page of part
	total uint32
	pgno  uint32 // last page given
	sums  *backup.Sums
	err   error // what next answered
}

func newMerge(ctx context.Context, r *reader, base, last *read.Link, over *read.Overlay) (*merge, error) {
	sums, err := backup.NewSums(last.SumKey)
	if err != nil {
		return nil, err
	}
	m := &merge{r: r, base: base, over: over, total: last.Pages.Total, sums: sums, part: &backup.PageList{}}
	var refs []int
	for i, ref := range base.Objects {
		if ref.Kind == backup.Pages {
			refs = append(refs, i)
		}
	}
	m.left = len(refs)
	m.parts = read.Ahead(ctx, len(refs), func(ctx context.Context, i int) (read.Part, error) { return r.Part(ctx, base, refs[i]) })
	return m, nil
}

func (m *merge) close() { m.parts.Close() }

// next is what the sink calls.
func (m *merge) next(pgno uint32, page []byte) error {
	if m.pgno+1 == backup.LockPage && pgno == backup.LockPage+1 {
		m.take(backup.LockPage, make([]byte, data.PageSize))
	}
	if pgno != m.pgno+1 || pgno > m.total || len(page) != data.PageSize {
		return fmt.Errorf("page %d of %d asked for after page %d", pgno, m.total, m.pgno)
	}
	if m.err = m.fill(pgno, page); m.err != nil {
		return m.err
	}
	m.take(pgno, page)
	return nil
}

func (m *merge) take(pgno uint32, page []byte) {
	m.sums.Put(pgno, m.sums.Of(pgno, page))
	m.pgno = pgno
}

func (m *merge) fill(pgno uint32, page []byte) error {
	inBase, err := m.fromBase(pgno, page) // always: the base is read in step
	if err != nil {
		return err
	}
	inOverlay, err := m.over.Get(pgno, page)
	if err == nil && !inOverlay && (!inBase || pgno > m.over.Low) {
		clear(page)
	}
	return err
}

func (m *merge) fromBase(pgno uint32, page []byte) (bool, error) {
	for m.at == len(m.part.Numbers) {
		if m.left == 0 {
			return false, nil
		}
		if err := m.nextPart(); err != nil {
			return false, err
		}
	}
	if m.part.Numbers[m.at] != pgno {
		return false, nil
	}
	copy(page, m.part.Image(m.at))
	m.at++
	return true, nil
}

func (m *merge) nextPart() error {
	p, err := m.parts.Next()
	if err != nil {
		return err
	}
	m.left--
	if first := p.Pages.Numbers; len(first) > 0 && first[0] <= m.pgno {
		return m.base.Wrong("its parts overlap")
	}
	m.r.count(p.Ref.Size, p.Ref.Size)
	m.part, m.at = p.Pages, 0
	return nil
}

// finish returns the whole-database checksum of what was given.
func (m *merge) finish() (backup.Hash, error) {
	if m.pgno+1 == backup.LockPage && m.total == backup.LockPage {
		m.take(backup.LockPage, make([]byte, data.PageSize))
	}
	if m.pgno != m.total {
		return backup.Hash{}, fmt.Errorf("only %d of %d pages were taken", m.pgno, m.total)
	}
	return m.sums.Root(), nil
}
