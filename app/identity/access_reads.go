package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// AccessRead is one use of a glass grant. What was looked for is kept as a hash: it may
// be personal itself.
type AccessRead struct {
	At      time.Time `json:"at"`
	Store   string    `json:"store" doc:"environment"`
	Person  Person    `json:"person"`
	Request string    `json:"request" doc:"id of the access request"`
	What    string    `json:"what" doc:"route or call"`
	Name    string    `json:"name" doc:"collection or file"`
	Query   string    `json:"query" doc:"SHA-256 of filter and order, in hex; empty for none"`
}

// noting is what each use of a glass grant goes through before the store answers. It is
// in the store's own log first; if it cannot be written, nothing is read.
func (s *Service) noting(g Grant, id data.StoreID) func(ctx context.Context, what, name, query string) error {
	return func(ctx context.Context, what, name, query string) error {
		ctx = context.WithoutCancel(ctx)
		d := map[string]string{"request": g.Request, "grant": g.ID, "until": g.Until.Format(time.RFC3339), "asked": what, "http": api.RequestID(ctx)}
		hash := hashOf(query)
		if hash != "" {
			d["query"] = hash
		}
		if err := s.recordIn(ctx, id.String(), "glass.read", name, api.OK, d); err != nil {
			return err
		}
		err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO access_reads (tenant, store, request, person, at, what, name, query) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
				id.Tenant, id.Environment, g.Request, g.Person, millis(s.now()), what, name, hash)
			return err
		})
		if err != nil {
			return fmt.Errorf("note a read: %w", err)
		}
		return nil
	}
}

func hashOf(query string) string {
	if query == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(query))
	return hex.EncodeToString(sum[:])
}

type readRow struct {
	At      int64  `db:"at"`
	Store   string `db:"store"`
	Person  string `db:"person"`
	Request string `db:"request"`
	What    string `db:"what"`
	Name    string `db:"name"`
	Query   string `db:"query"`
}

// readsOf is a page of the uses of glass grants on a tenant, newest first; the filter is
// a request's id.
func (s *Service) readsOf(ctx context.Context, tenant string, page api.Paging) (api.Page[AccessRead], error) {
	const where = ` FROM access_reads WHERE tenant = ? AND (? = '' OR request = ?)`
	var rows []readRow
	var total int
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*)`+where, tenant, page.Filter, page.Filter); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT at, store, person, request, what, name, query`+where+` ORDER BY at DESC, id DESC LIMIT ? OFFSET ?`,
			tenant, page.Filter, page.Filter, page.PerPage, page.Offset())
	})
	if err != nil {
		return api.Page[AccessRead]{}, fmt.Errorf("list reads: %w", err)
	}
	people := map[string]Person{hostHolder: {ID: hostHolder, Name: "Command line of the host"}}
	items := make([]AccessRead, len(rows))
	for i, r := range rows {
		p, err := s.knownPerson(ctx, r.Person, people)
		if err != nil {
			return api.Page[AccessRead]{}, err
		}
		items[i] = AccessRead{fromMillis(r.At), r.Store, p, r.Request, r.What, r.Name, r.Query}
	}
	return api.NewPage(items, page, total), nil
}
