package identity

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data/signin"
)

// union is single sign-on in memory, with routes that vouch for whoever is named.
type union struct {
	mu     sync.Mutex
	only   map[string]bool
	linked bool
	ways   []StepUpProvider
	nobody bool              // may be signed in through a provider
	named  string            // a role that a provider gives
	copies map[string]string // of which tenant; set before it is used
}

func (u *union) Only(scope string) bool { u.mu.Lock(); defer u.mu.Unlock(); return u.only[scope] }
func (u *union) want(scope string)      { u.mu.Lock(); defer u.mu.Unlock(); u.only[scope] = true }

func (u *union) Covers(tenant, scope string) bool {
	return tenant == scope || u.copies[scope] == tenant
}

func (u *union) Admits(context.Context, string, string) (bool, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.nobody, nil
}
func (u *union) NamesRole(_ context.Context, _, role string) (bool, error) {
	return role == u.named, nil
}

func (u *union) Linked(context.Context, string) (bool, error) { return u.linked, nil }
func (u *union) StepUps(context.Context, string) ([]StepUpProvider, error) {
	return u.ways, nil
}

// federatedHouse has routes that sign in and step up as a provider would have it:
// ?person=&strong=&ago=&scope=.
func federatedHouse(t *testing.T) (*house, *union) {
	t.Helper()
	h, u := newHouse(t), &union{only: map[string]bool{}}
	h.config.Federation = u
	h.open()
	rt, err := api.NewRouter(api.Config{Authenticate: h.AuthenticateRequest, Authorizer: h.Service, Assurer: h.Service, Recorder: h.log})
	must(t, err)
	must(t, rt.Add(h.Routes()...))
	vouched := func(r *http.Request) Federated {
		ago, _ := time.ParseDuration(r.URL.Query().Get("ago"))
		return Federated{Person: r.URL.Query().Get("person"), Provider: "company", Scope: cmp.Or(r.URL.Query().Get("scope"), Appliance), Strong: r.URL.Query().Has("strong"), Fresh: h.now().Add(-ago)}
	}
	must(t, rt.Add(
		api.Route{Method: "POST", Path: "/vouch", Permission: api.Public, Handler: func(w http.ResponseWriter, r *http.Request) error {
			answer, err := h.SignInFederated(w, r, vouched(r))
			if err != nil {
				return err
			}
			return api.Respond(w, http.StatusOK, answer)
		}},
		api.Route{Method: "POST", Path: "/again", Permission: api.Signed, Assurance: api.Bare, Handler: func(w http.ResponseWriter, r *http.Request) error {
			if err := h.StepUpFederated(w, r, vouched(r)); err != nil {
				return err
			}
			return api.NoContent(w)
		}},
		api.Route{Method: "GET", Path: "/at/{slug}", Permission: api.MemberRead, Scope: h.tenantScope, Handler: func(w http.ResponseWriter, _ *http.Request) error { return api.NoContent(w) }},
	))
	h.router = rt.Handler()
	return h, u
}

func (h *house) hashOf(person string) string {
	row, err := h.personByID(bg, person)
	must(h.t, err)
	return row.Password
}

// TestFederatedSessionIsNew: a token that the browser had before is worth nothing after
// (session fixation), and a sign-in elsewhere long ago is not a fresh one.
func TestFederatedSessionIsNew(t *testing.T) {
	h, _ := federatedHouse(t)
	o := h.owner("olga@example.com")
	b := h.browser()
	b.cookies[cookieName] = "planted"
	b.want(200, "POST", "/vouch?person="+o.ID, "")
	first := b.cookies[cookieName]
	if first == "planted" {
		t.Fatal("the planted token is in use")
	}
	b.want(200, "POST", "/vouch?ago=1h&person="+o.ID, "")
	old := h.browser()
	old.cookies[cookieName] = first
	old.want(401, "GET", "/api/v1/session", "")
	equal(t, "an hour ago", codeOf(t, b.want(403, "POST", "/api/v1/session/factors/totp", "")), "step-up-required")
	b.want(204, "POST", "/again?person="+o.ID, "")
	b.want(200, "POST", "/api/v1/session/factors/totp", "")
	equal(t, "log", h.log.has("session.step-up"), true)
}

