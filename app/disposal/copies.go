package disposal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
	"holdfast/data/system"
)

// Outcomes of an erasure in a copy of the store.
const (
	CopyErased  = "erased"
	CopyParked  = "parked"
	CopyRefused = "refused"
	CopyFailed  = "failed"
	CopyNamed   = "named"
)

// CopyErasure says what became of an erasure in a store that was restored from
// snapshots of the one that was asked for.
type CopyErasure struct {
	Store   string `json:"store"`
	Name    string `json:"name,omitempty" doc:"slug/environment"`
	State   string `json:"state" enum:"erased,parked,refused,failed,named" doc:"parked: the copy is deleted and can be undeleted; the records are erased if it is"`
	Erasure string `json:"erasure,omitempty" doc:"id of the copy's own erasure"`
	Records int    `json:"records" doc:"that were there and are erased now, with those that went with them"`
	Reason  string `json:"reason,omitempty" doc:"why it was not done"`
	Fix     string `json:"fix,omitempty" doc:"what is left to do"`
}

// copyRow is a store that was made of a snapshot of another.
type copyRow struct {
	Copy  string `db:"copy"`
	Made  int64  `db:"made"`
	Point int64  `db:"point"`
}

// Copied notes, durably and before any record of it is there, that a store is made of
// snapshots of another one: what is erased in the source from then on, is erased in
// the copy too. point is the moment that was asked for, zero for the newest.
func (s *Service) Copied(ctx context.Context, fresh, source data.StoreID, point time.Time) error {
	at := int64(0)
	if !point.IsZero() {
		at = point.UnixMilli()
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO copies (copy, source, point, made) VALUES (?, ?, ?, ?)`,
			fresh.String(), source.String(), at, s.now().UnixMilli())
		return err
	})
	if err != nil {
		return fmt.Errorf("note that %s is a copy of %s: %w", fresh, source, err)
	}
	return nil
}

// CopyLive carries out in a copy that has just taken its place what was erased in its
// source while it was being made.
func (s *Service) CopyLive(ctx context.Context, fresh, source data.StoreID) error {
	replay, err := s.Replay(ctx, source)
	if err != nil || replay == nil {
		return err
	}
	st, err := s.config.Stores.Acquire(ctx, fresh)
	if err != nil {
		return fmt.Errorf("erase in the copy %s: %w", fresh, err)
	}
	defer st.Release()
	_, err = replay(ctx, st)
	return err
}

// copiesOf are the stores that were made of a store, and of those, oldest first, in
// whatever state they are.
func (s *Service) copiesOf(ctx context.Context, id data.StoreID) (rows []copyRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `WITH RECURSIVE line (copy) AS (
				SELECT copy FROM copies WHERE source = ? UNION SELECT c.copy FROM copies c JOIN line ON c.source = line.copy)
			SELECT c.copy, c.made, c.point FROM copies c JOIN line USING (copy) WHERE c.copy <> ? ORDER BY c.made, c.copy`, id.String(), id.String())
	})
	if err != nil {
		return nil, fmt.Errorf("copies of %s: %w", id, err)
	}
	return rows, nil
}

// eraseCopies carries an erasure on to every copy, each with an entry of its own. What
// fails in one does not keep the others, nor undo the erasure: it is in the answer.
func (s *Service) eraseCopies(ctx context.Context, e Erasure, n NewErasure, refs []store.RecordRef) ([]CopyErasure, error) {
	id, err := data.ParseStoreID(e.Store)
	if err != nil {
		return nil, err
	}
	rows, err := s.copiesOf(ctx, id)
	if err != nil {
		return nil, err
	}
	out := []CopyErasure{}
	for _, row := range rows {
		c, err := s.eraseCopy(ctx, row, e, n, refs)
		if errors.Is(err, data.ErrNotFound) || errors.Is(err, data.ErrDestroyed) {
			continue // it is gone
		}
		if err != nil {
			s.config.Logger.ErrorContext(ctx, "an erasure failed in a copy of the store", "store", row.Copy, "erasure", e.ID, "error", err)
			c.State, c.Reason = CopyFailed, api.AsProblem(err).Detail
		}
		if c.State != CopyErased && c.State != CopyParked {
			c.Fix = fixOf(c.Name, n)
		}
		out = append(out, c)
	}
	return out, nil
}

// fixOf is what somebody who may has to say.
func fixOf(name string, n NewErasure) string {
	what := n.Record
	if what == "" {
		what = "--filter …"
	}
	return fmt.Sprintf("Erase there, as somebody who may: holdfast erase %s %s %s", name, n.Collection, what)
}

func (s *Service) eraseCopy(ctx context.Context, row copyRow, e Erasure, n NewErasure, refs []store.RecordRef) (c CopyErasure, err error) {
	id, err := data.ParseStoreID(row.Copy)
	if err != nil {
		return c, err
	}
	c = CopyErasure{Store: row.Copy, Name: s.config.Tenants.Name(ctx, id), State: CopyNamed}
	st, err := s.config.Stores.Acquire(ctx, id)
	parked := errors.Is(err, data.ErrParked)
	if err != nil && !parked {
		return c, err
	}
	if !parked {
		defer st.Release()
	}
	if n.Copies == "name" {
		c.Reason = "it was asked to be named only"
		return c, nil
	}
	if err := s.config.Access.Authorize(ctx, data.ActorFrom(ctx), api.DataErase, api.StoreScope(id)); err != nil {
		c.State, c.Reason = CopyRefused, "you may not erase there"
		return c, nil //nolint:nilerr // it is said
	}
	found := []store.RecordRef{}
	if !parked {
		if found, err = foundIn(ctx, st, refs); err != nil {
			return c, err
		}
	}
	own := Erasure{ID: system.NewID(), Store: row.Copy, Collection: e.Collection, Reason: e.Reason, Asked: s.now(), By: e.By, Origin: e.ID}
	all := union(refs, found)
	own.Records = len(all)
	if err := s.enterErasure(ctx, id, own, all); err != nil {
		return c, err
	}
	c.Erasure = own.ID
	return s.carryOut(ctx, st, c, own, found)
}

// carryOut records the copy's erasure and erases; what is parked waits.
func (s *Service) carryOut(ctx context.Context, st *store.Store, c CopyErasure, own Erasure, found []store.RecordRef) (CopyErasure, error) {
	event := api.Event{Action: "erasure.create", Target: own.ID, Store: own.Store, Outcome: api.OK, Detail: map[string]string{
		"records": strconv.Itoa(own.Records), "tenant": c.Name, "because of": own.Origin}}
	if err := s.config.Recorder.Record(ctx, event); err != nil {
		s.unapplied.Store(true)
		return c, err
	}
	if st == nil {
		s.unapplied.Store(true)
		c.State = CopyParked
		return c, nil
	}
	if len(found) > 0 {
		if _, err := st.Erase(store.OnDuty(ctx), found); err != nil { // erase asked who may, for this store too
			s.unapplied.Store(true)
			event.Outcome = api.Failed
			return c, errors.Join(err, s.config.Recorder.Record(ctx, event))
		}
	}
	c.State, c.Records = CopyErased, len(found)
	return c, s.erasuresDone(ctx, []string{own.ID}, own.Store)
}

// foundIn gives the records that a copy has, and those that go with them there.
func foundIn(ctx context.Context, st *store.Store, refs []store.RecordRef) ([]store.RecordRef, error) {
	var all []store.RecordRef
	there := map[store.RecordRef]bool{}
	for _, ref := range refs {
		if there[ref] {
			continue
		}
		found, err := st.Select(store.OnDuty(ctx), ref.Collection, ref.ID, "")
		if errors.Is(err, data.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, explainSelect(err)
		}
		for _, f := range found {
			if !there[f] {
				there[f] = true
				all = append(all, f)
			}
		}
	}
	return all, nil
}

func union(a, b []store.RecordRef) []store.RecordRef {
	seen, all := map[store.RecordRef]bool{}, make([]store.RecordRef, 0, len(a))
	for _, list := range [][]store.RecordRef{a, b} {
		for _, ref := range list {
			if !seen[ref] {
				seen[ref] = true
				all = append(all, ref)
			}
		}
	}
	return all
}

// livingCopies words, for a certificate, the stores that were made of one that was
// destroyed: they have keys of their own, and stay.
func (s *Service) livingCopies(ctx context.Context, id data.StoreID) (out []Copy, err error) {
	rows, err := s.copiesOf(ctx, id)
	for _, row := range rows {
		made, ok := data.ParseStoreID(row.Copy)
		gone, lost := s.Destroyed(ctx, made)
		name := s.config.Tenants.Name(ctx, made)
		if err = errors.Join(err, ok, lost); err != nil {
			return nil, err
		}
		if gone != "" || name == "" {
			continue
		}
		at := timeOf(row.Made)
		out = append(out, Copy{Kind: "store", Where: name, Objects: 1, Newest: &at, Readable: true, Note: fmt.Sprintf(
			"Store %s was made of a snapshot of store %s. It is a tenant of its own with keys of its own, and is not destroyed.", row.Copy, id)})
	}
	return out, err
}
