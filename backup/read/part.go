package read

import (
	"context"
	"crypto/sha256"
	"fmt"

	"holdfast/backup"
	"holdfast/data"
)

// Part is what one object of a link holds: pages or changes of the tree.
type Part struct {
	Ref     backup.Ref
	Pages   *backup.PageList
	Changes []backup.Change
}

// Part reads the i-th object of a link: size and hash first, then its place,
// then its content. Errors name it.
func (r *Reader) Part(ctx context.Context, l *Link, i int) (Part, error) {
	p := Part{Ref: l.Objects[i]}
	plain, err := r.plain(ctx, l, i)
	if err != nil {
		return p, Named(p.Ref.Name, err)
	}
	if p.Ref.Kind == backup.Tree {
		p.Changes, err = backup.ParseChanges(plain)
		return p, Named(p.Ref.Name, err)
	}
	if p.Pages, err = backup.ParsePages(plain); err == nil {
		err = within(p.Pages, p.Ref, l)
	}
	return p, Named(p.Ref.Name, err)
}

func (r *Reader) plain(ctx context.Context, l *Link, i int) ([]byte, error) {
	ref := l.Objects[i]
	object, err := backup.FetchSized(ctx, r.source, ref.Name, ref.Size)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(object) != ref.SHA256 {
		return nil, fmt.Errorf("%w: not the bytes that were shipped (SHA-256)", data.ErrTampered)
	}
	h, plain, err := r.codec.Open(ref.Name, object)
	if err == nil && !l.holds(h, i) {
		err = fmt.Errorf("%w: it belongs elsewhere", data.ErrTampered)
	}
	return plain, err
}

// holds compares an object's header with its place. A merged link takes parts
// from several places: their name and hash, which it signs for, say which.
func (l *Link) holds(h backup.Header, i int) bool {
	ref := l.Objects[i]
	if l.Level > 0 {
		return h.Kind == ref.Kind && h.Part == ref.Part && backup.PartName(l.Store, h) == ref.Name
	}
	previous := l.Header.Previous
	if i > 0 {
		previous = l.Objects[i-1].SHA256
	}
	return h.Kind == ref.Kind && h.Epoch == l.Header.Epoch && h.Sequence == l.Sequence && h.Part == ref.Part && h.Previous == previous
}

func within(p *backup.PageList, ref backup.Ref, l *Link) error {
	n := p.Numbers
	if len(n) > 0 && n[len(n)-1] > l.Pages.Total {
		return fmt.Errorf("%w: page %d of %d", backup.ErrFormat, n[len(n)-1], l.Pages.Total)
	}
	if ref.Last > 0 && (len(n) == 0 || n[0] != ref.First || n[len(n)-1] != ref.Last) {
		return fmt.Errorf("%w: other pages than the manifest says", data.ErrTampered)
	}
	return nil
}

// Each reads the wanted objects of a link in order, fetched ahead.
func (r *Reader) Each(ctx context.Context, l *Link, want func(backup.Ref) bool, fn func(Part) error) error {
	var refs []int
	for i, ref := range l.Objects {
		if want(ref) {
			refs = append(refs, i)
		}
	}
	s := Ahead(ctx, len(refs), func(ctx context.Context, i int) (Part, error) { return r.Part(ctx, l, refs[i]) })
	defer s.Close()
	for _, i := range refs {
		p, err := s.Next()
		if err == nil {
			err = fn(p)
		}
		if err != nil {
			return Named(l.Objects[i].Name, err)
		}
	}
	return nil
}

// Tree reads a tree object by its name alone. Its place in the chain is not
// checked: it is for those who want to know what any tree refers to.
func (r *Reader) Tree(ctx context.Context, name string) ([]backup.Change, error) {
	object, err := backup.Fetch(ctx, r.source, name, backup.MaxObject)
	if err != nil {
		return nil, Named(name, err)
	}
	_, plain, err := r.codec.Open(name, object)
	if err != nil {
		return nil, Named(name, err)
	}
	changes, err := backup.ParseChanges(plain)
	return changes, Named(name, err)
}

// Content is a chunk of a file and the size of its object.
type Content struct {
	Plain []byte
	Size  int64
}

// Content reads a chunk and checks it against its name. Errors name it.
func (r *Reader) Content(ctx context.Context, c backup.Chunk) (Content, error) {
	name := backup.ContentName(r.store, c)
	object, err := backup.Fetch(ctx, r.source, name, backup.MaxObject)
	if err != nil {
		return Content{}, Named(name, err)
	}
	plain, err := r.codec.OpenContent(c, object)
	if err == nil && int64(len(plain)) != c.Size {
		err = fmt.Errorf("%w: %d bytes instead of %d", data.ErrTampered, len(plain), c.Size)
	}
	return Content{plain, int64(len(object))}, Named(name, err)
}

// ApplyTree brings a tree forward by what one of the link's objects holds.
func (l *Link) ApplyTree(t *backup.FileTree, changes []backup.Change) error {
	if l.Level > 0 {
		return t.ApplyMerged(changes)
	}
	return t.Apply(changes)
}