func (b *book) has(action string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.events, func(e string) bool { return strings.Contains(e, action) })
}

// TestOwnFactorIsAskedForAfterAProvider, also when the provider says that it saw one and
// is trusted in that: whoever sets up providers could have it say so. The same holds to
// step up.
func TestOwnFactorIsAskedForAfterAProvider(t *testing.T) {
	h, _ := federatedHouse(t)
	o := h.owner("olga@example.com")
	must(t, h.addFactor(bg, factorRow{ID: "f", Person: o.ID, Kind: kindTOTP, Name: "app", Secret: signin.NewSecret(), Created: 1}))
	b := h.browser()
	pending := decode[PendingSignIn](t, b.want(200, "POST", "/vouch?person="+o.ID, ""))
	equal(t, "factors", len(pending.Factors), 1)
	b.want(401, "GET", "/api/v1/session", "")
	equal(t, "after", ByTOTP.after(BySSO), Method("sso+totp"))
	equal(t, "strong", ByTOTP.after(BySSO).strong(), true)
	equal(t, "plain", BySSO.strong(), false)
	trusted := h.browser()
	equal(t, "whatever it saw", len(decode[PendingSignIn](t, trusted.want(200, "POST", "/vouch?strong&person="+o.ID, "")).Factors), 1)
	trusted.want(401, "GET", "/api/v1/session", "")
	p := h.owner("paula@example.com")
	trusted.want(200, "POST", "/vouch?strong&person="+p.ID, "")
	trusted.want(204, "POST", "/again?strong&person="+p.ID, "")
	must(t, h.addFactor(bg, factorRow{ID: "g", CredentialID: []byte("g"), Person: p.ID, Kind: kindTOTP, Name: "app", Secret: signin.NewSecret(), Created: 1}))
	equal(t, "to step up", codeOf(t, trusted.want(403, "POST", "/again?strong&person="+p.ID, "")), "factor-instead")
	h.must(h.setState(bg, "person.lock", o.ID, locked))
	h.browser().want(401, "POST", "/vouch?strong&person="+o.ID, "")
}

func (h *house) must(err error) { h.t.Helper(); must(h.t, err) }

// TestSSOOnlyLeavesNoPassword in any form: not to sign in with, not to set, not in the
// table; and a passkey alone is no way in either.
func TestSSOOnlyLeavesNoPassword(t *testing.T) {
	h, u := federatedHouse(t)
	o := h.owner("olga@example.com")
	by, through := h.browser().signIn("olga@example.com"), h.browser()
	through.want(200, "POST", "/vouch?person="+o.ID, "")
	u.want(Appliance)
	h.browser().want(401, "POST", "/api/v1/session", credentials("olga@example.com", goodPassword)) // before it is enforced
	must(t, h.EnforceFederation(bg))
	equal(t, "hash", h.hashOf(o.ID), "")
	by.want(401, "GET", "/api/v1/session", "")
	through.want(200, "GET", "/api/v1/session", "")
	h.browser().want(401, "POST", "/api/v1/session", credentials("olga@example.com", goodPassword))
	change := `{"current":"` + goodPassword + `","password":"another fine pass phrase"}`
	equal(t, "set", codeOf(t, through.want(403, "POST", "/api/v1/session/password", change)), "sso-only")
	through.want(422, "POST", "/api/v1/operators", `{"email":"nina@example.com","name":"Nina","password":"`+goodPassword+`"}`)
	made := decode[Operator](t, through.want(201, "POST", "/api/v1/operators", `{"email":"nina@example.com","name":"Nina","password":""}`))
	equal(t, "hash of a new one", h.hashOf(made.ID), "")
	ways := decode[StepUpWays](t, through.want(200, "GET", "/api/v1/session/step-up", ""))
	equal(t, "no password to step up", len(ways.Factors), 0)
	_, err := h.HasWayIn(bg, o.ID)
	must(t, err)
	wantErr(t, h.notWithPassword(bg, o.ID), api.ErrForbidden)
}

