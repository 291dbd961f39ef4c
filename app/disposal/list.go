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
)

// Disposal is one destruction as it is listed.
type Disposal struct {
	ID          string     `json:"id"`
	Tenant      Subject    `json:"tenant"`
	Begun       time.Time  `json:"begun"`
	Certified   *time.Time `json:"certified" doc:"null while it is under way"`
	SHA256      string     `json:"sha256,omitempty" doc:"of the certificate"`
	VerifierKey string     `json:"verifierKey,omitempty"`
	Targets     int        `json:"targets" doc:"targets that hold the ledger's entry"`
}

// Certified is a disposal with its certificate.
type Certified struct {
	Disposal
	Certificate *Certificate `json:"certificate" doc:"read for people; the bytes that are signed are under /certificate"`
	Signature   string       `json:"signature,omitempty"`
}

func (r disposalRow) shown(targets int) Disposal {
	d := Disposal{ID: r.ID, Tenant: Subject{r.Tenant, r.Slug}, Begun: timeOf(r.Begun), VerifierKey: r.VKey, Targets: targets}
	if r.Finished != 0 {
		at := timeOf(r.Finished)
		d.Certified, d.SHA256 = &at, hashOf(r.Certificate)
	}
	return d
}

func timeOf(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

const shippedTo = `(SELECT count(DISTINCT h.target) FROM ledger l JOIN ledger_shipped h ON h.hash = l.hash
	WHERE l.id = d.id AND l.kind = ?) AS targets`

// List gives the disposals, newest first; filter is a tenant's id or slug, or a
// disposal's id.
func (s *Service) List(ctx context.Context, p api.Paging) (api.Page[Disposal], error) {
	var rows []struct {
		disposalRow
		Targets int `db:"targets"`
	}
	var total int
	const where = ` FROM disposals d WHERE (? = '' OR tenant = ? OR slug = ? OR d.id = ?)`
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		f := p.Filter
		if err := tx.GetContext(ctx, &total, `SELECT count(*)`+where, f, f, f, f); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT d.*, `+shippedTo+where+` ORDER BY begun DESC, d.id LIMIT ? OFFSET ?`,
			kindDestroy, f, f, f, f, p.PerPage, p.Offset())
	})
	if err != nil {
		return api.Page[Disposal]{}, fmt.Errorf("list disposals: %w", err)
	}
	items := make([]Disposal, len(rows))
	for i, r := range rows {
		items[i] = r.shown(r.Targets)
	}
	return api.NewPage(items, p, total), nil
}

// Get gives one disposal with its certificate. data.ErrNotFound.
func (s *Service) Get(ctx context.Context, id string) (Certified, error) {
	row, err := s.disposal(ctx, `id = ?`, id)
	if err != nil {
		return Certified{}, missing(err, id)
	}
	page, err := s.List(ctx, api.Paging{Page: 1, PerPage: 1, Filter: id})
	if err != nil || len(page.Items) == 0 {
		return Certified{}, errors.Join(err, missing(data.ErrNotFound, id))
	}
	c := Certified{Disposal: page.Items[0], Signature: row.Signature}
	if row.Finished == 0 {
		return c, nil
	}
	c.Certificate = &Certificate{}
	return c, json.Unmarshal([]byte(row.Certificate), c.Certificate)
}

func missing(err error, id string) error {
	if !errors.Is(err, data.ErrNotFound) {
		return err
	}
	return api.Errorf(404, "not-found", "There is no disposal %q (not found).", id).Because(err)
}

type erasureRow struct {
	ID         string `db:"id"`
	Store      string `db:"store"`
	Collection string `db:"collection"`
	Records    int    `db:"records"`
	Reason     string `db:"reason"`
	Asked      int64  `db:"asked"`
	Actor      string `db:"actor"`
	Finished   int64  `db:"finished"`
	Origin     string `db:"origin"`
	Targets    int    `db:"targets"`
}

func (r erasureRow) shown() Erasure {
	e := Erasure{ID: r.ID, Store: r.Store, Collection: r.Collection, Records: r.Records, Reason: r.Reason,
		Asked: timeOf(r.Asked), By: r.Actor, Targets: r.Targets, Origin: r.Origin, Copies: []CopyErasure{}}
	if r.Finished != 0 {
		at := timeOf(r.Finished)
		e.Finished = &at
	}
	return e
}

// Erasures lists what was erased in a store, newest first.
func (s *Service) Erasures(ctx context.Context, id data.StoreID, p api.Paging) (api.Page[Erasure], error) {
	var rows []erasureRow
	var total int
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*) FROM erasures WHERE store = ?`, id.String()); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT d.*, `+shippedTo+` FROM erasures d WHERE store = ? ORDER BY asked DESC, d.id LIMIT ? OFFSET ?`,
			kindErase, id.String(), p.PerPage, p.Offset())
	})
	if err != nil {
		return api.Page[Erasure]{}, fmt.Errorf("list erasures: %w", err)
	}
	items := make([]Erasure, len(rows))
	for i, r := range rows {
		items[i] = r.shown()
		if items[i].Copies, err = s.copiesErased(ctx, r.ID); err != nil {
			return api.Page[Erasure]{}, err
		}
	}
	return api.NewPage(items, p, total), nil
}

// copiesErased are the erasures that followed from one in copies of its store.
func (s *Service) copiesErased(ctx context.Context, origin string) ([]CopyErasure, error) {
	var rows []erasureRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT d.*, 0 AS targets FROM erasures d WHERE origin = ? ORDER BY asked, id`, origin)
	})
	if err != nil {
		return nil, fmt.Errorf("list erasures: %w", err)
	}
	out := []CopyErasure{}
	for _, r := range rows {
		c := CopyErasure{Store: r.Store, State: CopyErased, Erasure: r.ID, Records: r.Records}
		if r.Finished == 0 {
			c.State = CopyParked
		}
		if id, err := data.ParseStoreID(r.Store); err == nil {
			c.Name = s.config.Tenants.Name(ctx, id)
		}
		out = append(out, c)
	}
	return out, nil
}

