package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// Member is a person's role on a tenant: one with two roles is listed twice.
type Member struct {
	Person
	State    string     `json:"state" enum:"active,locked,disabled"`
	Grant    string     `json:"grant" doc:"id of the grant"`
	Role     string     `json:"role"`
	Since    time.Time  `json:"since"`
	Until    *time.Time `json:"until" doc:"null: no end"`
	Why      string     `json:"why"`
	GivenBy  string     `json:"givenBy" doc:"actor"`
	Glass    bool       `json:"glass" doc:"came of an access request; each use is recorded"`
	LastSeen *time.Time `json:"lastSeen" doc:"last sign-in"`
}

// NewMember gives somebody a role on a tenant: an account that there is, or, by who
// may make operators, one that is made, for which a password is needed.
type NewMember struct {
	Email    string     `json:"email"`
	Role     string     `json:"role,omitempty" doc:"viewer when left out"`
	From     *time.Time `json:"from,omitempty" doc:"now when left out"`
	Until    *time.Time `json:"until,omitempty" doc:"no end when left out"`
	Why      string     `json:"why,omitempty"`
	Name     string     `json:"name,omitempty" doc:"of a new account"`
	Password string     `json:"password,omitempty" doc:"of a new account; left out for one that exists"`
}

// RoleChange gives one role in place of all others.
type RoleChange struct {
	Role string `json:"role"`
	Why  string `json:"why,omitempty"`
}

func (s *Service) memberRoutes() []api.Route {
	const path, one = "/api/v1/tenants/{slug}/members", "/api/v1/tenants/{slug}/members/{id}"
	return []api.Route{
		{
			Method: http.MethodGet, Path: path, Permission: api.MemberRead, Scope: s.tenantScope, Paged: true,
			Summary: "List the people of a tenant and their roles; filter is text in address, name or role", Response: api.Page[Member]{}, Handler: s.serveMembers,
		},
		{
			Method: http.MethodPost, Path: path, Permission: api.MemberManage, Assurance: api.Fresh, Scope: s.tenantScope, Summary: "Give somebody of the tenant another role, none with more than the giver has; others are invited",
			Request: NewMember{}, Response: Member{}, Status: http.StatusCreated, Handler: s.serveNewMember,
		},
		{
			Method: http.MethodPatch, Path: one, Permission: api.MemberManage, Assurance: api.Fresh, Scope: s.tenantScope, Summary: "Give a person of a tenant one role in place of all others",
			Request: RoleChange{}, Response: Member{}, Handler: s.serveRoleChange,
		},
		{
			Method: http.MethodDelete, Path: one, Permission: api.MemberManage, Assurance: api.Fresh, Scope: s.tenantScope,
			Summary: "Take all roles on a tenant from a person, at once", Handler: s.serveRemoveMember,
		},
		{
			Method: http.MethodDelete, Path: "/api/v1/tenants/{slug}/grants/{id}", Permission: api.MemberManage, Assurance: api.Fresh, Scope: s.tenantScope,
			Summary: "End one role of a person on a tenant, at once", Handler: s.serveEndGrant,
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
		return api.Scope{Missing: err}
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
// there is none and the context's actor may.
func (s *Service) AddMember(ctx context.Context, tenant string, n NewMember) (Member, error) {
	if n.Role == "" {
		n.Role = "viewer"
	}
	g, err := n.grant(tenant, s.now())
	if err != nil {
		return Member{}, err
	}
	if err := s.mayGive(ctx, tenant, n.Role); err != nil { // before an account is looked for
		return Member{}, err
	}
	if g.Person, err = s.memberAccount(ctx, tenant, n); err != nil {
		return Member{}, err
	}
	if has, err := s.hasRole(ctx, g); err != nil || has {
		return Member{}, orElse(err, api.Errorf(http.StatusConflict, "exists", "This person has this role on the tenant already.").Because(data.ErrExists))
	}
	if g, err = s.give(ctx, g); err != nil {
		return Member{}, err
	}
	return s.member(ctx, tenant, g.ID)
}

// grant checks the times and the reason.
func (n NewMember) grant(tenant string, now time.Time) (Grant, error) {
	g := Grant{Role: n.Role, Scope: tenant, From: now, Why: strings.TrimSpace(n.Why)}
	if n.From != nil && n.From.After(now) {
		g.From = n.From.UTC().Truncate(time.Millisecond)
	}
	if n.Until != nil {
		g.Until = n.Until.UTC().Truncate(time.Millisecond)
	}
	if n.Until != nil && !g.Until.After(g.From) {
		return g, api.InvalidField("until", "is not after its beginning")
	}
	if utf8.RuneCountInString(g.Why) > 500 {
		return g, api.InvalidField("why", "at most 500 characters")
	}
	return g, nil
}

func (s *Service) hasRole(ctx context.Context, g Grant) (has bool, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &has, `SELECT EXISTS (SELECT 1 FROM grants WHERE person = ? AND scope = ? AND role = ? AND revoked = 0
			AND (valid_until = 0 OR valid_until > ?))`, g.Person, g.Scope, g.Role, millis(s.now()))
	})
	return has, err
}

