package disposal

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
	"holdfast/data/system"
)

// NewErasure says which records are to be erased.
type NewErasure struct {
	Collection string `json:"collection" doc:"name or id"`
	Record     string `json:"record,omitempty" doc:"id of one record"`
	Filter     string `json:"filter,omitempty" doc:"or: PocketBase's filter for the records"`
	Reason     string `json:"reason,omitempty" doc:"kept on this host; name nobody in it"`
	Copies     string `json:"copies,omitempty" enum:"erase,name" doc:"of tenants that were restored from snapshots of this one: erase there as well (the default), or only name them"`
}

// Erasure is records that were erased, and that no restore brings back.
type Erasure struct {
	ID         string     `json:"id"`
	Store      string     `json:"store"`
	Collection string     `json:"collection" doc:"as it was named; empty for one that was read from a target"`
	Records    int        `json:"records" doc:"with those that went with them"`
	Reason     string     `json:"reason,omitempty"`
	Asked      time.Time  `json:"asked"`
	By         string     `json:"by,omitempty"`
	Finished   *time.Time `json:"finished" doc:"when nothing of it was left in the store"`
	Targets    int        `json:"targets" doc:"targets that hold the ledger's entry"`
	Origin     string     `json:"origin,omitempty" doc:"of one in a copy: the erasure in the store that it was made of"`

	Copies []CopyErasure `json:"copies" doc:"what became of it in the stores that were made of this one"`
}

// check wants one record or a filter, and a word that is known for copies.
func (n NewErasure) check() error {
	if (n.Record == "") == (n.Filter == "") {
		return api.InvalidField("record", "name one record, or give a filter")
	}
	if !slices.Contains([]string{"", "erase", "name"}, n.Copies) {
		return api.InvalidField("copies", "want erase or name")
	}
	return nil
}

// Erase erases records of a live store, with all that PocketBase deletes with them
// and their files. The ledger has them, durably, before the first one goes. The
// errors are those of store.Select.
func (s *Service) Erase(ctx context.Context, slug string, id data.StoreID, n NewErasure) (Erasure, error) {
	if err := n.check(); err != nil {
		return Erasure{}, err
	}
	st, err := s.config.Stores.Acquire(ctx, id)
	if err != nil {
		return Erasure{}, err
	}
	defer st.Release()
	s.erasing.Lock()
	defer s.erasing.Unlock()
	refs, err := selected(ctx, st, n)
	if err != nil {
		return Erasure{}, err
	}
	e := Erasure{ID: system.NewID(), Store: id.String(), Collection: n.Collection, Records: len(refs), Reason: n.Reason,
		Asked: s.now(), By: data.ActorFrom(ctx).String()}
	ctx = context.WithoutCancel(ctx) // from here on the ledger says so
	if err := s.enterErasure(ctx, id, e, refs); err != nil {
		return Erasure{}, err
	}
	if err := s.eraseHere(ctx, slug, st, e, refs); err != nil {
		return Erasure{}, err
	}
	copies, err := s.eraseCopies(ctx, e, n, refs)
	if err != nil {
		return Erasure{}, err
	}
	s.shipSoon(ctx)
	if e, err = s.erasure(ctx, e.ID); err == nil {
		e.Copies = copies
	}
	return e, err
}

// selected are the records that are meant, at least one.
func selected(ctx context.Context, st *store.Store, n NewErasure) ([]store.RecordRef, error) {
	refs, err := st.Select(ctx, n.Collection, n.Record, n.Filter)
	if err != nil {
		return nil, explainSelect(err)
	}
	if len(refs) == 0 {
		return nil, api.Errorf(404, "not-found", "No record matches (not found).").Because(data.ErrNotFound)
	}
	return refs, nil
}

// eraseHere does to the store what the ledger says of it; what fails is done by Apply.
func (s *Service) eraseHere(ctx context.Context, slug string, st *store.Store, e Erasure, refs []store.RecordRef) error {
	event := api.Event{Action: "erasure.create", Target: e.ID, Store: e.Store, Outcome: api.OK, Detail: map[string]string{
		"collection": refs[0].Collection, "records": strconv.Itoa(len(refs)), "tenant": slug}}
	if err := s.config.Recorder.Record(ctx, event); err != nil {
		return err
	}
	if _, err := st.Erase(ctx, refs); err != nil {
		s.unapplied.Store(true)
		event.Outcome = api.Failed
		return errors.Join(err, s.config.Recorder.Record(ctx, event))
	}
	return s.erasuresDone(ctx, []string{e.ID}, e.Store)
}

func explainSelect(err error) error {
	if errors.Is(err, data.ErrNotFound) {
		return api.Errorf(404, "not-found", "There is no such record or collection (not found).").Because(err)
	}
	if errors.Is(err, store.ErrInvalid) {
		return api.Errorf(422, "invalid", "%v", err).Because(err)
	}
	return err
}

// enterErasure writes the records into the ledger, hashed.
func (s *Service) enterErasure(ctx context.Context, id data.StoreID, e Erasure, refs []store.RecordRef) error {
	source := s.config.Personal(id)
	generation, key, err := source.Current()
	if err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	hash, err := hasher(id, key)
	if err != nil {
		return err
	}
	first := true
	for len(refs) > 0 {
		part := refs[:min(len(refs), maxRecords)]
		refs = refs[len(part):]
		en := entry{Kind: kindErase, ID: e.ID, Stores: []data.StoreID{id}}
		for _, r := range part {
			en.Records = append(en.Records, record{r.Collection, generation, hash(r.Collection, r.ID)})
		}
		begin := first
		if _, err := s.append(ctx, en, func(tx *sqlx.Tx) error { return insertErasure(ctx, tx, begin, e) }); err != nil {
			return fmt.Errorf("erase: %w", err)
		}
		first = false
	}
	return nil
}

func insertErasure(ctx context.Context, tx *sqlx.Tx, first bool, e Erasure) error {
	if !first {
		return nil
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO erasures (id, store, collection, records, reason, asked, actor, finished, origin)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)`, e.ID, e.Store, e.Collection, e.Records, e.Reason, e.Asked.UnixMilli(), e.By, e.Origin)
	return err
}

// hasher hashes record ids of a store under its personal key: without the key
// nobody can try ids, and when the store is destroyed nobody ever can.
func hasher(id data.StoreID, key [32]byte) (func(collection, record string) [32]byte, error) {
	derived, err := hkdf.Key(sha256.New, key[:], nil, "holdfast/disposal/v1|erased record|"+id.String(), 32)
	if err != nil {
		return nil, err
	}
	return func(collection, rec string) (sum [32]byte) {
		mac := hmac.New(sha256.New, derived)
		mac.Write([]byte(collection + "\x00" + rec))
		mac.Sum(sum[:0])
		return sum
	}, nil
}
