package store

import (
	"context"
	"fmt"
	"path/filepath"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// Base is what a store knows of its last shipped snapshot: see Shipped.
type Base = cryptfs.Base

// Expected is what the keeper of snapshots knows of one. Either may be nil.
type Expected struct {
	Page func(pgno uint32, page []byte) error // why a page of data.db that did not change since is not what was shipped
	File func(info data.FileInfo) error       // why a file cannot be the current one
}

// Finding is something on the disk that is not what it ought to be.
type Finding struct {
	File   string `json:"file" doc:"within the store's folder"`
	Page   uint32 `json:"page,omitempty" doc:"of a database, or frame of its log"`
	Reason string `json:"reason"`
}

// Scrubbed tells how far a scrub is, and at last what it saw. Pages are those of
// all databases and the frames of their logs.
type Scrubbed struct {
	Part     string // that is being read: a database's name, or "files"
	Pages    int64
	Files    int64
	Compared int64 // of both, held against the last snapshot
	Done     int64 // of the part
	Total    int64
	Findings []Finding
}

// Shipped names the snapshot that was just taken of Pages, once it was shipped.
func (s *Store) Shipped(label string) { s.pages.Rebase(label) }

// ShippedTo is Shipped for what a follower was handed: see PagesFor.
func (s *Store) ShippedTo(follower, label string) { s.pages.View(follower).Rebase(label) }

// Unchanged says of pages that a follower is handed whether they are what the snapshot
// of that label has; nil where it is not the last one named to the store, or nobody
// knows any more (after a crash).
func (s *Store) Unchanged(follower, label string) func(page uint32) bool {
	return s.pages.View(follower).Unchanged(label)
}

// Base tells which pages changed since the snapshot that Shipped named; nil when
// none is known. Release it.
func (s *Store) Base() *Base { return s.pages.Base() }

// Scrub authenticates every page of the store's databases and every file, while
// they are in use, holds against a snapshot what ought to be as it was then (base
// and expected may be nil), and looks for files that records name in vain. It goes on after findings; its error is of what
// kept it from looking. It is slow on purpose.
func (s *Store) Scrub(ctx context.Context, base *Base, expected Expected, report func(Scrubbed)) (Scrubbed, error) {
	run := &scrubRun{dir: s.disk.Dir, report: report}
	for _, name := range []string{dataFile, auxFile} {
		b, check := base, expected.Page
		if name != dataFile {
			b, check = nil, nil
		}
		pages := run.Pages
		err := s.disk.Scrub(ctx, name, b, check, run.part(name, func(p cryptfs.Progress) { run.Pages = pages + p.Done }))
		if err != nil {
			return run.Scrubbed, fmt.Errorf("scrub store %s: %w", s.id, err)
		}
	}
	files, err := s.pool.filesOf(s.seat)
	if err == nil {
		err = files.Scrub(ctx, expected.File, run.part(filesDir, func(p cryptfs.Progress) { run.Files = p.Done }))
	}
	if err == nil {
		err = s.missing(ctx, files, func(f Finding) { run.Findings = append(run.Findings, f) })
	}
	if err != nil {
		return run.Scrubbed, fmt.Errorf("scrub store %s: %w", s.id, err)
	}
	return run.Scrubbed, nil
}

// scrubRun adds the parts of a scrub up.
type scrubRun struct {
	Scrubbed
	dir    string
	report func(Scrubbed)
}

func (r *scrubRun) part(name string, count func(cryptfs.Progress)) func(cryptfs.Progress) {
	before := r.Compared
	return func(p cryptfs.Progress) {
		r.Part, r.Done, r.Total, r.Compared = name, p.Done, p.Total, before+p.Compared
		count(p)
		if f := p.Finding; f != nil {
			r.Findings = append(r.Findings, Finding{r.within(f.File), f.Page, f.Reason})
		}
		if r.report != nil {
			r.report(r.Scrubbed)
		}
	}
}

// within gives a path as seen from the store's folder.
func (r *scrubRun) within(path string) string {
	rel, err := filepath.Rel(r.dir, path)
	if err != nil {
		return filepath.Base(path)
	}
	return rel
}
