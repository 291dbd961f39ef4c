package sso

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/app/sso/issuertest"
)

func TestSignInByVerifiedMail(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	b := w.browser()
	out := b.finish(200, "", b.begin("company"))
	equal(t, "purpose", out.Purpose, "sign-in")
	equal(t, "return", out.Return, "/profile")
	v := w.people.signedIn[0]
	equal(t, "person", v.Person, "olga")
	equal(t, "strong", v.Strong, false)
	if len(b.cookies) != 0 {
		t.Fatalf("the journey's cookie stays: %v", b.cookies)
	}
}

// TestTheSubjectSaysWhoItIs: an address that changed does not matter, one that went to
// somebody else brings nothing along.
func TestTheSubjectSaysWhoItIs(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	equal(t, "person", w.browser().in("company"), "olga")
	w.issuer.Is(map[string]any{"email": "olga.new@example.com"})
	equal(t, "with another address", w.browser().in("company"), "olga")
	w.issuer.Is(map[string]any{"sub": "subject-2", "email": "olga@example.com"})
	b := w.browser()
	b.finish(403, "link-first", b.begin("company"))
}

func TestStateIsGoodOnce(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	b := w.browser()
	back := b.begin("company")
	kept := b.cookies[cookieName]
	b.finish(200, "", back)
	b.cookies[cookieName] = kept
	b.finish(401, "sign-in-expired", back)
	again := b.begin("company")
	again.Code = back.Code // the old code with a new state
	b.finish(401, "sign-in-refused", again)
	equal(t, "sessions", len(w.people.signedIn), 1)
}

// TestLoginCSRF: what was begun in one browser ends in no other, which would be signed
// in as the attacker.
func TestLoginCSRF(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	attacker, victim := w.browser(), w.browser()
	mine := attacker.begin("company")
	victim.finish(401, "sign-in-expired", mine)
	attacker.finish(401, "sign-in-expired", mine) // and it is used up
	theirs := victim.begin("company")
	theirs.State = attacker.begin("company").State
	victim.finish(401, "sign-in-expired", theirs)
	equal(t, "sessions", len(w.people.signedIn), 0)
}

func TestJourneysEnd(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	b := w.browser()
	late := b.begin("company")
	w.clock.add(journeyTime)
	b.finish(401, "sign-in-expired", late)
	b.finish(401, "sign-in-expired", Finish{Provider: "company", State: "guessed", Code: "guessed"})
	b.begin("company")
	w.clock.add(journeyTime)
	must(t, w.Sweep(t.Context()))
	equal(t, "left", len(w.begun.byState), 0)
	for range mostJourneys + 1 {
		w.begun.begin(journey{})
	}
	if n := len(w.begun.byState); n > mostJourneys {
		t.Fatalf("%d journeys are kept", n)
	}
}

func TestNonce(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	for _, nonce := range []any{"", "another", nil, 7} {
		w.issuer.Bend(func(c map[string]any) { c["nonce"] = nonce })
		b := w.browser()
		b.finish(401, "sign-in-refused", b.begin("company"))
	}
	equal(t, "sessions", len(w.people.signedIn), 0)
	if !w.log.has("session.create", api.Failed, "sign-in-refused") {
		t.Fatal("it is not in the log")
	}
}

// TestPKCE: a code that was given for another journey is worth nothing: the verifier
// of this one does not fit.
func TestPKCE(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	victim, attacker := w.browser(), w.browser()
	stolen := victim.begin("company").Code
	mine := attacker.begin("company")
	mine.Code = stolen
	attacker.finish(401, "sign-in-refused", mine)
	address := decode[Begun](t, victim.want(200, "", "POST", "/api/v1/sso/company/begin", Begin{})).URL
	u, err := url.Parse(address)
	must(t, err)
	q := u.Query()
	equal(t, "method", q.Get("code_challenge_method"), "S256")
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Get(name)) < 43 {
			t.Fatalf("%s is %q", name, q.Get(name))
		}
	}
	if strings.Contains(address, "verifier") || strings.Contains(address, issuertest.Secret) {
		t.Fatal(address)
	}
}

// TestMixUp: one provider's answer does not pass for another's, whichever way it comes
// back.
func TestMixUp(t *testing.T) {
	w := newWorld(t)
	evil := newIssuer(t)
	w.withProvider("honest", Appliance)
	w.withProvider("evil", Appliance, func(r *row) { r.Issuer = evil.URL })
	b := w.browser()
	back := b.begin("honest")
	back.Provider = "evil"
	b.finish(401, "sign-in-expired", back)

	back = b.begin("honest")
	back.Iss = evil.URL
	b.finish(401, "sign-in-refused", back)

	back = b.begin("honest")
	back.Iss = "" // it said that it names itself
	b.finish(401, "sign-in-refused", back)
	equal(t, "sessions", len(w.people.signedIn), 0)

	// Each has a way back of its own, which the token endpoint sees.
	u := decode[Begun](t, b.want(200, "", "POST", "/api/v1/sso/evil/begin", Begin{})).URL
	if !strings.Contains(u, url.QueryEscape("/api/v1/sso/evil/callback")) {
		t.Fatal(u)
	}
}