// TestSSOOnlyOfATenant takes the passwords of who has roles there alone; others reach
// it through a provider only, and operators are the appliance's.
func TestSSOOnlyOfATenant(t *testing.T) {
	h, u := federatedHouse(t)
	own, both, operator := h.member("own@example.com", "t-acme"), h.member("both@example.com", "t-acme", "t-beta"), h.owner("olga@example.com")
	u.want("t-acme")
	must(t, h.EnforceFederation(bg))
	equal(t, "own", h.hashOf(own.ID), "")
	if h.hashOf(both.ID) == "" || h.hashOf(operator.ID) == "" {
		t.Fatal("a tenant took the password of who has roles elsewhere")
	}
	h.browser().want(401, "POST", "/api/v1/session", credentials("own@example.com", goodPassword))
	b := h.browser().signIn("both@example.com")
	equal(t, "by password", codeOf(t, b.want(403, "GET", "/at/acme", "")), "sso-required")
	b.want(204, "GET", "/at/beta", "")
	b.want(200, "POST", "/vouch?person="+both.ID, "")
	b.want(204, "GET", "/at/acme", "")
	h.browser().signIn("olga@example.com").want(204, "GET", "/at/acme", "")

	_, err := h.Grant(bg, Grant{Person: "host", Role: Owner, Scope: "t-beta"})
	must(t, err)
	must(t, h.RemoveMember(bg, "t-beta", both.ID)) // now there is nothing elsewhere
	h.browser().want(401, "POST", "/api/v1/session", credentials("both@example.com", goodPassword))
	must(t, h.Sweep(bg))
	equal(t, "both", h.hashOf(both.ID), "")
}

func TestMadeJustInTime(t *testing.T) {
	h, _ := federatedHouse(t)
	a, err := h.MakeFederated(bg, "Nina@Example.com", "Nina\x00\n New", "auditor", "t-acme")
	must(t, err)
	equal(t, "address", a.Email, "nina@example.com")
	equal(t, "name", a.Name, "Nina New")
	equal(t, "password", h.hashOf(a.ID), "")
	equal(t, "scopes", len(a.Scopes), 1)
	b := h.browser()
	b.want(200, "POST", "/vouch?person="+a.ID, "")
	b.want(204, "GET", "/at/acme", "")
	b.want(403, "GET", "/at/beta", "")
	must(t, h.config.DB.View(bg, func(tx *sqlx.Tx) error {
		var n int
		err := tx.GetContext(bg, &n, `SELECT count(*) FROM persons WHERE id = ? AND password = ''`, a.ID)
		equal(t, "rows", n, 1)
		return err
	}))
	h.log.fail = context.Canceled
	if _, err := h.MakeFederated(bg, "other@example.com", "", "auditor", "t-acme"); err == nil {
		t.Fatal("made without a record")
	}
	h.log.fail = nil
	if _, err := h.AccountByMail(bg, "other@example.com"); !isNotFound(err) {
		t.Fatal(err)
	}
}

// TestLinkIsAWayIn: the last passkey may go where an account at a provider is left.
func TestLinkIsAWayIn(t *testing.T) {
	h, u := federatedHouse(t)
	a, err := h.MakeFederated(bg, "nina@example.com", "Nina", "auditor", "t-acme")
	must(t, err)
	must(t, h.addFactor(bg, factorRow{ID: "f", Person: a.ID, Kind: kindPasskey, Name: "key", CredentialID: []byte("c"), Credential: "{}", Created: 1}))
	equal(t, "last way in", api.AsProblem(h.removeFactor(bg, a.ID, kindPasskey, "f")).Code, "last-way-in")
	u.linked = true
	must(t, h.removeFactor(bg, a.ID, kindPasskey, "f"))
}
