package restore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"holdfast/backup"
	"holdfast/data"
)

// reader reads one store's chain.
type reader struct {
	cfg     Config
	codec   *backup.Codec
	objects int
	bytes   int64 // read
	done    int64 // of expect
	expect  int64
}

func newReader(c Config) (*reader, error) {
	codec, err := backup.NewCodec(c.Store, c.Keys)
	if err != nil {
		return nil, err
	}
	return &reader{cfg: c, codec: codec}, nil
}

func (r *reader) count(size, done int64) {
	r.objects++
	r.bytes += size
	r.done += done
	if r.cfg.Progress != nil {
		r.cfg.Progress(r.done, max(r.done, r.expect))
	}
}

// link is a manifest whose signature holds.
type link struct {
	*backup.Snapshot
	header backup.Header
	hash   backup.Hash
	size   int64
}

// manifest reads and opens one manifest.
func (r *reader) manifest(ctx context.Context, sequence int64) (*link, error) {
	name := backup.ManifestName(r.cfg.Store, sequence)
	object, err := backup.Fetch(ctx, r.cfg.Source, name, backup.MaxObject)
	if err != nil {
		return nil, &backup.ObjectError{Name: name, Err: err}
	}
	h, s, err := r.codec.OpenManifest(sequence, object)
	if err != nil {
		return nil, &backup.ObjectError{Name: name, Err: err}
	}
	return &link{Snapshot: s, header: h, hash: sha256.Sum256(object), size: int64(len(object))}, nil
}

// manifests reads the manifests from first to last and walks them.
func (r *reader) manifests(ctx context.Context, first, last int64) ([]*link, error) {
	s := ahead(ctx, int(last-first+1), func(ctx context.Context, i int) (*link, error) {
		return r.manifest(ctx, first+int64(i))
	})
	defer s.close()
	var links []*link
	var before *link
	for range last - first + 1 {
		l, err := s.next()
		if err != nil {
			return nil, err
		}
		if err := follows(before, l); err != nil {
			return nil, err
		}
		r.count(l.size, 0)
		links, before = append(links, l), l
	}
	return links, nil
}

// follows is the walk: it checks that l comes directly after before (nil if
// l must be a base), by hash and by what both say of the store.
func follows(before, l *link) error {
	if before == nil || l.IsBase() {
		return startsEpoch(l)
	}
	switch {
	case l.header.Previous != before.hash:
		return wrong(l, "it does not continue the manifest before it")
	case l.Epoch != before.Epoch, l.Base != before.Base, l.Sequence != before.Sequence+1, string(l.SumKey) != string(before.SumKey):
		return wrong(l, "it belongs to another run of the chain")
	case l.Pages.Before != before.Pages.After, l.Files.Before != before.Files.After:
		return wrong(l, "it starts from another state than the one before it left")
	case l.Time.Before(before.Time):
		return wrong(l, "it is older than the one before it")
	case l.Position.Incarnation == before.Position.Incarnation && l.Position.Sequence < before.Position.Sequence:
		return wrong(l, "its position is behind the one before it")
	}
	return nil
}

func startsEpoch(l *link) error {
	sums, err := backup.NewSums(l.SumKey)
	if err != nil {
		return err
	}
	empty := l.Pages.Before == sums.Root() && l.Files.Before == backup.NewFileTree().Root()
	if !l.IsBase() || !empty {
		return wrong(l, "it is not a base")
	}
	return nil
}

// part is what one object of a snapshot holds: pages or changes of the tree.
type part struct {
	pages   *backup.PageList
	changes []backup.Change
	size    int64
}

// each reads the wanted objects of a snapshot in order, fetched ahead.
func (r *reader) each(ctx context.Context, l *link, want func(backup.Ref) bool, fn func(part) error) error {
	var refs []int
	for i, ref := range l.Objects {
		if want(ref) {
			refs = append(refs, i)
		}
	}
	s := ahead(ctx, len(refs), func(ctx context.Context, i int) (part, error) { return r.part(ctx, l, refs[i]) })
	defer s.close()
	for _, i := range refs {
		p, err := s.next()
		if err == nil {
			r.count(p.size, p.size)
			err = fn(p)
		}
		if err != nil {
			return named(l.Objects[i].Name, err)
		}
	}
	return nil
}

// part reads the i-th object of a snapshot: size and hash first, then its
// place, then its content.
func (r *reader) part(ctx context.Context, l *link, i int) (part, error) {
	ref := l.Objects[i]
	object, err := backup.FetchSized(ctx, r.cfg.Source, ref.Name, ref.Size)
	if err != nil {
		return part{}, named(ref.Name, err)
	}
	if sha256.Sum256(object) != ref.SHA256 {
		return part{}, named(ref.Name, fmt.Errorf("%w: not the bytes that were shipped (SHA-256)", data.ErrTampered))
	}
	h, plain, err := r.codec.Open(ref.Name, object)
	if err != nil {
		return part{}, named(ref.Name, err)
	}
	if h.Kind != ref.Kind || h.Epoch != l.header.Epoch || h.Sequence != l.Sequence || h.Part != ref.Part || h.Previous != before(l, i) {
		return part{}, named(ref.Name, fmt.Errorf("%w: it belongs elsewhere", data.ErrTampered))
	}
	p, err := parsePart(l, ref, plain)
	return p, named(ref.Name, err)
}

// before is the hash of the object before the i-th.
func before(l *link, i int) backup.Hash {
	if i == 0 {
		return l.header.Previous
	}
	return l.Objects[i-1].SHA256
}

func parsePart(l *link, ref backup.Ref, plain []byte) (p part, err error) {
	p.size = ref.Size
	if ref.Kind == backup.Tree {
		p.changes, err = backup.ParseChanges(plain)
		return p, err
	}
	if p.pages, err = backup.ParsePages(plain); err != nil {
		return p, err
	}
	if n := p.pages.Numbers; len(n) > 0 && n[len(n)-1] > l.Pages.Total {
		return p, fmt.Errorf("%w: page %d of %d", backup.ErrFormat, n[len(n)-1], l.Pages.Total)
	}
	return p, nil
}

// fetched is a chunk of content and the size of its object.
type fetched struct {
	plain []byte
	size  int64
}

// content reads a chunk and checks it against its name.
func (r *reader) content(ctx context.Context, c backup.Chunk) (fetched, error) {
	name := backup.ContentName(r.cfg.Store, c.ID)
	object, err := backup.Fetch(ctx, r.cfg.Source, name, backup.MaxObject)
	if err != nil {
		return fetched{}, named(name, err)
	}
	plain, err := r.codec.OpenContent(c.ID, object)
	if err == nil && int64(len(plain)) != c.Size {
		err = fmt.Errorf("%w: %d bytes instead of %d", data.ErrTampered, len(plain), c.Size)
	}
	return fetched{plain, int64(len(object))}, named(name, err)
}

// named says which object an error is about, once.
func named(name string, err error) error {
	var known *backup.ObjectError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &backup.ObjectError{Name: name, Err: err}
}