// TestTokensAreCheckedWhole: audience, issuer, time, signature, party.
func TestTokensAreCheckedWhole(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	other := newIssuer(t)
	for what, bend := range map[string]func(map[string]any){
		"audience":     func(c map[string]any) { c["aud"] = "another" },
		"issuer":       func(c map[string]any) { c["iss"] = other.URL },
		"expired":      func(c map[string]any) { c["exp"] = w.clock.Now().Add(-time.Minute).Unix() },
		"party":        func(c map[string]any) { c["azp"] = "another" },
		"two, no azp":  func(c map[string]any) { c["aud"] = []string{issuertest.ClientID, "another"} },
		"no subject":   func(c map[string]any) { delete(c, "sub") },
		"long subject": func(c map[string]any) { c["sub"] = strings.Repeat("x", 256) },
	} {
		w.issuer.Bend(bend)
		b := w.browser()
		b.finish(401, "sign-in-refused", b.begin("company"))
		if len(w.people.signedIn) > 0 {
			t.Fatal(what)
		}
	}
}

// TestIssuerMustNameItself: discovery that speaks of another issuer is refused, as is
// an address for browsers that is not https.
func TestIssuerMustNameItself(t *testing.T) {
	w := newWorld(t)
	for what, says := range map[string]func(map[string]any){
		"issuer": func(m map[string]any) { m["issuer"] = "https://accounts.google.com" },
		"slash":  func(m map[string]any) { m["issuer"] = w.issuer.URL + "/" },
		"script": func(m map[string]any) { m["authorization_endpoint"] = "javascript:alert(1)" },
		"http":   func(m map[string]any) { m["authorization_endpoint"] = "http://login.example.org/" },
		"tokens": func(m map[string]any) { m["token_endpoint"] = "http://login.example.org/token" },
	} {
		w.issuer.Says(says)
		id := "p-" + what
		w.withProvider(id, Appliance)
		if what == "tokens" {
			b := w.browser()
			b.finish(502, "provider-down", b.begin(id))
			continue
		}
		w.browser().want(502, "provider-down", "POST", "/api/v1/sso/"+id+"/begin", Begin{})
	}
}

func TestIssuerDown(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance, func(r *row) { r.Name = "The company" })
	w.issuer.Down(true)
	rec := w.browser().want(502, "provider-down", "POST", "/api/v1/sso/company/begin", Begin{})
	if !strings.Contains(rec.Body.String(), "The company does not answer") {
		t.Fatal(rec.Body)
	}
	asked := w.issuer.Asked()
	w.browser().want(502, "provider-down", "POST", "/api/v1/sso/company/begin", Begin{})
	equal(t, "requests of a second one", w.issuer.Asked(), asked)
	silent, err := w.Silent(t.Context())
	must(t, err)
	equal(t, "silent", len(silent), 1)
	w.issuer.Down(false)
	w.clock.add(failureKept)
	b := w.browser()
	back := b.begin("company")
	w.issuer.Down(true)
	b.finish(502, "provider-down", back)
	w.issuer.Down(false)
	equal(t, "after it is back", w.browser().in("company"), "olga")
}

func TestManyQuestionsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	w.people.asksTooMuch = api.Errorf(429, "too-many", "Too many.")
	w.browser().want(429, "too-many", "POST", "/api/v1/sso/company/begin", Begin{})
	equal(t, "journeys", len(w.begun.byState), 0)
}

func TestDenied(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	b := w.browser()
	back := b.begin("company")
	back.Code, back.Error = "", "access_denied"
	b.finish(401, "sign-in-denied", back)
	b.finish(401, "sign-in-expired", back)
}

// TestUserInfoOfSomebodyElse: what is not signed counts for the same subject only.
func TestUserInfoOfSomebodyElse(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	w.issuer.Is(map[string]any{"email": nil})
	w.issuer.Tells(map[string]any{"sub": "subject-9", "email": "olga@example.com", "email_verified": true})
	b := w.browser()
	b.finish(401, "sign-in-refused", b.begin("company"))
	w.issuer.Tells(map[string]any{"sub": "subject-1", "email": "olga@example.com", "email_verified": "true"})
	equal(t, "its own", w.browser().in("company"), "olga")
}