func (s *Service) erasure(ctx context.Context, id string) (Erasure, error) {
	var row erasureRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &row, `SELECT d.*, `+shippedTo+` FROM erasures d WHERE id = ?`, kindErase, id)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = data.ErrNotFound
	}
	return row.shown(), err
}

// Ledger is the state of the ledger, here and off this host.
type Ledger struct {
	Entries int        `json:"entries"`
	Head    []string   `json:"head" doc:"hashes that nothing follows yet: one, or more after two hosts wrote"`
	Missing []string   `json:"missing" doc:"entries that others link to and nobody has: they were taken away"`
	Targets []Standing `json:"targets"`
}

// Ledger tells how far the ledger is, and on which targets.
func (s *Service) Ledger(ctx context.Context) (l Ledger, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		l.Head = []string{}
		return errors.Join(tx.GetContext(ctx, &l.Entries, `SELECT count(*) FROM ledger`),
			tx.SelectContext(ctx, &l.Head, `SELECT hash FROM ledger WHERE head = 1 ORDER BY hash`))
	})
	if err != nil {
		return l, fmt.Errorf("read the ledger: %w", err)
	}
	if l.Missing, err = s.gaps(ctx); err != nil {
		return l, err
	}
	l.Missing = append([]string{}, l.Missing...)
	l.Targets = []Standing{}
	targets, err := s.config.Targets(ctx)
	if err != nil {
		return l, err
	}
	standing, err := s.standings(ctx)
	for _, t := range targets {
		st, ok := standing[t.ID]
		if !ok {
			st.Waiting = l.Entries
		}
		st.Target = t.Name
		l.Targets = append(l.Targets, st)
	}
	return l, err
}
