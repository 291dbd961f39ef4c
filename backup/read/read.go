// Package read reads chains: manifests, merged ones, the way through them, and
// the objects that they list. Nothing is believed before signature, hashes and
// positions agree. What restores, verifies, compacts and prunes stands on it.
package read

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"holdfast/backup"
	"holdfast/data"
)

// Reader reads one store's chain on one target. It is safe for concurrent use.
type Reader struct {
	source backup.ObjectStore
	store  string
	codec  *backup.Codec
}

// New returns the reader of a store's chain. It makes no request.
func New(source backup.ObjectStore, store string, keys data.KeySource) (*Reader, error) {
	codec, err := backup.NewCodec(store, keys)
	if err != nil {
		return nil, err
	}
	return &Reader{source: source, store: store, codec: codec}, nil
}

// Codec seals and opens the store's objects.
func (r *Reader) Codec() *backup.Codec { return r.codec }

// Source is where the chain is.
func (r *Reader) Source() backup.ObjectStore { return r.source }

// Store is whose chain it is.
func (r *Reader) Store() string { return r.store }

// Link is one step of a chain whose signature holds: from the state after
// snapshot First-1 (from nothing, for an image) to that after Sequence.
type Link struct {
	*backup.Snapshot
	Name   string // of its manifest
	Size   int64  // of its manifest, in bytes
	Header backup.Header
	First  int64       // Sequence for one that is not merged
	Level  int         // 0 for one that is not merged
	Low    uint32      // smallest size of the database on the way, in pages
	Start  backup.Hash // manifest before First
	End    backup.Hash // manifest of Sequence
}

// IsImage reports whether the link holds everything by itself.
func (l *Link) IsImage() bool { return l.First == l.Base }

// Wrong blames the link's manifest, whose word the objects do not keep.
func (l *Link) Wrong(what string) error {
	return &backup.ObjectError{Name: l.Name, Err: fmt.Errorf("%w: %s", data.ErrTampered, what)}
}

// Manifest reads and opens one snapshot's manifest. Errors name it.
func (r *Reader) Manifest(ctx context.Context, sequence int64) (*Link, error) {
	name := backup.ManifestName(r.store, sequence)
	object, err := backup.Fetch(ctx, r.source, name, backup.MaxObject)
	if err != nil {
		return nil, Named(name, err)
	}
	h, s, err := r.codec.OpenManifest(sequence, object)
	if err != nil {
		return nil, Named(name, err)
	}
	return &Link{
		Snapshot: s, Name: name, Size: int64(len(object)), Header: h, First: sequence, Low: s.Pages.Total,
		Start: h.Previous, End: sha256.Sum256(object),
	}, nil
}

// Merged reads and opens a merged manifest. Errors name it.
func (r *Reader) Merged(ctx context.Context, n backup.MergedName) (*Link, error) {
	name := n.In(r.store)
	object, err := backup.Fetch(ctx, r.source, name, backup.MaxObject)
	if err != nil {
		return nil, Named(name, err)
	}
	h, m, err := r.codec.OpenMerged(n, object)
	if err != nil {
		return nil, Named(name, err)
	}
	return &Link{
		Snapshot: &m.Snapshot, Name: name, Size: int64(len(object)), Header: h, First: m.First, Level: m.Level,
		Low: m.Low, Start: m.Start, End: m.End,
	}, nil
}

// Follows is the walk: it checks that l comes directly after before (nil if
// l must be an image), by hash and by what both say of the store.
func Follows(before, l *Link) error {
	if before == nil || l.IsImage() {
		return startsEpoch(l)
	}
	switch {
	case l.Start != before.End:
		return l.Wrong("it does not continue the manifest before it")
	case l.Epoch != before.Epoch, l.Base != before.Base, l.First != before.Sequence+1, string(l.SumKey) != string(before.SumKey):
		return l.Wrong("it belongs to another run of the chain")
	case l.Pages.Before != before.Pages.After, l.Files.Before != before.Files.After:
		return l.Wrong("it starts from another state than the one before it left")
	case l.Time.Before(before.Time):
		return l.Wrong("it is older than the one before it")
	case l.Position.Incarnation == before.Position.Incarnation && l.Position.Sequence < before.Position.Sequence:
		return l.Wrong("its position is behind the one before it")
	}
	return nil
}

func startsEpoch(l *Link) error {
	sums, err := backup.NewSums(l.SumKey)
	if err != nil {
		return err
	}
	empty := l.Pages.Before == sums.Root() && l.Files.Before == backup.NewFileTree().Root()
	if !l.IsImage() || !empty {
		return l.Wrong("it is not a base")
	}
	return nil
}

// Named says which object an error is about, once.
func Named(name string, err error) error {
	var known *backup.ObjectError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &backup.ObjectError{Name: name, Err: err}
}
