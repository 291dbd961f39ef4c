package drill

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/store"
)

// errWitness answers for a row of witnesses that cannot be one.
var errWitness = errors.New("not a recorded digest")

// witnessesKept is how many of each collection are kept, the newest.
const witnessesKept = 4

// maxBuckets bounds what one witness takes: 64 KiB of sums.
const maxBuckets = 4096

// recordsPerBucket is how finely records are told apart while they are few.
const recordsPerBucket = 16

// witness is what a live store said of one of its collections: sums over the
// values of its records, by bucket, at one position of its change feed. It is read
// through SQLite, never from pages, and kept in the system database: the chain
// has no part in it.
//
// A snapshot lies before or behind it. Behind, the snapshot's own feed tells which
// records changed in between. Before, and not before `since`, moved does: the
// buckets that were touched between since and until, when the digest was done.
type witness struct {
	Store       string `db:"store"`
	Collection  string `db:"collection"` // id
	Time        int64  `db:"time"`
	Name        string `db:"name"`
	Incarnation string `db:"incarnation"`
	Since       int64  `db:"since"`
	At          int64  `db:"at"`
	Until       int64  `db:"until"`
	Records     int64  `db:"records"`
	Files       int64  `db:"files"`
	Columns     string `db:"columns"`
	Sums        []byte `db:"sums"`  // store.DigestSize bytes a bucket
	Moved       []byte `db:"moved"` // a bit a bucket
}

func (w witness) buckets() int { return len(w.Sums) / store.DigestSize }

func (w witness) sum(b int) [store.DigestSize]byte {
	return [store.DigestSize]byte(w.Sums[b*store.DigestSize:])
}

func (w witness) moved(b int) bool { return w.Moved[b/8]&(1<<(b%8)) != 0 }

func (w witness) check() error {
	n := w.buckets()
	if n < 1 || n > maxBuckets || len(w.Sums)%store.DigestSize != 0 || len(w.Moved) != (n+7)/8 || w.Since > w.Until || w.At > w.Until {
		return fmt.Errorf("%s of %s: %w", w.Name, w.Store, errWitness)
	}
	return nil
}

// bucketsFor is a power of two that leaves few records in each.
func bucketsFor(records int64) int {
	n := uint64(max(1, records/recordsPerBucket))
	return min(maxBuckets, 1<<bits.Len64(n-1))
}

// moves is which buckets of which collections were touched: by collection, the
// records' ids; a nil set is the whole collection.
type moves map[string]map[string]bool

func (m moves) add(collection, record string) {
	set, known := m[collection]
	switch {
	case known && set == nil:
	case record == "":
		m[collection] = nil
	case !known:
		m[collection] = map[string]bool{record: true}
	default:
		set[record] = true
	}
}

// bitmap has a bit for each bucket that was touched.
func (m moves) bitmap(collection string, n int) []byte {
	out := make([]byte, (n+7)/8)
	set, touched := m[collection]
	if touched && set == nil {
		for i := range out {
			out[i] = 0xff
		}
	}
	for record := range set {
		b := store.BucketOf(record, n)
		out[b/8] |= 1 << (b % 8)
	}
	return out
}

// schemaTable is under what name the feed tells of changed collections.
const schemaTable = "_collections"

func (m moves) schema() bool { _, touched := m[schemaTable]; return touched }

func touched(ctx context.Context, st *store.Store, after, until int64) (m moves, last int64, gapless bool, err error) {
	m = moves{}
	last, gapless, err = st.Touched(ctx, after, until, func(collection, record string) error {
		m.add(collection, record)
		return nil
	})
	return m, last, gapless, err
}

// Witness has a live store add up its collections, those that changed since the
// last time. It opens the store.
func (s *Service) Witness(ctx context.Context, id data.StoreID) error {
	st, err := s.config.Stores.Acquire(ctx, id)
	if err != nil {
		return err
	}
	defer st.Release()
	return s.witness(ctx, st)
}

func (s *Service) witness(ctx context.Context, st *store.Store) error {
	since, err := s.since(ctx, st)
	if err != nil {
		return err
	}
	latest, err := s.latestWitnesses(ctx, st.ID())
	if err != nil {
		return err
	}
	collections, err := st.Collections(ctx)
	if err != nil {
		return err
	}
	now, err := st.Position(ctx)
	if err != nil {
		return err
	}
	fresh, err := stale(ctx, st, now, collections, latest)
	if err != nil {
		return err
	}
	rows := make([]witness, 0, len(fresh))
	for _, c := range fresh {
		w, err := s.digest(ctx, st, c, since)
		if err != nil {
			return err
		}
		rows = append(rows, w)
	}
	return s.keepWitnesses(ctx, st.ID(), now, rows)
}

