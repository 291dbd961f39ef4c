package restore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"holdfast/backup"
	"holdfast/backup/read"
	"holdfast/data"
)

// Report is what Verify found. Bytes were read from the target.
type Report struct {
	OK        bool
	Snapshots int   // manifests read
	Merged    int   // merged manifests read
	First     int64 // sequences
	Last      int64
	Epochs    int
	Objects   int
	Bytes     int64
	Sampled   bool // not every part was read
	Problems  []Problem
	// Leftover objects belong to no snapshot: an upload that was given up, what a
	// prune is about to delete, or somebody else's. They do no harm.
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
// every snapshot and at the end of every merged link. What is wrong with the
// chain is in the report; the error is for what kept it from being read (target,
// keys). With Config.Sample it reads all manifests, but only some of the parts.
func Verify(ctx context.Context, c Config) (Report, error) {
	start := time.Now()
	r, err := newReader(c)
	if err != nil {
		return Report{}, err
	}
	v := &verifier{reader: r, seen: map[string]bool{}, contents: map[string]backup.Chunk{}, done: map[backup.MergedName]bool{}}
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
	from     map[int64][]backup.MergedName // steps by their first sequence, shortest first
	done     map[backup.MergedName]bool
	seen     map[string]bool
	contents map[string]backup.Chunk
}

// state is what the links so far lead to. Its parts are nil where damage, or a
// sample, keeps them unknown.
type state struct {
	before *read.Link
	sums   *backup.Sums
	tree   *backup.FileTree
}

func (s *state) clone() *state {
	c := *s
	if s.sums != nil {
		c.sums = s.sums.Clone()
	}
	if s.tree != nil {
		c.tree = s.tree.Clone()
	}
	return &c
}

func (s *state) lost() { *s = state{} }

func (v *verifier) run(ctx context.Context) (err error) {
	if v.ledger, err = v.Ledger(ctx); err != nil {
		return v.blame("", err)
	}
	for _, n := range v.ledger.Numbers {
		v.seen[backup.PruneName(v.cfg.Store, n)], v.seen[backup.SweptName(v.cfg.Store, n)] = true, true
	}
	all, err := v.Sequences(ctx, v.ledger.Horizon(), math.MaxInt64)
	if err != nil {
		return err
	}
	if len(all) == 0 && v.cfg.AtLeast == 0 {
		return fmt.Errorf("%w: the target holds none of this store", backup.ErrNoSnapshot)
	}
	if err := v.graph(ctx, all); err != nil {
		return err
	}
	for _, first := range v.starts() {
		if err := v.line(ctx, first, &state{}); err != nil {
			return err
		}
	}
	v.gaps(all)
	if err := v.checkContents(ctx); err != nil {
		return err
	}
	return v.leftovers(ctx)
}

// gaps blames every manifest that is missing behind the horizon.
func (v *verifier) gaps(all []int64) {
	v.report.Last = v.ledger.Horizon()
	for i, s := range all {
		if i > 0 || v.report.Last > 0 { // else: a chain may begin anywhere
			v.gap(s)
		}
		v.report.Last = s
	}
	v.gap(v.cfg.AtLeast + 1)
}

func (v *verifier) gap(sequence int64) {
	for missing := v.report.Last + 1; missing < sequence && len(v.report.Problems) < maxNamed; missing++ {
		v.problem(backup.ManifestName(v.cfg.Store, missing), errors.New("it is missing"))
	}
}

// problem notes what is wrong with an object.
func (v *verifier) problem(name string, err error) {
	var known *backup.ObjectError
	if errors.As(err, &known) {
		name, err = known.Name, known.Err
	}
	for _, p := range v.report.Problems {
		if p.Object == name {
			return // its first trouble is the cause
		}
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

// line takes the shortest steps from a sequence on. The longer ones that begin
// on the way are tried on a copy of the state; one that ends where the line does
// not come by is the beginning of another line.
func (v *verifier) line(ctx context.Context, first int64, st *state) error {
	stops := v.stops(first)
	for {
		steps := v.from[first]
		for i := len(steps) - 1; i > 0; i-- {
			if err := v.branch(ctx, steps[i], st.clone(), stops); err != nil {
				return err
			}
		}
		if len(steps) == 0 || v.done[steps[0]] {
			return nil
		}
		if err := v.step(ctx, steps[0], st); err != nil {
			return err
		}
		first = steps[0].Last + 1
	}
}

func (v *verifier) branch(ctx context.Context, n backup.MergedName, st *state, stops map[int64]bool) error {
	if v.done[n] {
		return nil
	}
	if err := v.step(ctx, n, st); err != nil || stops[n.Last] {
		return err
	}
	return v.line(ctx, n.Last+1, st)
}

// stops are the ends of the line from a sequence on, as far as there are
// branches that may meet it.
func (v *verifier) stops(first int64) map[int64]bool {
	ends := map[int64]bool{}
	for steps := v.from[first]; len(steps) > 0; steps = v.from[steps[0].Last+1] {
		ends[steps[0].Last] = true
	}
	return ends
}

// step reads a link with its objects and brings the state forward.
func (v *verifier) step(ctx context.Context, n backup.MergedName, st *state) error {
	v.done[n] = true
	name := n.In(v.cfg.Store)
	if n.Level == 0 {
		name = backup.ManifestName(v.cfg.Store, n.Last)
	}
	v.seen[name] = true
	l, err := v.Step(ctx, n)
	if err != nil {
		st.lost()
		return v.blame(name, err)
	}
	v.tally(l)
	if err := v.walk(l, st); err != nil {
		st.lost()
		v.problem(name, err)
	}
	st.before = l
	return v.parts(ctx, l, st)
}

func (v *verifier) tally(l *read.Link) {
	v.count(l.Size, 0)
	if l.Level > 0 {
		v.report.Merged++
	} else {
		v.report.Snapshots++
	}
	if l.Level == 0 && l.IsImage() {
		v.report.Epochs++
	}
	if v.report.First == 0 || l.First < v.report.First {
		v.report.First = l.First
	}
}

// walk checks the step from the link before, as far as that one is known.
func (v *verifier) walk(l *read.Link, st *state) error {
	if l.IsImage() {
		var err error
		if st.sums, err = backup.NewSums(l.SumKey); err != nil {
			return err
		}
		st.tree = backup.NewFileTree()
		return read.Follows(nil, l)
	}
	if st.before == nil {
		if len(v.report.Problems) == 0 && l.First > v.ledger.Horizon()+1 {
			v.problem(backup.ManifestName(l.Store, l.Base), errors.New("it is missing, and others build on it"))
		}
		return nil // the cause is named
	}
	return read.Follows(st.before, l)
}

// parts reads the objects of a link.
func (v *verifier) parts(ctx context.Context, l *read.Link, st *state) error {
	if st.sums != nil && !l.IsImage() {
		st.sums.Resize(min(st.sums.Total(), l.Low))
	}
	for i, ref := range l.Objects {
		v.seen[ref.Name] = true
		if v.cfg.skip() {
			v.report.Sampled = true
			st.sums, st.tree = nil, nil
			continue
		}
		p, err := v.Part(ctx, l, i)
		if err == nil {
			v.count(p.Ref.Size, 0)
			err = read.Named(ref.Name, v.apply(l, p, st))
		}
		if err != nil {
			st.sums, st.tree = nil, nil
			if err := v.blame(ref.Name, err); err != nil {
				return err
			}
		}
	}
	v.compare(l, st)
	return nil
}

func (c Config) sampling() bool { return c.Sample > 0 && c.Sample < 1 }

// skip draws whether an object is left out of a sample: nobody can tell which.
func (c Config) skip() bool {
	if !c.sampling() {
		return false
	}
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return float64(binary.BigEndian.Uint64(b[:])) >= c.Sample*math.MaxUint64
}

func (v *verifier) apply(l *read.Link, p read.Part, st *state) error {
	for _, c := range p.Changes {
		for _, chunk := range c.Chunks() {
			v.contents[chunk.Name()] = chunk
		}
	}
	if p.Pages != nil && st.sums != nil {
		for i, pgno := range p.Pages.Numbers {
			st.sums.Put(pgno, st.sums.Of(pgno, p.Pages.Image(i)))
		}
	}
	if st.tree == nil {
		return nil
	}
	return l.ApplyTree(st.tree, p.Changes)
}

// compare holds the state to the manifest's checksums.
func (v *verifier) compare(l *read.Link, st *state) {
	if st.sums == nil || st.tree == nil {
		return
	}
	st.sums.Resize(l.Pages.Total)
	if st.sums.Root() != l.Pages.After {
		v.problem(l.Name, l.Wrong("whole-database checksum"))
	}
	if st.tree.Root() != l.Files.After || st.tree.Count() != l.Files.Count {
		v.problem(l.Name, l.Wrong("checksum of the file tree"))
	}
}

// checkContents reads every chunk that any snapshot refers to.
func (v *verifier) checkContents(ctx context.Context) error {
	list := make([]backup.Chunk, 0, len(v.contents))
	for _, c := range v.contents {
		v.seen[backup.Prefix(v.cfg.Store)+c.Name()] = true
		if v.cfg.skip() {
			v.report.Sampled = true
		} else {
			list = append(list, c)
		}
	}
	s := read.Ahead(ctx, len(list), func(ctx context.Context, i int) (error, error) { //nolint:staticcheck // a failure is a result here
		f, err := v.Content(ctx, list[i])
		if err == nil {
			list[i].Size = f.Size
		}
		return err, ctx.Err()
	})
	defer s.Close()
	for i := range list {
		failure, err := s.Next()
		if err != nil {
			return err
		}
		if failure == nil {
			v.count(list[i].Size, 0)
		} else if err := v.blame(backup.Prefix(v.cfg.Store)+list[i].Name(), failure); err != nil {
			return err
		}
	}
	return nil
}

// leftovers lists what no snapshot refers to.
func (v *verifier) leftovers(ctx context.Context) error {
	const limit = 1000
	if v.report.Sampled {
		return nil // trees that were not read may refer to it
	}
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
