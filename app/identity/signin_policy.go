package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// SignInPolicy says who has to show a second factor, or a passkey, to be let in.
type SignInPolicy struct {
	Required bool       `json:"required"`
	Roles    []string   `json:"roles" doc:"those of the scope that it is for; empty: all"`
	Everyone bool       `json:"everyone" doc:"on the appliance: the people of every tenant, too"`
	From     *time.Time `json:"from" doc:"people may be let in without until then; null: at once"`
	// NoMailCode is a tenant's: where the appliance lets codes by mail do, its people
	// are sent none and show a real factor instead.
	NoMailCode bool `json:"noEmailCode" doc:"of a tenant: a code by mail does not do for its people, who add a passkey or an authenticator app instead"`
}

func (p SignInPolicy) concerns(role string) bool {
	return p.Required && (len(p.Roles) == 0 || slices.Contains(p.Roles, role))
}

// loadPolicies reads all of them into memory: each request asks.
func (s *Service) loadPolicies(ctx context.Context) error {
	var rows []struct {
		Scope  string `db:"scope"`
		Policy string `db:"policy"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT scope, policy FROM sign_in_policies`)
	})
	if err != nil {
		return fmt.Errorf("read sign-in policies: %w", err)
	}
	found := map[string]SignInPolicy{}
	for _, row := range rows {
		var p SignInPolicy
		if err := json.Unmarshal([]byte(row.Policy), &p); err != nil {
			return fmt.Errorf("read the sign-in policy of %s: %w", row.Scope, err)
		}
		found[row.Scope] = p
	}
	s.policies.Store(&found)
	return nil
}

// factorDue tells since or from when somebody of this standing needs a second
// factor; the earliest of all policies that are for one of the roles.
func (s *Service) factorDue(st standing, now time.Time) (due time.Time, required bool) {
	if s.mailCodesOn() && s.refusesMailCodes(st) {
		return time.Time{}, true
	}
	all := *s.policies.Load()
	for _, g := range st.grants {
		if !g.at(now) {
			continue
		}
		for _, p := range []SignInPolicy{all[g.Scope], everyones(all[Appliance], g.Scope)} {
			if !p.concerns(g.Role) {
				continue
			}
			var from time.Time
			if p.From != nil {
				from = *p.From
			}
			if !required || from.Before(due) {
				due, required = from, true
			}
		}
	}
	return due, required
}

// everyones is what the appliance asks of a tenant's people.
func everyones(p SignInPolicy, scope string) SignInPolicy {
	return SignInPolicy{Required: p.Required && p.Everyone && scope != Appliance, From: p.From}
}

// FactorDemand is a second factor that is still to be enrolled.
type FactorDemand struct {
	Due     time.Time `json:"due"`
	Overdue bool      `json:"overdue" doc:"nothing but enrolling is open"`
}

// demand is what a person has still to enrol, nil for nothing.
func (s *Service) demand(ctx context.Context, person string, st standing) (*FactorDemand, error) {
	due, required := s.factorDue(st, s.now())
	if !required {
		return nil, nil
	}
	rows, err := s.factors(ctx, person)
	if err != nil || len(rows) > 0 {
		return nil, err
	}
	if codes, err := s.mailCodes(ctx); err != nil || codes && !s.refusesMailCodes(st) {
		return nil, err
	}
	return &FactorDemand{due, !s.now().Before(due)}, nil
}

// errFactorRequired is a question, as ErrStepUp is, not a refusal.
func errFactorRequired() error {
	return api.Errorf(http.StatusForbidden, "factor-required",
		"Your role asks for a second factor. Add a passkey or an authenticator app under Profile and security.").Because(api.ErrStepUp)
}

// satisfied asks whether a session is strong enough for the person's policies.
func (s *Service) satisfied(ctx context.Context, person string, session Session) error {
	st, err := s.standing(ctx, person)
	if err != nil {
		return err
	}
	if s.passwordDue(st) {
		return errPasswordDue()
	}
	if session.Strong && (session.Method != ByMailCode || !s.refusesMailCodes(st)) {
		return nil
	}
	if due, required := s.factorDue(st, s.now()); required && !s.now().Before(due) {
		return errFactorRequired()
	}
	return nil
}

func (s *Service) policyRoutes() []api.Route {
	const whole, tenant = "/api/v1/policies/sign-in", "/api/v1/tenants/{slug}/policies/sign-in"
	return []api.Route{
		{Method: http.MethodGet, Path: whole, Permission: api.OperatorRead, Summary: "Who on the appliance needs a second factor", Response: SignInPolicy{}, Handler: s.servePolicy},
		{Method: http.MethodPut, Path: whole, Permission: api.OperatorManage, Assurance: api.Fresh, Summary: "Say who on the appliance needs a second factor, and from when",
			Request: SignInPolicy{}, Response: SignInPolicy{}, Handler: s.serveSetPolicy},
		{Method: http.MethodGet, Path: tenant, Permission: api.MemberRead, Scope: s.tenantScope, Summary: "Who in a tenant needs a second factor", Response: SignInPolicy{}, Handler: s.servePolicy},
		{Method: http.MethodPut, Path: tenant, Permission: api.MemberManage, Scope: s.tenantScope, Assurance: api.Fresh, Summary: "Say who in a tenant needs a second factor, and from when",
			Request: SignInPolicy{}, Response: SignInPolicy{}, Handler: s.serveSetPolicy},
	}
}

// policyScope is the path's tenant, or the appliance.
func (s *Service) policyScope(r *http.Request) (string, error) {
	if r.PathValue("slug") == "" {
		return Appliance, nil
	}
	return s.tenant(r)
}

func (s *Service) servePolicy(w http.ResponseWriter, r *http.Request) error {
	scope, err := s.policyScope(r)
	if err != nil {
		return err
	}
	p := (*s.policies.Load())[scope]
	if p.Roles == nil {
		p.Roles = []string{}
	}
	return api.Respond(w, http.StatusOK, p)
}

func (s *Service) serveSetPolicy(w http.ResponseWriter, r *http.Request) error {
	scope, err := s.policyScope(r)
	if err != nil {
		return err
	}
	var in SignInPolicy
	if err := api.Read(r, &in); err != nil {
		return err
	}
	if in.Everyone && scope != Appliance {
		return api.InvalidField("everyone", "only the appliance speaks for all tenants")
	}
	if in.NoMailCode && scope == Appliance {
		return api.InvalidField("noEmailCode", "is for tenants; the appliance does not send codes unless its own policy says so")
	}
	if err := s.setPolicy(r.Context(), scope, in); err != nil {
		return err
	}
	return s.servePolicy(w, r)
}

// setPolicy stores a policy; it counts for sessions that there are at once.
func (s *Service) setPolicy(ctx context.Context, scope string, p SignInPolicy) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := s.record(ctx, "sign-in-policy.set", scope, api.OK, map[string]string{"policy": string(text)}); err != nil {
		return err
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO sign_in_policies (scope, policy, updated, updated_by) VALUES (?, ?, ?, ?)
			ON CONFLICT (scope) DO UPDATE SET policy = excluded.policy, updated = excluded.updated, updated_by = excluded.updated_by`,
			scope, string(text), millis(s.now()), data.ActorFrom(ctx).String())
		return err
	})
	if err != nil {
		return fmt.Errorf("set sign-in policy: %w", err)
	}
	return errors.Join(s.loadPolicies(ctx))
}