// memberAccount finds the person of an address, or makes the account. A password
// for an account that exists is refused: it would not become the account's.
func (s *Service) memberAccount(ctx context.Context, tenant string, n NewMember) (string, error) {
	email, ok := cleanEmail(n.Email)
	if !ok {
		return "", api.InvalidField("email", "is not an e-mail address")
	}
	if err := s.mayLookUp(ctx, tenant, email); err != nil {
		return "", err
	}
	row, err := s.personByEmail(ctx, email)
	if err == nil && n.Password != "" {
		return "", api.InvalidField("password", "this account exists and keeps its own; leave it out")
	}
	if !errors.Is(err, data.ErrNotFound) {
		return row.ID, err
	}
	made := NewPerson{Email: n.Email, Name: n.Name, Password: n.Password, first: data.ActorFrom(ctx).Kind == data.Person}
	if err := s.withoutPassword(&made, tenant); err != nil {
		return "", err
	}
	return s.newAccount(ctx, made)
}

// mayLookUp keeps the answer to an address the same whether or not there is an account:
// only who makes operators, and so sees all accounts, adds people by address. Others
// do so for the people of their tenant, whom they see there, and invite everybody else.
func (s *Service) mayLookUp(ctx context.Context, tenant, email string) error {
	if s.Authorize(ctx, data.ActorFrom(ctx), api.OperatorManage, api.Scope{}) == nil {
		return nil
	}
	var known bool
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &known, `SELECT EXISTS (SELECT 1 FROM persons p JOIN grants g ON g.person = p.id
			WHERE p.email = ? AND g.scope = ? AND g.revoked = 0 AND (g.valid_until = 0 OR g.valid_until > ?))`, email, tenant, millis(s.now()))
	})
	if err != nil || known {
		return err
	}
	return api.Errorf(http.StatusConflict, "invite", "Invite them instead: that works for people with and without an account.")
}

// newAccount makes a person without any grant.
func (s *Service) newAccount(ctx context.Context, n NewPerson) (string, error) {
	if wrong := n.clean(s.weak); len(wrong) > 0 {
		return "", api.Invalid(wrong...)
	}
	hash, err := s.firstHash(ctx, n)
	if err != nil {
		return "", err
	}
	id := system.NewID()
	err = s.noted(ctx, func(tx *sqlx.Tx) error { return insertPerson(ctx, tx, id, n, hash, millis(s.now())) },
		func(ctx context.Context) error { return s.record(ctx, "person.create", id, api.OK, nil) })
	if err != nil {
		return "", fmt.Errorf("make account: %w", err)
	}
	return id, nil
}

func (s *Service) serveRemoveMember(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	ctx, person := r.Context(), r.PathValue("id")
	if err := s.mayChange(ctx, tenant, person); err != nil {
		return err
	}
	if err := s.RemoveMember(ctx, tenant, person); err != nil {
		return err
	}
	return api.NoContent(w)
}

