package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// RoleRequest is what a tenant's own role is made of.
type RoleRequest struct {
	Name  string           `json:"name,omitempty" doc:"a-z, 0-9 and -; cannot be changed later"`
	About string           `json:"about,omitempty" doc:"one line"`
	Allow []api.Permission `json:"allow,omitempty"`
	Deny  []api.Permission `json:"deny,omitempty" doc:"refused to who has the role, whatever other roles allow"`
}

var rolePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

// maxRoles bounds a tenant's own roles.
const maxRoles = 100

// check brings the fields to their one form and says what is wrong with them.
func (n *RoleRequest) check() error {
	var wrong []api.FieldError
	add := func(field, message string) { wrong = append(wrong, api.FieldError{Field: field, Message: message}) }
	n.About = strings.TrimSpace(n.About)
	if utf8.RuneCountInString(n.About) > 200 || strings.ContainsFunc(n.About, func(r rune) bool { return r < ' ' }) {
		add("about", "at most 200 characters on one line")
	}
	for field, list := range map[string][]api.Permission{"allow": n.Allow, "deny": n.Deny} {
		for _, p := range list {
			if !grantable(p) {
				add(field, fmt.Sprintf("%.40q is no permission that a tenant's role can hold", p))
			}
		}
	}
	if len(n.Allow)+len(n.Deny) == 0 {
		add("allow", "name at least one permission")
	}
	if len(wrong) > 0 {
		return api.Invalid(wrong...)
	}
	return nil
}

func grantable(p api.Permission) bool {
	return p != api.Public && p != api.Signed && p.Known() && !p.ApplianceOnly()
}

type roleRow struct {
	Tenant string `db:"tenant"`
	Name   string `db:"name"`
	About  string `db:"about"`
	Allow  string `db:"allow"`
	Deny   string `db:"deny"`
}

func (r roleRow) role() (Role, error) {
	out := Role{Name: r.Name, Where: api.OnTenant, About: r.About, Custom: true}
	err := errors.Join(json.Unmarshal([]byte(r.Allow), &out.Allow), json.Unmarshal([]byte(r.Deny), &out.Deny))
	return out, err
}

func permissionsJSON(list []api.Permission) string {
	if list == nil {
		list = []api.Permission{}
	}
	text, _ := json.Marshal(list) // strings always marshal
	return string(text)
}

// customRole finds one of a tenant's own. data.ErrNotFound.
func customRole(ctx context.Context, tx *sqlx.Tx, tenant, name string) (Role, error) {
	var row roleRow
	err := tx.GetContext(ctx, &row, `SELECT tenant, name, about, allow, deny FROM roles WHERE tenant = ? AND name = ?`, tenant, name)
	if err = oneRow(err); err != nil {
		return Role{}, err
	}
	return row.role()
}

