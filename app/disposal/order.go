package disposal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// Order is a destruction that is about to be carried out.
type Order struct {
	Tenant string // id
	Slug   string
	Stores []StoreSize
	Asked  Step // who deleted the tenant, and when
	By     data.Actor
	AtOnce bool // without waiting for the undelete window's end
}

// StoreSize is one store and what it takes on disk.
type StoreSize struct {
	ID           data.StoreID
	Files, Bytes int64
}

// terms are what a certificate will need that cannot be found out afterwards.
type terms struct {
	Asked  Step          `json:"asked"`
	By     string        `json:"by"`
	How    string        `json:"how"`
	Stores []Destruction `json:"stores"`
	Entry  string        `json:"entry"`
}

type disposalRow struct {
	ID          string `db:"id"`
	Tenant      string `db:"tenant"`
	Slug        string `db:"slug"`
	Begun       int64  `db:"begun"`
	Finished    int64  `db:"finished"`
	Terms       string `db:"terms"`
	Certificate string `db:"certificate"`
	Signature   string `db:"signature"`
	VKey        string `db:"vkey"`
}

// Begin writes into the ledger, durably and before anything is destroyed, what is
// about to be. Nothing may be destroyed when it fails. A second call for the same
// tenant changes nothing.
func (s *Service) Begin(ctx context.Context, o Order) error {
	if _, err := s.ofTenant(ctx, o.Tenant); err == nil || !errors.Is(err, data.ErrNotFound) {
		return err
	}
	row := disposalRow{ID: system.NewID(), Tenant: o.Tenant, Slug: o.Slug, Begun: s.now().UnixMilli()}
	e := entry{Kind: kindDestroy, ID: row.ID}
	t := terms{Asked: o.Asked, By: o.By.String(), How: "window"}
	if o.AtOnce {
		t.How = "now"
	}
	for _, st := range o.Stores {
		e.Stores = append(e.Stores, st.ID)
		t.Stores = append(t.Stores, Destruction{Store: st.ID.String(), Environment: st.ID.Environment, Files: st.Files, Bytes: st.Bytes})
	}
	_, err := s.append(ctx, e, func(tx *sqlx.Tx) error { return insertDisposal(ctx, tx, row, t) })
	if err != nil {
		return fmt.Errorf("begin the disposal of %s: %w", o.Slug, err)
	}
	return nil
}

func insertDisposal(ctx context.Context, tx *sqlx.Tx, row disposalRow, t terms) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	row.Terms = string(b)
	_, err = tx.NamedExecContext(ctx, `INSERT INTO disposals (id, tenant, slug, begun, finished, terms, certificate, signature, vkey)
		VALUES (:id, :tenant, :slug, :begun, :finished, :terms, :certificate, :signature, :vkey)`, row)
	return err
}

func (s *Service) ofTenant(ctx context.Context, tenant string) (disposalRow, error) {
	return s.disposal(ctx, `tenant = ?`, tenant)
}

func (s *Service) disposal(ctx context.Context, where string, args ...any) (row disposalRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &row, `SELECT * FROM disposals WHERE `+where, args...)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = data.ErrNotFound
	}
	if err != nil {
		return row, fmt.Errorf("read a disposal: %w", err)
	}
	return row, nil
}

// Finish certifies a destruction whose keys and files are gone: signed, in the
// audit log, in the ledger. It may be called again after a crash at any point; there
// is one certificate. slug is used where this host does not know it any more.
func (s *Service) Finish(ctx context.Context, tenant, slug string, r Revoked) error {
	row, err := s.ofTenant(ctx, tenant)
	if errors.Is(err, data.ErrNotFound) || err == nil && row.Finished != 0 {
		return nil // nobody was ever told of it, or it is certified
	}
	if err != nil {
		return err
	}
	if row.Slug == "" {
		row.Slug = slug
	}
	if row.Certificate == "" {
		if row, err = s.certify(ctx, row, r); err != nil {
			return fmt.Errorf("certify the disposal of %s: %w", row.Slug, err)
		}
	}
	if err := s.publish(ctx, row); err != nil {
		return fmt.Errorf("record the certificate of %s: %w", row.Slug, err)
	}
	s.shipSoon(ctx)
	return nil
}

