package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Bounds of an account policy.
const (
	mostHistory = 10  // each old hash costs a third of a second at a change
	leastRotate = 7   // days
	mostRotate  = 730 // days
	leastIdle   = 5   // minutes
	mostRules   = 50
)

// AccountPolicy is what the appliance, or a tenant, asks of its people's accounts. Of
// several that concern a person the strictest counts.
type AccountPolicy struct {
	PasswordHistory int           `json:"passwordHistory" doc:"a new password is none of so many earlier ones; 0 to 10"`
	RotateDays      int           `json:"rotateDays" doc:"a password lasts so long; 0: for ever; 7 to 730"`
	MailCode        bool          `json:"emailCode" doc:"who has no second factor is sent a code by mail at sign-in"`
	Timeouts        []RoleTimeout `json:"timeouts"`
}

// RoleTimeout is how long sessions of people with a role last.
type RoleTimeout struct {
	Role     string `json:"role" doc:"empty: every role of the scope"`
	Idle     int    `json:"idleMinutes" doc:"without use; 0: as the appliance's 12 hours; at least 5"`
	Absolute int    `json:"absoluteMinutes" doc:"in all; 0: as the appliance's 7 days"`
}

func (p AccountPolicy) check() error {
	var wrong []api.FieldError
	add := func(bad bool, field, message string) {
		if bad {
			wrong = append(wrong, api.FieldError{Field: field, Message: message})
		}
	}
	add(p.PasswordHistory < 0 || p.PasswordHistory > mostHistory, "passwordHistory", fmt.Sprintf("0 to %d", mostHistory))
	add(p.RotateDays != 0 && (p.RotateDays < leastRotate || p.RotateDays > mostRotate), "rotateDays", fmt.Sprintf("0 for never, or %d to %d days", leastRotate, mostRotate))
	add(len(p.Timeouts) > mostRules, "timeouts", fmt.Sprintf("at most %d", mostRules))
	for i, t := range p.Timeouts {
		at := fmt.Sprintf("timeouts.%d.", i)
		add(t.Idle != 0 && (t.Idle < leastIdle || minutes(t.Idle) > SessionIdle), at+"idleMinutes", fmt.Sprintf("0, or %d to %d minutes", leastIdle, int(SessionIdle.Minutes())))
		add(t.Absolute != 0 && (t.Absolute < leastIdle || minutes(t.Absolute) > SessionAbsolute), at+"absoluteMinutes", fmt.Sprintf("0, or %d to %d minutes", leastIdle, int(SessionAbsolute.Minutes())))
	}
	if len(wrong) > 0 {
		return api.Invalid(wrong...)
	}
	return nil
}

func minutes(n int) time.Duration { return time.Duration(n) * time.Minute }

// loadAccountPolicies reads all of them into memory: each request asks.
func (s *Service) loadAccountPolicies(ctx context.Context) error {
	var rows []struct {
		Scope  string `db:"scope"`
		Policy string `db:"policy"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT scope, policy FROM account_policies`)
	})
	if err != nil {
		return fmt.Errorf("read account policies: %w", err)
	}
	found := map[string]AccountPolicy{}
	for _, row := range rows {
		var p AccountPolicy
		if err := json.Unmarshal([]byte(row.Policy), &p); err != nil {
			return fmt.Errorf("read the account policy of %s: %w", row.Scope, err)
		}
		found[row.Scope] = p
	}
	s.accountPolicies.Store(&found)
	return nil
}

// each calls do with every policy that concerns somebody, and the role by which it does.
// The appliance's concerns the people of all tenants, whose roles it does not name.
func (s *Service) eachPolicy(st standing, now time.Time, do func(p AccountPolicy, role string)) {
	all := *s.accountPolicies.Load()
	if len(all) == 0 {
		return
	}
	if p, ok := all[Appliance]; ok {
		do(p, "")
	}
	for _, g := range st.grants {
		if p, ok := all[g.Scope]; ok && g.at(now) {
			do(p, g.Role)
		}
	}
}

// sessionLimits are the strictest times of all policies that concern a person.
func (s *Service) sessionLimits(ctx context.Context, person string) (idle, absolute time.Duration, err error) {
	idle, absolute = SessionIdle, SessionAbsolute
	if len(*s.accountPolicies.Load()) == 0 {
		return idle, absolute, nil
	}
	st, err := s.standing(ctx, person)
	if err != nil {
		return idle, absolute, err
	}
	s.eachPolicy(st, s.now(), func(p AccountPolicy, role string) {
		for _, t := range p.Timeouts {
			if t.Role != "" && t.Role != role {
				continue
			}
			idle, absolute = stricter(idle, t.Idle), stricter(absolute, t.Absolute)
		}
	})
	return idle, absolute, nil
}

