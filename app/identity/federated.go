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
	"holdfast/data/signin"
	"holdfast/data/system"
)

// How somebody showed who they are through an identity provider.
const (
	BySSO       Method = "sso"     // no more is known
	BySSOStrong Method = "sso+mfa" // a provider that is trusted in this saw a second factor
)

// federated says that a session or a step began at an identity provider.
func (m Method) federated() bool {
	return m == BySSO || strings.HasPrefix(string(m), string(BySSO)+"+")
}

// after is what a second factor makes of the first thing that was shown.
func (m Method) after(first Method) Method {
	if second, ok := strings.CutPrefix(string(m), string(ByPassword)+"+"); ok && first.federated() {
		return BySSO + "+" + Method(second)
	}
	return m
}

// Federation is what identity asks of single sign-on. Safe for concurrent use.
type Federation interface {
	// Only says whether a scope (Appliance or a tenant's id) lets people in through an
	// identity provider only.
	Only(scope string) bool
	// Linked says whether a person can come in through an identity provider now.
	Linked(ctx context.Context, person string) (bool, error)
	// StepUps are the providers where a person can sign in again.
	StepUps(ctx context.Context, person string) ([]StepUpProvider, error)
	// Admits says whether there is a provider through which a person can come to a tenant.
	Admits(ctx context.Context, person, tenant string) (bool, error)
	// Covers says whether a tenant's own provider is good for a scope: it is that tenant, or
	// a copy of it.
	Covers(tenant, scope string) bool
	// NamesRole says whether a provider of a tenant gives a role to new accounts.
	NamesRole(ctx context.Context, tenant, role string) (bool, error)
}

// StepUpProvider is an identity provider that can be made to ask again.
type StepUpProvider struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// alone is a house without single sign-on.
type alone struct{}

func (alone) Only(string) bool                                          { return false }
func (alone) Linked(context.Context, string) (bool, error)              { return false, nil }
func (alone) StepUps(context.Context, string) ([]StepUpProvider, error) { return nil, nil }
func (alone) Admits(context.Context, string, string) (bool, error)      { return false, nil }
func (alone) Covers(tenant, scope string) bool                          { return tenant == scope }
func (alone) NamesRole(context.Context, string, string) (bool, error)   { return false, nil }

// Federated is what an identity provider vouches for.
type Federated struct {
	Person   string
	Provider string
	Scope    string    // whose provider it is: Appliance or a tenant's id
	Strong   bool      // a second factor was shown there, by the word of one that is trusted in this
	Fresh    time.Time // when a factor was shown there
}

func (f Federated) method() Method {
	if f.Strong {
		return BySSOStrong
	}
	return BySSO
}

// SignInFederated starts a session for whom a provider vouches, or asks for their own
// second factor as after a password. It gives what is to be answered: Me or a
// PendingSignIn.
func (s *Service) SignInFederated(w http.ResponseWriter, r *http.Request, f Federated) (any, error) {
	row, err := s.personByID(r.Context(), f.Person)
	if err != nil {
		return nil, err
	}
	if row.State != active {
		return nil, s.signInFailed(r.Context(), row.ID, f.method(), signin.AddressOf(r.RemoteAddr), errBadCredentials())
	}
	rows, err := s.factors(r.Context(), row.ID)
	if err != nil {
		return nil, err
	}
	if len(rows) > 0 { // a provider's word on a factor takes no factor's place that is enrolled here
		return s.pendFactor(w, r, row.person(), rows, pending{method: BySSO, scope: f.Scope})
	}
	if err := s.signInAt(w, r, row.person(), f.method(), f.Fresh, f.Scope); err != nil {
		return nil, err
	}
	return s.me(r.Context(), data.Actor{Kind: data.Person, ID: row.ID})
}

// StepUpFederated makes the request's session fresh after its person signed in at the
// provider again. Who has a second factor here shows that, whatever the provider saw.
func (s *Service) StepUpFederated(w http.ResponseWriter, r *http.Request, f Federated) error {
	rows, err := s.factors(r.Context(), f.Person)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		return api.Errorf(http.StatusForbidden, "factor-instead", "Show your passkey or authenticator app instead.").Because(api.ErrStepUp)
	}
	detail := map[string]string{"method": string(f.method()), "provider": f.Provider}
	if err := s.record(r.Context(), "session.step-up", f.Person, api.OK, detail); err != nil {
		return err
	}
	return s.renewBy(w, r, f.method(), tenantOf(f.Scope))
}

// CameFederated says whether the request's session began at a provider.
func (s *Service) CameFederated(r *http.Request) (bool, error) {
	session, err := s.sessions.lookup(r.Context(), s.token(r))
	if isNotFound(err) {
		return false, nil
	}
	return session.Method.federated(), err
}

// Account is a person with where their roles are.
type Account struct {
	Person
	Active bool
	Scopes []string // Appliance or tenants' ids; of roles that are or are to come
}