// since is the oldest of the newest positions on the targets: what a drill restores
// from now on is not before it.
func (s *Service) since(ctx context.Context, st *store.Store) (data.Position, error) {
	now, err := st.Position(ctx)
	if err != nil {
		return now, err
	}
	chains, err := s.config.Chains.Chains(ctx, st.ID().String())
	since := now
	for _, c := range chains {
		if c.Position.Incarnation == now.Incarnation {
			since.Sequence = min(since.Sequence, c.Position.Sequence)
		}
	}
	return since, err
}

// stale are the collections that changed since they were last added up.
func stale(ctx context.Context, st *store.Store, now data.Position, all []store.Collection, latest map[string]witness) (out []store.Collection, err error) {
	from := now.Sequence
	for _, w := range latest {
		from = min(from, w.At)
	}
	m, _, _, err := touched(ctx, st, from, 0)
	var pruned *store.PrunedError
	if errors.As(err, &pruned) { // what changed since is no longer known: all may have
		err = nil
		clear(latest)
	}
	for _, c := range all {
		if c.System || c.Type == "view" {
			continue
		}
		w, seen := latest[c.ID]
		_, changed := m[c.ID]
		if !seen || changed || m.schema() || w.Incarnation != now.Incarnation {
			out = append(out, c)
		}
	}
	return out, err
}

// digest adds one collection up and learns what moved around it meanwhile.
func (s *Service) digest(ctx context.Context, st *store.Store, c store.Collection, since data.Position) (witness, error) {
	n := bucketsFor(c.Records)
	d, err := st.Digest(ctx, c.ID, n, false)
	if err != nil {
		return witness{}, err
	}
	from := max(since.Sequence, st.Floor()) // a target that lags behind by more: nothing is told of what lies before
	m, last, _, err := touched(ctx, st, from, 0)
	if err != nil {
		return witness{}, err
	}
	w := witness{
		Store: st.ID().String(), Collection: c.ID, Time: s.now().UnixMilli(), Name: c.Name,
		Incarnation: d.At.Incarnation, Since: from, At: d.At.Sequence, Until: max(last, d.At.Sequence),
		Records: d.Records, Files: d.Files, Columns: d.Columns, Moved: m.bitmap(c.ID, n),
	}
	if m.schema() {
		w.Since = w.Until // columns may have come or gone: only what lies behind can be told
	}
	for _, sum := range d.Sums {
		w.Sums = append(w.Sums, sum[:]...)
	}
	return w, nil
}

func (s *Service) keepWitnesses(ctx context.Context, id data.StoreID, at data.Position, rows []witness) error {
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO added_up (store, incarnation, sequence, time) VALUES (?, ?, ?, ?)`,
			id.String(), at.Incarnation, at.Sequence, s.now().UnixMilli())
		if err != nil {
			return err
		}
		for _, w := range rows {
			_, err := tx.NamedExecContext(ctx, `INSERT OR REPLACE INTO witnesses VALUES (:store, :collection, :time, :name,
				:incarnation, :since, :at, :until, :records, :files, :columns, :sums, :moved)`, w)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `DELETE FROM witnesses WHERE store = ? AND collection = ? AND time NOT IN
				(SELECT time FROM witnesses WHERE store = ? AND collection = ? ORDER BY time DESC LIMIT ?)`,
				w.Store, w.Collection, w.Store, w.Collection, witnessesKept)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep the digests of %s: %w", id, err)
	}
	return nil
}

// witnesses are all of a store, by collection, newest first.
func (s *Service) witnesses(ctx context.Context, id data.StoreID) (map[string][]witness, error) {
	var rows []witness
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT * FROM witnesses WHERE store = ? ORDER BY time DESC`, id.String())
	})
	if err != nil {
		return nil, fmt.Errorf("digests of %s: %w", id, err)
	}
	out := map[string][]witness{}
	for _, w := range rows {
		if err := w.check(); err != nil {
			return nil, err
		}
		out[w.Collection] = append(out[w.Collection], w)
	}
	return out, nil
}

func (s *Service) latestWitnesses(ctx context.Context, id data.StoreID) (map[string]witness, error) {
	all, err := s.witnesses(ctx, id)
	latest := map[string]witness{}
	for collection, list := range all {
		latest[collection] = list[0]
	}
	return latest, err
}

// Forget drops what is known of a destroyed store's collections. The history of its
// drills stays.
func (s *Service) Forget(ctx context.Context, id data.StoreID) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		for _, table := range []string{"witnesses", "added_up", "drill_alarms"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE store = ?`, id.String()); err != nil {
				return fmt.Errorf("forget the digests of %s: %w", id, err)
			}
		}
		return nil
	})
}

// witnessAge is after what time a store that changed is added up again.
const witnessAge = 20 * time.Hour