// RemoveMember ends a person's grants on a tenant, and the membership.
// data.ErrNotFound when there are none, a 409 for the last owner.
func (s *Service) RemoveMember(ctx context.Context, tenant, person string) error {
	err := s.endingGrantsAnd(ctx, tenant, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM memberships WHERE person = ? AND tenant = ?`, person, tenant); err != nil {
			return err
		}
		return s.owe(ctx, tx, "", "member.remove", person, map[string]string{"scope": tenant})
	}, `person = ? AND scope = ?`, person, tenant)
	if err != nil {
		return fmt.Errorf("remove member: %w", err)
	}
	return nil
}

func (s *Service) serveRoleChange(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	var in RoleChange
	if err := api.Read(r, &in); err != nil {
		return err
	}
	g, err := s.change(r.Context(), Grant{Person: r.PathValue("id"), Role: in.Role, Scope: tenant, Why: in.Why})
	if err != nil {
		return err
	}
	m, err := s.member(r.Context(), tenant, g.ID)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, m)
}

func (s *Service) serveEndGrant(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	g, err := s.grant(r.Context(), r.PathValue("id"))
	if err == nil && g.Scope != tenant { // of another tenant: nothing is known of it here
		err = data.ErrNotFound
	}
	if err != nil {
		return err
	}
	if err := s.mayChange(r.Context(), tenant, g.Person); err != nil {
		return err
	}
	if err := s.RevokeGrant(r.Context(), g.ID); err != nil {
		return err
	}
	return api.NoContent(w)
}

type memberRow struct {
	ID       string `db:"id"`
	Email    string `db:"email"`
	Name     string `db:"name"`
	State    string `db:"state"`
	Grant    string `db:"grant_id"`
	Role     string `db:"role"`
	Since    int64  `db:"since"`
	Until    int64  `db:"until"`
	Why      string `db:"why"`
	By       string `db:"by"`
	Glass    bool   `db:"glass"`
	LastSeen int64  `db:"last_seen"`
}

func (r memberRow) member() Member {
	return Member{
		Person: Person{ID: r.ID, Email: r.Email, Name: r.Name}, State: r.State, Grant: r.Grant, Role: r.Role, Since: fromMillis(r.Since),
		Until: moment(r.Until), Why: r.Why, GivenBy: r.By, Glass: r.Glass, LastSeen: moment(r.LastSeen),
	}
}

// The local socket's actor is listed among the people: it has no account.
const fromMembers = ` FROM grants g LEFT JOIN persons p ON p.id = g.person WHERE g.scope = ? AND g.revoked = 0`

const selectMembers = `SELECT g.person AS id, coalesce(p.email, '') AS email, coalesce(p.name, 'Command line of the host') AS name,
	coalesce(p.state, 'active') AS state, g.id AS grant_id, g.role, g.valid_from AS since, g.valid_until AS until, g.why,
	g.created_by AS by, g.glass, coalesce(p.last_sign_in, 0) AS last_seen` + fromMembers

func (s *Service) member(ctx context.Context, tenant, grant string) (Member, error) {
	var row memberRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &row, selectMembers+` AND g.id = ?`, tenant, grant))
	})
	if err != nil {
		return Member{}, fmt.Errorf("find member: %w", err)
	}
	return row.member(), nil
}

// memberOrder maps what a list may be sorted by to the column.
var memberOrder = map[string]string{
	"": "p.email, g.role", "email": "p.email", "name": "p.name", "role": "g.role", "since": "g.valid_from", "until": "g.valid_until = 0, g.valid_until",
}

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
	const where = ` AND (g.valid_until = 0 OR g.valid_until > ?) AND instr(lower(coalesce(p.email || ' ' || p.name, 'host') || ' ' || g.role), lower(?)) > 0`
	now := millis(s.now())
	var rows []memberRow
	var total int
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*)`+fromMembers+where, tenant, now, page.Filter); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, selectMembers+where+order+` LIMIT ? OFFSET ?`,
			tenant, now, page.Filter, page.PerPage, page.Offset())
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