// AccountByMail finds one by address, in any case. data.ErrNotFound.
func (s *Service) AccountByMail(ctx context.Context, email string) (Account, error) {
	email, ok := cleanEmail(email)
	if !ok {
		return Account{}, data.ErrNotFound
	}
	row, err := s.personByEmail(ctx, email)
	if err != nil {
		return Account{}, err
	}
	return s.account(ctx, row)
}

// AccountByID finds one. data.ErrNotFound.
func (s *Service) AccountByID(ctx context.Context, id string) (Account, error) {
	row, err := s.personByID(ctx, id)
	if err != nil {
		return Account{}, err
	}
	return s.account(ctx, row)
}

func (s *Service) account(ctx context.Context, row personRow) (Account, error) {
	st, err := s.standing(ctx, row.ID)
	return Account{Person: row.person(), Active: row.State == active, Scopes: st.scopes(s.now())}, err
}

// scopes are where there is a role now or later.
func (st standing) scopes(now time.Time) []string {
	seen, all := map[string]bool{}, []string{}
	for _, g := range st.grants {
		if (g.Until.IsZero() || now.Before(g.Until)) && !seen[g.Scope] {
			seen[g.Scope] = true
			all = append(all, g.Scope)
		}
	}
	return all
}

// MakeFederated makes an account without a password, with a role. The giver is the
// context's actor: who set the provider.
func (s *Service) MakeFederated(ctx context.Context, email, name, role, scope string) (Account, error) {
	email, ok := cleanEmail(email)
	if !ok {
		return Account{}, api.InvalidField("email", "is not an e-mail address")
	}
	n := NewPerson{Email: email, Name: oneLine(name)}
	if n.Name == "" {
		n.Name = localPart(email)
	}
	id := system.NewID()
	giver := data.ActorFrom(ctx)
	ctx = data.WithActor(ctx, data.Actor{Kind: data.System})
	now := s.now()
	g := Grant{ID: system.NewID(), Person: id, Role: role, Scope: scope, From: now, Why: "first sign-in through single sign-on"}
	if err := s.insertFederated(ctx, giver, n, g, now); err != nil {
		return Account{}, fmt.Errorf("make account: %w", err)
	}
	return s.AccountByID(ctx, id)
}

// insertFederated adds the person with the role, or neither, and records it.
func (s *Service) insertFederated(ctx context.Context, giver data.Actor, n NewPerson, g Grant, now time.Time) error {
	return s.noted(ctx, func(tx *sqlx.Tx) error {
		if _, err := s.effectOf(ctx, tx, g.Scope, g.Role); err != nil {
			return err
		}
		if err := insertPerson(ctx, tx, g.Person, n, "", millis(now)); err != nil {
			return err
		}
		return insertGrant(data.WithActor(ctx, giver), tx, g, now)
	}, func(ctx context.Context) error {
		if err := s.record(ctx, "person.create", g.Person, api.OK, map[string]string{"method": string(BySSO), "provider set by": giver.String()}); err != nil {
			return err
		}
		return s.recordGrant(ctx, "grant.create", g)
	})
}

// oneLine makes a name of what a stranger wrote.
func oneLine(name string) string {
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError {
			return -1
		}
		return r
	}, name))
	if runes := []rune(name); len(runes) > 100 {
		name = string(runes[:100])
	}
	return name
}

// MayGive refuses a role that allows more than the context's actor may there, and to who
// has that for a while only: what a provider gives has no end.
func (s *Service) MayGive(ctx context.Context, scope, role string) error {
	end, err := s.giving(ctx, scope, role)
	if err == nil && !end.IsZero() {
		err = errForAWhile(end)
	}
	return err
}

// MaySet refuses who says who may what in the scope for a while only, or not at all: what
// is set there has no end.
func (s *Service) MaySet(ctx context.Context, scope string) error {
	return s.mayKeep(ctx, scope, []api.Permission{manages(scope)})
}

// HasWayIn says whether a person has a password or a passkey to sign in with.
func (s *Service) HasWayIn(ctx context.Context, person string) (bool, error) {
	row, err := s.personByID(ctx, person)
	if err != nil {
		return false, err
	}
	only, err := s.onlyFederated(ctx, person)
	if err != nil || only {
		return false, err
	}
	rows, err := s.factors(ctx, person)
	return row.Password != "" || len(ofKind(rows, kindPasskey)) > 0, err
}

// onlyFederated says whether a person comes in through an identity provider only: the
// appliance wants it of everybody, or every tenant does where the person has a role. Whom
// no provider of those may sign in, for there is a role elsewhere, has other ways.
func (s *Service) onlyFederated(ctx context.Context, person string) (bool, error) {
	if s.config.Federation.Only(Appliance) {
		return true, nil
	}
	st, err := s.standing(ctx, person)
	if err != nil {
		return false, err
	}
	scopes := st.scopes(s.now())
	for _, scope := range scopes {
		if !s.config.Federation.Only(scope) {
			return false, nil
		}
	}
	return s.admittedAnywhere(ctx, person, scopes)
}