func stricter(now time.Duration, asked int) time.Duration {
	if asked == 0 {
		return now
	}
	return min(now, minutes(asked))
}

// passwordRules are the longest history and the shortest life that concern a person.
func (s *Service) passwordRules(st standing) (history int, life time.Duration) {
	s.eachPolicy(st, s.now(), func(p AccountPolicy, _ string) {
		history = max(history, p.PasswordHistory)
		if d := time.Duration(p.RotateDays) * 24 * time.Hour; d > 0 && (life == 0 || d < life) {
			life = d
		}
	})
	return history, life
}

// mailCodes says whether a person without a second factor is sent codes: it must be
// allowed by the appliance.
func (s *Service) mailCodes(ctx context.Context) (bool, error) {
	if !s.mailCodesOn() {
		return false, nil
	}
	return s.config.Post.Ready(ctx)
}

func (s *Service) mailCodesOn() bool { return (*s.accountPolicies.Load())[Appliance].MailCode }

// refusesMailCodes says whether a tenant where somebody has a role wants a real factor.
func (s *Service) refusesMailCodes(st standing) bool {
	all := *s.policies.Load()
	for _, g := range st.grants {
		if len(all) > 0 && g.Scope != Appliance && all[g.Scope].NoMailCode && g.at(s.now()) {
			return true
		}
	}
	return false
}

func (s *Service) accountRoutes() []api.Route {
	const whole, tenant = "/api/v1/policies/accounts", "/api/v1/tenants/{slug}/policies/accounts"
	return []api.Route{
		{Method: http.MethodGet, Path: whole, Permission: api.OperatorRead, Summary: "What the appliance asks of all accounts: passwords, codes by mail, how long sessions last", Response: AccountPolicy{}, Handler: s.serveAccountPolicy},
		{Method: http.MethodPut, Path: whole, Permission: api.OperatorManage, Assurance: api.Fresh, Summary: "Set what the appliance asks of all accounts",
			Request: AccountPolicy{}, Response: AccountPolicy{}, Handler: s.serveSetAccountPolicy},
		{Method: http.MethodGet, Path: tenant, Permission: api.MemberRead, Scope: s.tenantScope, Summary: "What a tenant asks of its people's accounts", Response: AccountPolicy{}, Handler: s.serveAccountPolicy},
		{Method: http.MethodPut, Path: tenant, Permission: api.MemberManage, Scope: s.tenantScope, Assurance: api.Fresh, Summary: "Set what a tenant asks of its people's accounts",
			Request: AccountPolicy{}, Response: AccountPolicy{}, Handler: s.serveSetAccountPolicy},
		{Method: http.MethodPatch, Path: "/api/v1/session/profile", Permission: api.Signed, Assurance: api.Bare, Summary: "Change one's name, language and time zone",
			Request: Profile{}, Response: Me{}, Handler: s.ownly(s.serveProfile)},
	}
}

func (s *Service) serveAccountPolicy(w http.ResponseWriter, r *http.Request) error {
	scope, err := s.policyScope(r)
	if err != nil {
		return err
	}
	p := (*s.accountPolicies.Load())[scope]
	if p.Timeouts == nil {
		p.Timeouts = []RoleTimeout{}
	}
	return api.Respond(w, http.StatusOK, p)
}

func (s *Service) serveSetAccountPolicy(w http.ResponseWriter, r *http.Request) error {
	scope, err := s.policyScope(r)
	if err != nil {
		return err
	}
	var in AccountPolicy
	if err := api.Read(r, &in); err != nil {
		return err
	}
	if in.MailCode && scope != Appliance {
		return api.InvalidField("emailCode", "is the appliance's to allow")
	}
	if err := in.check(); err != nil {
		return err
	}
	if err := s.setAccountPolicy(r.Context(), scope, in); err != nil {
		return err
	}
	return s.serveAccountPolicy(w, r)
}

// setAccountPolicy stores a policy; it counts for sessions that there are at once.
func (s *Service) setAccountPolicy(ctx context.Context, scope string, p AccountPolicy) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := s.record(ctx, "account-policy.set", scope, api.OK, map[string]string{"policy": string(text)}); err != nil {
		return err
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO account_policies (scope, policy, updated, updated_by) VALUES (?, ?, ?, ?)
			ON CONFLICT (scope) DO UPDATE SET policy = excluded.policy, updated = excluded.updated, updated_by = excluded.updated_by`,
			scope, string(text), millis(s.now()), data.ActorFrom(ctx).String())
		return err
	})
	if err != nil {
		return fmt.Errorf("set account policy: %w", err)
	}
	return s.loadAccountPolicies(ctx)
}