// TestReturnStaysHere: nobody is led elsewhere by a sign-in.
func TestReturnStaysHere(t *testing.T) {
	for path, want := range map[string]string{
		"/profile": "/profile", "/tenants?page=2": "/tenants?page=2", "": "/", "profile": "/", "//evil.example": "/", "https://evil.example/": "/",
		"/\\evil.example": "/", "/\tevil": "/", "javascript:alert(1)": "/", "/" + strings.Repeat("x", 2000): "/",
	} {
		equal(t, path, local(path), want)
	}
}

// TestCallbackChangesNothing: anybody can have a browser go there, without a cookie.
func TestCallbackChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	b := w.browser()
	back := b.begin("company")
	w.browser().want(303, "", "GET", "/api/v1/sso/company/callback?state="+back.State+"&code=planted&code=two", nil)
	b.finish(200, "", back)
	rec := w.browser().want(303, "", "GET", "/api/v1/sso/company/callback?error=%23%2f&x=y", nil)
	equal(t, "what is not known is dropped", rec.Header().Get("Location"), "/sso#error=%23%2F&provider=company")
}

func TestGitHub(t *testing.T) {
	w := newWorld(t)
	w.withProvider("hub", Appliance, func(r *row) { r.Kind = GitHub })
	w.issuer.Emails(map[string]any{"email": "other@example.com", "primary": false, "verified": true},
		map[string]any{"email": "Olga@Example.com", "primary": true, "verified": false})
	b := w.browser()
	b.finish(403, "mail-not-verified", b.begin("hub"))
	w.issuer.Emails(map[string]any{"email": "Olga@Example.com", "primary": true, "verified": true})
	equal(t, "person", w.browser().in("hub"), "olga")
	l, err := w.linkOf(t.Context(), "hub", "olga")
	must(t, err)
	equal(t, "subject", l.Subject, "583231")
	must(t, must1(w.ask(t.Context(), must1(w.provider(t.Context(), "hub")))).alive(t.Context()))
	equal(t, "test", w.try(t.Context(), must1(w.provider(t.Context(), "hub"))).OK, true)
	b = w.browser()
	b.as = "olga"
	b.want(409, "cannot-ask-again", "POST", "/api/v1/session/step-up/sso/hub", Begin{})
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestStepUpIsShownAgain(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	b := w.browser()
	b.as = b.in("company")
	const begin = "/api/v1/session/step-up/sso/company"
	out := b.finish(200, "", b.out("company", begin))
	equal(t, "purpose", out.Purpose, "step-up")
	equal(t, "stepped", len(w.people.stepped), 1)

	old := w.clock.Now().Add(-time.Hour).Unix()
	for _, at := range []any{old, nil, 0} {
		w.issuer.Bend(func(c map[string]any) { c["auth_time"] = at })
		b.finish(403, "not-asked-again", b.out("company", begin))
	}
	w.issuer.Bend(nil)
	w.issuer.Is(map[string]any{"sub": "subject-2"})
	b.finish(403, "another-account", b.out("company", begin))
	back := b.out("company", begin)
	b.as = "somebody-else"
	b.finish(401, "sign-in-expired", back)
	equal(t, "stepped", len(w.people.stepped), 1)
}

func TestLinkAndUnlink(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	w.people.add("paul", "paul@example.org", Appliance)
	w.issuer.Is(map[string]any{"email": "private@example.net", "email_verified": false})
	b := w.browser()
	b.as = "paul"
	const begin = "/api/v1/session/links/company"
	equal(t, "purpose", b.finish(200, "", b.out("company", begin)).Purpose, "link")
	equal(t, "by the link", w.browser().in("company"), "paul")
	other := w.browser()
	other.as = "olga"
	other.finish(409, "linked-elsewhere", other.out("company", begin))
	mine := decode[Links](t, b.want(200, "", "GET", "/api/v1/session/links", nil))
	equal(t, "links", len(mine.Links), 1)
	unlink := "/api/v1/session/links/" + mine.Links[0].ID
	b.want(409, "last-way-in", "DELETE", unlink, nil)
	w.people.other = true
	other.want(404, "not-found", "DELETE", unlink, nil)
	b.want(204, "", "DELETE", unlink, nil)
	equal(t, "left", len(decode[Links](t, b.want(200, "", "GET", "/api/v1/session/links", nil)).Links), 0)
}

func TestWhatCannotBeRecordedDidNotHappen(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	b := w.browser()
	back := b.begin("company")
	w.log.fail = errors.New("the log is full")
	b.finish(500, "internal", back)
	if _, err := w.linkOf(t.Context(), "company", "olga"); err == nil {
		t.Fatal("linked without a record")
	}
	equal(t, "sessions", len(w.people.signedIn), 0)
	if err := w.add(t.Context(), NewProvider{ID: "x", Kind: Google, ClientID: "x", ClientSecret: "x"}.row(Appliance)); err == nil {
		t.Fatal("added without a record")
	}
}