// errSSOOnly refuses what would be another way in.
func errSSOOnly() *api.Problem {
	return api.Errorf(http.StatusForbidden, "sso-only", "Your account signs in through single sign-on only.").Because(api.ErrForbidden)
}

// notWithPassword refuses to give a person a password where none is to be.
func (s *Service) notWithPassword(ctx context.Context, person string) error {
	only, err := s.onlyFederated(ctx, person)
	if err == nil && only {
		err = errSSOOnly()
	}
	return err
}

// withoutPassword has a new account of a scope be one without a password, where single
// sign-on is the only way in.
func (s *Service) withoutPassword(n *NewPerson, scope string) error {
	n.federated = s.config.Federation.Only(Appliance) || s.config.Federation.Only(scope)
	if n.federated && n.Password != "" {
		return api.InvalidField("password", "leave it out: people sign in through single sign-on only")
	}
	return nil
}

// firstHash is what is kept of a new account's password.
func (s *Service) firstHash(ctx context.Context, n NewPerson) (string, error) {
	if n.federated {
		return "", nil
	}
	return s.hasher.hash(ctx, n.Password)
}

// throughFederation refuses a tenant's things to a session that did not begin at a
// provider, where the tenant wants that. Operators are the appliance's to rule.
func (s *Service) throughFederation(r *http.Request, person string, session Session) error {
	tenant := api.ScopeFrom(r.Context()).Tenant
	if tenant == "" || tenant == api.AnyTenant || session.Method.federated() || !s.config.Federation.Only(tenant) {
		return nil
	}
	st, err := s.standing(r.Context(), person)
	if err != nil {
		return err
	}
	for _, scope := range st.scopes(s.now()) {
		if scope == Appliance {
			return nil
		}
	}
	if admitted, err := s.config.Federation.Admits(r.Context(), person, tenant); err != nil || !admitted {
		return orElse(err, strongInstead(session))
	}
	return api.Errorf(http.StatusForbidden, "sso-required", "This tenant is open to single sign-on only. Sign out, and sign in through its identity provider.").Because(api.ErrForbidden)
}

// EnforceFederation takes the passwords of all who come in through a provider only, and
// ends the sessions that they began otherwise. It asks nothing where no scope wants it.
func (s *Service) EnforceFederation(ctx context.Context) error {
	persons, err := s.idsOfPersons(ctx, `1 = 1`)
	if err != nil {
		return err
	}
	for _, id := range persons {
		only, err := s.onlyFederated(ctx, id)
		if err == nil && only {
			err = errors.Join(s.dropPassword(ctx, id), s.endUnfederated(ctx, id))
		}
		if err != nil {
			return fmt.Errorf("enforce single sign-on: %w", err)
		}
	}
	return nil
}

// sweepPasswords takes those that came to be in between: somebody's last role
// elsewhere ended.
func (s *Service) sweepPasswords(ctx context.Context) error {
	persons, err := s.idsOfPersons(ctx, `password != ''`)
	for _, id := range persons {
		only, e := s.onlyFederated(ctx, id)
		if e == nil && only {
			e = s.dropPassword(ctx, id)
		}
		err = errors.Join(err, e)
	}
	return err
}

func (s *Service) idsOfPersons(ctx context.Context, where string) (ids []string, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &ids, `SELECT id FROM persons WHERE `+where+` ORDER BY id`)
	})
	return ids, err
}

func (s *Service) dropPassword(ctx context.Context, person string) error {
	row, err := s.personByID(ctx, person)
	if err != nil || row.Password == "" {
		return err
	}
	if err := s.record(ctx, "password.drop", person, api.OK, map[string]string{"why": "single sign-on only"}); err != nil {
		return err
	}
	defer s.grants.forget() // the password's age is among them
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE persons SET password = '', password_changed = ? WHERE id = ?`, millis(s.now()), person)
		return err
	})
	if err == nil {
		s.alertOfDroppedPassword(ctx, person)
	}
	return err
}

func (s *Service) endUnfederated(ctx context.Context, person string) error {
	all, err := s.sessions.of(ctx, person)
	for _, found := range all {
		if !found.Method.federated() {
			if e := s.sessions.endByID(ctx, person, found.ID); e != nil && !isNotFound(e) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}

// AddressOf is whom a request's address counts as.
func AddressOf(r *http.Request) string { return signin.AddressOf(r.RemoteAddr) }

// AskFrom counts a question that proves nothing and takes some memory.
func (s *Service) AskFrom(address string) error {
	if wait := s.asked.Attempt(address); wait > 0 {
		return tooMany(wait)
	}
	return nil
}

// AdmitFrom counts an attempt to sign in against an address; a 429 after too many.
func (s *Service) AdmitFrom(address string) error { return s.admit("", address) }

// ForgiveFrom takes back one attempt that succeeded.
func (s *Service) ForgiveFrom(address string) { s.origins.Forgive(address) }
