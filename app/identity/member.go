package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// Member is a person with a role on a tenant.
type Member struct {
	Person
	Role  string    `json:"role"`
	State string    `json:"state" enum:"active,locked,disabled"`
	Since time.Time `json:"since"`
}

// NewMember gives somebody a role on a tenant: an account that there is, or one that
// is made, for which a password is needed.
type NewMember struct {
	Email    string `json:"email"`
	Role     string `json:"role,omitempty" doc:"owner when left out"`
	Name     string `json:"name,omitempty" doc:"of a new account"`
	Password string `json:"password,omitempty" doc:"of a new account; left out for one that exists"`
}

func (s *Service) memberRoutes() []api.Route {
	const path = "/api/v1/tenants/{slug}/members"
	return []api.Route{
		{
			Method: http.MethodGet, Path: path, Permission: api.TenantRead, Scope: s.tenantScope, Paged: true,
			Summary: "List the people of a tenant; filter is text in address or name", Response: api.Page[Member]{}, Handler: s.serveMembers,
		},
		{
			Method: http.MethodPost, Path: path, Permission: api.MemberManage, Assurance: api.Fresh, Scope: s.tenantScope, Summary: "Give somebody a role on a tenant",
			Request: NewMember{}, Response: Member{}, Status: http.StatusCreated, Handler: s.serveNewMember,
		},
		{
			Method: http.MethodDelete, Path: path + "/{id}", Permission: api.MemberManage, Assurance: api.Fresh, Scope: s.tenantScope,
			Summary: "Take all roles on a tenant from a person, at once", Handler: s.serveRemoveMember,
		},
	}
}

// tenant is the id of the path's tenant.
func (s *Service) tenant(r *http.Request) (string, error) {
	id, err := s.config.Tenants.Store(r.Context(), r.PathValue("slug"), data.Prod)
	return id.Tenant, err
}

// tenantScope is the tenant of the path; see storeScope for one that is not there.
func (s *Service) tenantScope(r *http.Request) api.Scope {
	id, err := s.tenant(r)
	if err != nil {
		return api.Scope{}
	}
	return api.Scope{Tenant: id}
}

func (s *Service) serveNewMember(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	var in NewMember
	if err := api.Read(r, &in); err != nil {
		return err
	}
	made, err := s.AddMember(r.Context(), tenant, in)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, made)
}

// AddMember gives a person a role on a tenant, by id, and makes the account if
// there is none.
func (s *Service) AddMember(ctx context.Context, tenant string, n NewMember) (Member, error) {
	if n.Role == "" {
		n.Role = Owner
	}
	person, err := s.memberAccount(ctx, n)
	if err != nil {
		return Member{}, err
	}
	if _, err := s.member(ctx, tenant, person); err == nil {
		return Member{}, api.Errorf(http.StatusConflict, "exists", "This person has a role on the tenant already.").Because(data.ErrExists)
	}
	if _, err := s.Grant(ctx, Grant{Person: person, Role: n.Role, Scope: tenant}); err != nil {
		return Member{}, err
	}
	return s.member(ctx, tenant, person)
}

// memberAccount finds the person of an address, or makes the account. A password
// for an account that exists is refused: it would not become the account's.
func (s *Service) memberAccount(ctx context.Context, n NewMember) (string, error) {
	if n.Role != Owner {
		return "", api.InvalidField("role", `the one role so far is "owner"`)
	}
	email, _ := cleanEmail(n.Email)
	row, err := s.personByEmail(ctx, email)
	if err == nil && n.Password != "" {
		return "", api.InvalidField("password", "this account exists and keeps its own; leave it out")
	}
	if !errors.Is(err, data.ErrNotFound) {
		return row.ID, err
	}
	return s.newAccount(ctx, NewPerson{Email: n.Email, Name: n.Name, Password: n.Password})
}

// newAccount makes a person without any grant.
func (s *Service) newAccount(ctx context.Context, n NewPerson) (string, error) {
	if wrong := n.clean(); len(wrong) > 0 {
		return "", api.Invalid(wrong...)
	}
	hash, err := s.hasher.hash(ctx, n.Password)
	if err != nil {
		return "", err
	}
	id := system.NewID()
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		return insertPerson(ctx, tx, id, n, hash, millis(s.now()))
	})
	if err != nil {
		return "", fmt.Errorf("make account: %w", err)
	}
	return id, s.orUndo(ctx, s.record(ctx, "person.create", id, api.OK, nil), `DELETE FROM persons WHERE id = ?`, id)
}

func (s *Service) serveRemoveMember(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	if err := s.RemoveMember(r.Context(), tenant, r.PathValue("id")); err != nil {
		return err
	}
	return api.NoContent(w)
}

// RemoveMember ends a person's grants on a tenant, and the membership.
// data.ErrNotFound when there are none.
func (s *Service) RemoveMember(ctx context.Context, tenant, person string) error {
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE grants SET revoked = ?, revoked_by = ? WHERE person = ? AND scope = ? AND revoked = 0`,
			millis(s.now()), data.ActorFrom(ctx).String(), person, tenant)
		if err := changedOne(done, err); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM memberships WHERE person = ? AND tenant = ?`, person, tenant)
		return err
	})
	s.grants.forget()
	if err != nil {
		return fmt.Errorf("remove member: %w", err)
	}
	return s.record(ctx, "member.remove", person, api.OK, map[string]string{"scope": tenant})
}

type memberRow struct {
	ID    string `db:"id"`
	Email string `db:"email"`
	Name  string `db:"name"`
	State string `db:"state"`
	Role  string `db:"role"`
	Since int64  `db:"since"`
}

func (r memberRow) member() Member {
	return Member{Person: Person{r.ID, r.Email, r.Name}, Role: r.Role, State: r.State, Since: fromMillis(r.Since)}
}

const fromMembers = ` FROM persons p JOIN grants g ON g.person = p.id AND g.scope = ? AND g.revoked = 0`

const selectMembers = `SELECT p.id, p.email, p.name, p.state, g.role, g.valid_from AS since` + fromMembers

func (s *Service) member(ctx context.Context, tenant, person string) (Member, error) {
	var row memberRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &row, selectMembers+` WHERE p.id = ? LIMIT 1`, tenant, person))
	})
	if err != nil {
		return Member{}, fmt.Errorf("find member: %w", err)
	}
	return row.member(), nil
}

// memberOrder maps what a list may be sorted by to the column.
var memberOrder = map[string]string{"": "p.email", "email": "p.email", "name": "p.name", "since": "g.valid_from"}

func (s *Service) serveMembers(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	page, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	list, err := s.members(r.Context(), tenant, page)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, list)
}

func (s *Service) members(ctx context.Context, tenant string, page api.Paging) (api.Page[Member], error) {
	order, err := orderBy(memberOrder, page.Sort)
	if err != nil {
		return api.Page[Member]{}, err
	}
	const where = ` WHERE instr(lower(p.email || ' ' || p.name), lower(?)) > 0`
	var rows []memberRow
	var total int
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*)`+fromMembers+where, tenant, page.Filter); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, selectMembers+where+order+` LIMIT ? OFFSET ?`,
			tenant, page.Filter, page.PerPage, page.Offset())
	})
	if err != nil {
		return api.Page[Member]{}, fmt.Errorf("list members: %w", err)
	}
	items := make([]Member, len(rows))
	for i, row := range rows {
		items[i] = row.member()
	}
	return api.NewPage(items, page, total), nil
}
