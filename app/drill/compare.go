package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast/data"
	"holdfast/data/store"
)

// comparison is what holding a restored store to its witnesses gave.
type comparison struct {
	records   int64 // of the tenant's collections
	files     int64 // read and hashed
	compared  int64 // records in buckets that nothing touched in between
	witnessed int   // collections with a witness that fits
	findings  []string
}

// restored is a store that a drill put together.
type restored struct {
	*store.Store
	at    data.Position
	lives []store.Incarnation
}

// compare adds every collection of the restored store up, files read to their end,
// and holds it to what the live store said of it.
func (s *Service) compare(ctx context.Context, r restored, known map[string][]witness) (c comparison, err error) {
	collections, err := r.Collections(ctx)
	if err != nil {
		return c, err
	}
	here := map[string]bool{}
	for _, col := range collections {
		here[col.ID] = true
		if col.System || col.Type == "view" {
			continue
		}
		if err := c.collection(ctx, r, col, r.pick(known[col.ID])); err != nil {
			return c, err
		}
	}
	for id, list := range known {
		if !here[id] {
			if err := c.missing(ctx, r, list); err != nil {
				return c, err
			}
		}
	}
	slices.Sort(c.findings)
	return c, nil
}

// pick takes the witness that lies nearest, or nil when none fits this point.
func (r restored) pick(list []witness) *witness {
	var best *witness
	for i, w := range list {
		if !r.lived(w) || r.at.Sequence < w.Since {
			continue
		}
		if best == nil || best.At > r.at.Sequence && w.At < best.At || w.At <= r.at.Sequence && w.At > best.At {
			best = &list[i]
		}
	}
	return best
}

// lived says whether a witness speaks of a life that is in the restored store's
// past, and was not cut off before it.
func (r restored) lived(w witness) bool {
	for i, life := range r.lives {
		if life.ID == w.Incarnation {
			return i+1 == len(r.lives) || w.Until <= r.lives[i+1].From
		}
	}
	return false
}

// between is what changed between a witness and the restored point, and whether
// columns or collections did.
func (r restored) between(ctx context.Context, w *witness) (moved []byte, schema bool, err error) {
	if r.at.Sequence < w.Until {
		return w.Moved, false, nil
	}
	m, _, _, err := touched(ctx, r.Store, w.At, r.at.Sequence)
	var pruned *store.PrunedError
	if errors.As(err, &pruned) { // nobody knows: all may have
		return moves{w.Collection: nil}.bitmap(w.Collection, w.buckets()), true, nil
	}
	return m.bitmap(w.Collection, w.buckets()), m.schema(), err
}

func (c *comparison) collection(ctx context.Context, r restored, col store.Collection, w *witness) error {
	n := 1
	if w != nil {
		n = w.buckets()
	}
	d, err := r.Digest(ctx, col.ID, n, true)
	if err != nil {
		return err
	}
	c.records, c.files = c.records+d.Records, c.files+d.Files
	if w == nil {
		return nil
	}
	moved, schema, err := r.between(ctx, w)
	if err != nil {
		return err
	}
	if d.Columns != w.Columns {
		if !schema {
			c.findings = append(c.findings, fmt.Sprintf("collection %s: its columns are not those it had when its digest was recorded", col.Name))
		}
		return nil
	}
	c.witnessed++
	c.sums(d, *w, moved)
	return nil
}

// sums compares bucket by bucket.
func (c *comparison) sums(d store.Digest, w witness, moved []byte) {
	w.Moved = moved
	wrong, quiet := 0, true
	for b, sum := range d.Sums {
		if w.moved(b) {
			quiet = false
			continue
		}
		c.compared += d.Counts[b]
		if sum != w.sum(b) {
			wrong++
		}
	}
	if wrong > 0 {
		c.findings = append(c.findings, fmt.Sprintf("collection %s: %d of %d groups of records are not what the store had when their digest was recorded at position %d",
			d.Name, wrong, len(d.Sums), w.At))
	}
	if quiet && (d.Records != w.Records || d.Files != w.Files) {
		c.findings = append(c.findings, fmt.Sprintf("collection %s: %d records and %d files, where %d and %d were recorded", d.Name, d.Records, d.Files, w.Records, w.Files))
	}
}

// missing looks for the reason why a collection that was added up is not there.
func (c *comparison) missing(ctx context.Context, r restored, list []witness) error {
	w := r.pick(list)
	if w == nil || r.at.Sequence < w.Until {
		return nil
	}
	_, schema, err := r.between(ctx, w)
	if err == nil && !schema {
		c.findings = append(c.findings, fmt.Sprintf("collection %s is missing, with %d records", w.Name, w.Records))
	}
	return err
}