// certify makes the certificate and stores it: from here on its bytes stand.
func (s *Service) certify(ctx context.Context, row disposalRow, r Revoked) (disposalRow, error) {
	c, err := s.compose(ctx, row, r)
	if err != nil {
		return row, err
	}
	if c.Appliance, err = s.appliance(ctx); err != nil {
		return row, err
	}
	text, err := c.text()
	if err != nil {
		return row, err
	}
	row.Certificate = string(text)
	if row.Signature, row.VKey, err = s.config.Auditor.SignNote(ctx, row.Certificate+"\n"); err != nil {
		return row, err
	}
	if _, err := CheckCertificate(text, []byte(row.Signature), row.VKey); err != nil {
		return row, err
	}
	return row, s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `UPDATE disposals SET slug = :slug, certificate = :certificate, signature = :signature, vkey = :vkey WHERE id = :id`, row)
		return err
	})
}

// appliance is the name that certificates are signed under.
func (s *Service) appliance(ctx context.Context) (string, error) {
	_, vkey, err := s.config.Auditor.SignNote(ctx, "name\n")
	if err != nil {
		return "", err
	}
	return nameOf(vkey), nil
}

func (s *Service) compose(ctx context.Context, row disposalRow, r Revoked) (Certificate, error) {
	var t terms
	if err := json.Unmarshal([]byte(row.Terms), &t); err != nil {
		return Certificate{}, fmt.Errorf("read the terms: %w", err)
	}
	c := Certificate{
		Format: certificateForm.Format(), ID: row.ID, Tenant: Subject{row.Tenant, row.Slug}, Asked: t.Asked, How: t.How,
		CarriedOut: Step{t.By, s.now()}, Revoked: r, CannotPromise: cannotPromise, Copies: []Copy{},
	}
	var since time.Time
	for _, d := range t.Stores {
		id, err := data.ParseStoreID(d.Store)
		if err != nil {
			return c, err
		}
		if d.Keys, err = s.destroyedKeys(id); err != nil {
			return c, err
		}
		for _, k := range d.Keys {
			since = later(since, k.Destroyed)
		}
		held, err := s.config.Held(ctx, id)
		if err != nil {
			return c, err
		}
		living, err := s.livingCopies(ctx, id)
		if err != nil {
			return c, err
		}
		c.Stores, c.Copies = append(c.Stores, d), append(append(c.Copies, held...), living...)
	}
	keyrings, err := s.config.Keyrings(ctx, since)
	if err != nil {
		return c, err
	}
	c.Copies = append(c.Copies, keyrings...)
	c.Ledger, err = s.entryHash(ctx, row.ID)
	return c, err
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// destroyedKeys are a store's keys; a certificate is not given while one of them lives.
func (s *Service) destroyedKeys(id data.StoreID) ([]Key, error) {
	list := s.config.Keys(id)
	for _, k := range list {
		if !k.Gone {
			return nil, fmt.Errorf("the %s key of %s, generation %d, is not destroyed", k.Purpose, id, k.Generation)
		}
	}
	return append([]Key{}, list...), nil
}

func (s *Service) entryHash(ctx context.Context, disposal string) (hash string, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &hash, `SELECT hash FROM ledger WHERE id = ? AND kind = 'destroy' ORDER BY number LIMIT 1`, disposal)
	})
	return hash, err
}

// publish records a certificate in the audit log, once, and in the ledger, sealed.
func (s *Service) publish(ctx context.Context, row disposalRow) error {
	there, err := s.config.Auditor.Recorded(ctx, certified, row.ID)
	if err != nil {
		return err
	}
	if !there {
		if err := s.config.Recorder.Record(ctx, api.Event{Action: certified, Target: row.Slug, Outcome: api.OK, Detail: map[string]string{
			"id": row.ID, "tenant": row.Tenant, "sha256": hashOf(row.Certificate),
		}}); err != nil {
			return err
		}
	}
	return s.enter(ctx, row)
}

// certified is the action of a certificate's audit entry.
const certified = "disposal.certificate"

func (s *Service) enter(ctx context.Context, row disposalRow) error {
	finish := func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE disposals SET finished = ? WHERE id = ?`, s.now().UnixMilli(), row.ID)
		return err
	}
	var there bool
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &there, `SELECT EXISTS (SELECT 1 FROM ledger WHERE id = ? AND kind = ?)`, row.ID, kindCertificate)
	})
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	if there { // it came from a target
		return s.config.DB.Update(ctx, finish)
	}
	sealed, err := s.sealCertificate(row)
	if err != nil {
		return err
	}
	_, err = s.append(ctx, entry{Kind: kindCertificate, ID: row.ID, Sealed: sealed}, finish)
	return err
}