// customRoles are a tenant's own, by name.
func (s *Service) customRoles(ctx context.Context, tenant string) (list []Role, err error) {
	var rows []roleRow
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT tenant, name, about, allow, deny FROM roles WHERE tenant = ? ORDER BY name`, tenant)
	})
	for _, row := range rows {
		role, e := row.role()
		list, err = append(list, role), errors.Join(err, e)
	}
	return list, err
}

// CreateRole makes a role of a tenant's own. It can allow only what its maker may
// there.
func (s *Service) CreateRole(ctx context.Context, tenant string, n RoleRequest) (Role, error) {
	if !rolePattern.MatchString(n.Name) {
		return Role{}, api.InvalidField("name", "a-z, 0-9 and -, at most 40, beginning with a letter")
	}
	if _, taken := s.builtins.of(tenant, n.Name); taken {
		return Role{}, api.InvalidField("name", "is a built-in role")
	}
	if err := errors.Join(n.check()); err != nil {
		return Role{}, err
	}
	if err := s.mayKeep(ctx, tenant, append([]api.Permission{api.RoleManage}, n.Allow...)); err != nil {
		return Role{}, err
	}
	made := Role{Name: n.Name, Where: api.OnTenant, About: n.About, Allow: n.Allow, Deny: n.Deny, Custom: true}
	err := s.noted(ctx, func(tx *sqlx.Tx) error { return s.insertRole(ctx, tx, tenant, n) },
		func(ctx context.Context) error { return s.recordRole(ctx, "role.create", tenant, made) })
	if err != nil {
		return Role{}, fmt.Errorf("create role: %w", err)
	}
	return made, nil
}

func (s *Service) recordRole(ctx context.Context, action, tenant string, r Role) error {
	return s.recordTenant(ctx, tenant, action, r.Name, map[string]string{
		"allow": permissionsJSON(r.Allow), "deny": permissionsJSON(r.Deny)})
}

// recordTenant writes into the log of a tenant's prod store: the tenant reads it there.
func (s *Service) recordTenant(ctx context.Context, tenant, action, target string, detail map[string]string) error {
	return s.recordIn(ctx, data.StoreID{Tenant: tenant, Environment: data.Prod}.String(), action, target, api.OK, detail)
}

func (s *Service) insertRole(ctx context.Context, tx *sqlx.Tx, tenant string, n RoleRequest) error {
	now := millis(s.now())
	var count int
	if err := tx.GetContext(ctx, &count, `SELECT count(*) FROM roles WHERE tenant = ?`, tenant); err != nil {
		return err
	}
	if count >= maxRoles {
		return api.Errorf(http.StatusConflict, "too-many", "A tenant has at most %d roles of its own.", maxRoles)
	}
	if _, err := customRole(ctx, tx, tenant, n.Name); err == nil {
		return api.Errorf(http.StatusConflict, "exists", "There is a role %q already.", n.Name).Because(data.ErrExists)
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO roles (tenant, name, about, allow, deny, created, created_by, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		tenant, n.Name, n.About, permissionsJSON(n.Allow), permissionsJSON(n.Deny), now, data.ActorFrom(ctx).String(), now)
	return err
}

// ChangeRole replaces what a role says. Who changes it must hold what it allowed, what it
// shall allow, and what it shall not deny any more.
func (s *Service) ChangeRole(ctx context.Context, tenant, name string, n RoleRequest) (Role, error) {
	if n.Name != "" && n.Name != name {
		return Role{}, api.InvalidField("name", "cannot be changed")
	}
	if err := n.check(); err != nil {
		return Role{}, err
	}
	before, err := s.roleOf(ctx, tenant, name)
	if err != nil {
		return Role{}, err
	}
	// what was denied and is not any more comes back to who has it by another role
	lifted := slices.DeleteFunc(slices.Clone(before.Deny), func(p api.Permission) bool { return slices.Contains(n.Deny, p) })
	if err := s.mayKeep(ctx, tenant, slices.Concat([]api.Permission{api.RoleManage}, before.Allow, n.Allow, lifted)); err != nil {
		return Role{}, err
	}
	after := before
	after.About, after.Allow, after.Deny = n.About, n.Allow, n.Deny
	err = s.ending(ctx, func(tx *sqlx.Tx) ([]holding, error) {
		if err := s.storeRole(ctx, tx, tenant, after); err != nil {
			return nil, err
		}
		over, err := holdersOf(ctx, tx, tenant, name)
		if err != nil {
			return nil, err
		}
		return over, s.recordRole(ctx, "role.change", tenant, after)
	})
	if err != nil {
		return Role{}, fmt.Errorf("change role: %w", err)
	}
	return after, nil
}

// holdersOf are those who have a role of a tenant.
func holdersOf(ctx context.Context, tx *sqlx.Tx, tenant, role string) (over []holding, err error) {
	var persons []string
	err = tx.SelectContext(ctx, &persons, `SELECT DISTINCT person FROM grants WHERE scope = ? AND role = ? AND revoked = 0`, tenant, role)
	for _, person := range persons {
		over = append(over, holding{person, tenant})
	}
	return over, err
}

func (s *Service) roleOf(ctx context.Context, tenant, name string) (r Role, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		r, err = customRole(ctx, tx, tenant, name)
		return err
	})
	return r, err
}

// storeRole writes a role anew. A denial does not come over an owner by way of a role
// that the owner has.
func (s *Service) storeRole(ctx context.Context, tx *sqlx.Tx, tenant string, r Role) error {
	if len(r.Deny) > 0 {
		var owned bool
		if err := tx.GetContext(ctx, &owned, `SELECT EXISTS (SELECT 1 FROM grants a JOIN grants b ON a.person = b.person AND a.scope = b.scope
			WHERE a.scope = ? AND a.role = ? AND b.role = ? AND a.revoked = 0 AND b.revoked = 0)`, tenant, r.Name, Owner); err != nil {
			return err
		}
		if owned {
			return api.InvalidField("deny", "an owner has this role, and owners cannot be denied anything")
		}
	}
	_, err := tx.ExecContext(ctx, `UPDATE roles SET about = ?, allow = ?, deny = ?, changed = ? WHERE tenant = ? AND name = ?`,
		r.About, permissionsJSON(r.Allow), permissionsJSON(r.Deny), millis(s.now()), tenant, r.Name)
	return err
}

// DeleteRole removes a role that nobody has any more.
func (s *Service) DeleteRole(ctx context.Context, tenant, name string) error {
	before, err := s.roleOf(ctx, tenant, name)
	if err != nil {
		return fmt.Errorf("delete role: %w", err)
	}
	if err := s.mayHandOut(ctx, tenant, before.Allow); err != nil {
		return err
	}
	if named, err := s.config.Federation.NamesRole(ctx, tenant, name); err != nil || named {
		return orElse(err, api.Errorf(http.StatusConflict, "in-use", "An identity provider gives this role to new accounts. Have it give another one first."))
	}
	err = s.noted(ctx, func(tx *sqlx.Tx) error {
		var used int
		if err := tx.GetContext(ctx, &used, `SELECT count(*) FROM grants WHERE scope = ? AND role = ? AND revoked = 0
			AND (valid_until = 0 OR valid_until > ?)`, tenant, name, millis(s.now())); err != nil {
			return err
		}
		if used > 0 {
			return api.Errorf(http.StatusConflict, "in-use", "%d people have this role. Give them another one first.", used)
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM roles WHERE tenant = ? AND name = ?`, tenant, name)
		return err
	}, func(ctx context.Context) error { return s.recordRole(ctx, "role.delete", tenant, before) })
	if err != nil {
		return fmt.Errorf("delete role: %w", err)
	}
	return nil
}
