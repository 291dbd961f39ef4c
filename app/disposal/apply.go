package disposal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// adopt makes of an entry that a target had what this host would have written down
// itself: the row of a disposal, or its certificate.
func (s *Service) adopt(ctx context.Context, tx *sqlx.Tx, f found) error {
	switch f.Kind {
	case kindDestroy:
		return s.adoptDisposal(ctx, tx, f)
	case kindCertificate:
		return s.adoptCertificate(ctx, tx, f)
	}
	return nil
}

func (s *Service) adoptDisposal(ctx context.Context, tx *sqlx.Tx, f found) error {
	t := terms{Asked: Step{"unknown", f.Time}, By: data.Actor{Kind: data.System}.String(), How: "ledger"}
	for _, id := range f.Stores {
		t.Stores = append(t.Stores, Destruction{Store: id.String(), Environment: id.Environment})
	}
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT OR IGNORE INTO disposals (id, tenant, slug, begun, finished, terms, certificate, signature, vkey)
		VALUES (?, ?, '', ?, 0, ?, '', '', '')`, f.ID, f.Stores[0].Tenant, f.Time.UnixMilli(), string(b))
	return err
}

// adoptCertificate takes the certificate that was given then; Apply records it in
// this folder's audit log, which is as old as the rest of it. One that cannot be
// opened is no reason to stop: another one will be made.
func (s *Service) adoptCertificate(ctx context.Context, tx *sqlx.Tx, f found) error {
	c, err := s.openCertificate(f.ID, f.Sealed)
	if err != nil {
		s.config.Logger.WarnContext(ctx, "a certificate in the ledger cannot be opened", "disposal", f.ID, "error", err)
		return nil
	}
	_, err = tx.ExecContext(ctx, `UPDATE disposals SET slug = ?, certificate = ?, signature = ?, vkey = ?
		WHERE id = ? AND certificate = ''`, c.Slug, c.Certificate, c.Signature, c.VKey, f.ID)
	return err
}

// Apply carries out again what the ledger says and this host does not show: it
// destroys stores that are back, and erases records that are back in living ones.
func (s *Service) Apply(ctx context.Context) error {
	ctx = data.WithActor(ctx, data.Actor{Kind: data.System})
	s.unapplied.Store(false)
	err := errors.Join(s.applyDestructions(ctx), s.applyErasures(ctx))
	if err != nil {
		s.unapplied.Store(true)
	}
	return err
}

func (s *Service) applyDestructions(ctx context.Context) error {
	tenants, stores, err := s.destroyed(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range tenants {
		found, err := s.config.Tenants.Bury(ctx, t, stores[t])
		if errors.Is(err, data.ErrBusy) { // somebody works on it: looked at again
			s.unapplied.Store(true)
		} else if err != nil {
			errs = append(errs, fmt.Errorf("destroy again what the ledger says is destroyed: %w", err))
		}
		if found {
			s.config.Logger.WarnContext(ctx, "a tenant that the ledger says is destroyed was here, and was destroyed again", "tenant", t)
		}
	}
	return errors.Join(append(errs, s.publishAdopted(ctx))...)
}

// publishAdopted records certificates that came from a target.
func (s *Service) publishAdopted(ctx context.Context) error {
	var rows []disposalRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT * FROM disposals WHERE finished = 0 AND certificate <> ''`)
	})
	for _, row := range rows {
		err = errors.Join(err, s.publish(ctx, row))
	}
	if err != nil {
		return fmt.Errorf("record certificates: %w", err)
	}
	return nil
}

// destroyed are the tenants of the ledger with their stores.
func (s *Service) destroyed(ctx context.Context) (tenants []string, stores map[string][]data.StoreID, err error) {
	var names []string
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &names, `SELECT DISTINCT store FROM ledger_stores WHERE kind = 'destroy' ORDER BY store`)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the ledger: %w", err)
	}
	stores = map[string][]data.StoreID{}
	for _, n := range names {
		id, err := data.ParseStoreID(n)
		if err != nil {
			return nil, nil, err
		}
		if len(stores[id.Tenant]) == 0 {
			tenants = append(tenants, id.Tenant)
		}
		stores[id.Tenant] = append(stores[id.Tenant], id)
	}
	return tenants, stores, nil
}

// applyErasures ends erasures that a crash cut short, and repeats those that another
// life of this data folder knew of.
func (s *Service) applyErasures(ctx context.Context) error {
	s.erasing.Lock()
	defer s.erasing.Unlock()
	var rows []struct {
		ID    string `db:"id"`
		Store string `db:"store"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT DISTINCT l.id, s.store FROM ledger l JOIN ledger_stores s ON s.entry = l.hash
			WHERE l.kind = 'erase' AND NOT EXISTS (SELECT 1 FROM erasures e WHERE e.id = l.id AND e.finished <> 0) ORDER BY s.store, l.id`)
	})
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	open := map[string][]string{}
	for _, r := range rows {
		open[r.Store] = append(open[r.Store], r.ID)
	}
	var errs []error
	for store, ids := range open {
		errs = append(errs, s.applyTo(ctx, store, ids))
	}
	return errors.Join(errs...)
}

// applyTo erases in one store. Where there is no living one, nothing can be back.
func (s *Service) applyTo(ctx context.Context, store string, ids []string) error {
	id, err := data.ParseStoreID(store)
	if err != nil {
		return err
	}
	st, err := s.config.Stores.Acquire(ctx, id)
	switch {
	case errors.Is(err, data.ErrParked):
		s.unapplied.Store(true) // asked again when it is back
		return nil
	case errors.Is(err, data.ErrNotFound), errors.Is(err, data.ErrDestroyed):
		return s.erasuresDone(ctx, ids, store)
	case err != nil:
		return fmt.Errorf("erase again in %s: %w", store, err)
	}
	defer st.Release()
	n, err := s.replay(ctx, id, st, ids)
	if err != nil {
		return fmt.Errorf("erase again in %s: %w", store, err)
	}
	if n > 0 {
		s.config.Logger.WarnContext(ctx, "records that the ledger says are erased were here, and were erased again", "store", store, "records", n)
		if err := s.config.Recorder.Record(ctx, api.Event{Action: "erasure.replay", Target: strings.Join(ids, " "), Store: store, Outcome: api.OK,
			Detail: map[string]string{"records": fmt.Sprint(n)}}); err != nil {
			return err
		}
	}
	return s.erasuresDone(ctx, ids, store)
}

// erasuresDone notes that nothing of these erasures is left in the store.
func (s *Service) erasuresDone(ctx context.Context, ids []string, store string) error {
	now := s.now().UnixMilli()
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		for _, id := range ids {
			_, err := tx.ExecContext(ctx, `INSERT INTO erasures (id, store, collection, records, reason, asked, actor, finished)
				SELECT id, ?, '', sum(records), '', min(time), '', ? FROM ledger WHERE id = ? AND kind = 'erase' GROUP BY id
				ON CONFLICT (id) DO UPDATE SET finished = excluded.finished`, store, now, id)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
