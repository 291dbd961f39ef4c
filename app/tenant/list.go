package tenant

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Tenant is one tenant as it is shown.
type Tenant struct {
	ID           string        `json:"id"`
	Slug         string        `json:"slug"`
	Name         string        `json:"name"`
	State        string        `json:"state" enum:"live,parked,destroyed"`
	Created      time.Time     `json:"created"`
	ParkedUntil  *time.Time    `json:"parkedUntil,omitempty" doc:"until then the tenant can be undeleted"`
	URL          string        `json:"url"`
	Environments []Environment `json:"environments"`
}

// Environment is one of a tenant's.
type Environment struct {
	Name    string    `json:"name" enum:"prod,test,dev"`
	URL     string    `json:"url"`
	State   string    `json:"state" enum:"live,parked,destroyed"`
	Created time.Time `json:"created"`
}

// Listing asks for a page of tenants.
type Listing struct {
	api.Paging
	State string    // a state; "" is live and parked, "all" is every one
	Reach api.Reach // which tenants may be shown
}

// sorts are the orders a list may have, as columns.
var sorts = map[string]string{
	"slug": "slug", "name": "name COLLATE NOCASE", "created": "created", "state": "state",
}

// List gives a page of tenants and how many there are. Filter is looked for in
// slug and name.
func (s *Service) List(ctx context.Context, l Listing) (items []Tenant, total int, err error) {
	order, err := l.order()
	if err != nil {
		return nil, 0, err
	}
	where, args, err := l.where()
	if err != nil {
		return nil, 0, err
	}
	var rows []row
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		page := append(args[:len(args):len(args)], l.PerPage, l.Offset())
		// Skipped and refused rows are read from an index alone.
		if err := tx.SelectContext(ctx, &rows, `SELECT `+columns+` FROM tenants `+l.index()+` WHERE `+where+` ORDER BY `+order+` LIMIT ? OFFSET ?`, page...); err != nil {
			return err
		}
		if total = l.Offset() + len(rows); len(rows) == l.PerPage || len(rows) == 0 && l.Offset() > 0 {
			if total, err = s.count(ctx, tx, where, args); err != nil {
				return err
			}
		}
		return withEnvironments(ctx, tx, rows)
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list tenants: %w", err)
	}
	for _, r := range rows {
		items = append(items, s.shown(r))
	}
	return items, total, nil
}

// count is from memory where no tenant has changed since it was last taken.
func (s *Service) count(ctx context.Context, tx *sqlx.Tx, where string, args []any) (total int, err error) {
	what := fmt.Sprintf("%s|%q", where, args)
	if total, ok := s.found.count(what); ok {
		return total, nil
	}
	epoch := s.found.now()
	if err := tx.GetContext(ctx, &total, `SELECT count(*) FROM tenants WHERE `+where, args...); err != nil {
		return 0, err
	}
	s.found.putCount(what, total, epoch)
	return total, nil
}

func (l Listing) order() (string, error) {
	name, descending := strings.CutPrefix(l.Sort, "-")
	if name == "" {
		name = "slug"
	}
	column, ok := sorts[name]
	if !ok {
		return "", api.InvalidField("sort", "%q is none of slug, name, created, state", l.Sort)
	}
	if descending {
		column += " DESC"
	}
	if l.past() {
		return column + ", slug, id", nil // a slug may have been of several
	}
	if strings.HasSuffix(column, " DESC") {
		return column + ", slug DESC", nil
	}
	return column + ", slug", nil
}

// index is what a list by slug goes by: SQLite would take the one that has the slug
// alone.
func (l Listing) index() string {
	if by := strings.TrimPrefix(l.Sort, "-"); !l.past() && (by == "" || by == "slug") {
		return "INDEXED BY tenants_listed"
	}
	return ""
}

// past says that destroyed tenants are shown, of which the slug is no name.
func (l Listing) past() bool { return l.State == "all" || l.State == Destroyed }

func (l Listing) where() (string, []any, error) {
	var terms []string
	var args []any
	switch l.State {
	case "":
		terms = append(terms, "state <> 'destroyed' AND state IN ('live', 'parked')") // the former picks the index
	case "all":
		terms = append(terms, "state <> 'creating'")
	case Live, Parked:
		terms, args = append(terms, "state <> 'destroyed' AND state = ?"), append(args, l.State)
	case Destroyed:
		terms = append(terms, "state = 'destroyed'")
	default:
		return "", nil, api.InvalidField("state", "%q is none of live, parked, destroyed, all", l.State)
	}
	if text := strings.TrimSpace(l.Filter); text != "" {
		terms = append(terms, `(slug LIKE ? ESCAPE '\' OR name LIKE ? ESCAPE '\')`)
		pattern := "%" + escapeLike(text) + "%"
		args = append(args, pattern, pattern)
	}
	if !l.Reach.All {
		terms = append(terms, "id IN (SELECT value FROM json_each(?))")
		args = append(args, jsonList(l.Reach.Tenants))
	}
	return strings.Join(terms, " AND "), args, nil
}

func escapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

func withEnvironments(ctx context.Context, tx *sqlx.Tx, rows []row) error {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	all, err := environmentsOf(ctx, tx, ids...)
	for i := range rows {
		rows[i].environments = all[rows[i].ID]
	}
	return err
}

// Get shows one tenant by slug; data.ErrNotFound.
func (s *Service) Get(ctx context.Context, slug string) (Tenant, error) {
	r, err := s.row(ctx, slug)
	if err == nil && r.State == creating {
		err = data.ErrNotFound
	}
	if err != nil {
		return Tenant{}, missing(err, "There is no tenant %q (not found).", slug)
	}
	return s.shown(r), nil
}

func (s *Service) shown(r row) Tenant {
	t := Tenant{
		ID: r.ID, Slug: r.Slug, Name: r.Name, State: r.State, Created: timeOf(r.Created),
		URL: s.config.URL(r.Slug, data.Prod), Environments: []Environment{},
	}
	if r.State == Parked {
		until := timeOf(r.ParkedUntil)
		t.ParkedUntil = &until
	}
	for _, e := range r.environments {
		if e.State == Live {
			t.Environments = append(t.Environments, s.shownEnvironment(r, e))
		}
	}
	return t
}

func (s *Service) shownEnvironment(r row, e environmentRow) Environment {
	return Environment{Name: e.Name, URL: s.config.URL(r.Slug, e.Name), State: r.State, Created: timeOf(e.Created)}
}

// IDs are those of all tenants that are there or can be brought back.
func (s *Service) IDs(ctx context.Context) (ids []string, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &ids, `SELECT id FROM tenants WHERE state IN ('live', 'parked') ORDER BY id`)
	})
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return ids, nil
}
