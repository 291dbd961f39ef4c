package identity

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/signin"
	"holdfast/data/vault"
)

func TestSetupOnce(t *testing.T) {
	h := newHouse(t)
	needed, err := h.SetupNeeded(bg)
	must(t, err)
	equal(t, "needed", needed, true)
	old, err := h.SetupToken(bg)
	must(t, err)
	token, err := h.SetupToken(bg)
	must(t, err)
	body := func(token string) string {
		return `{"token":"` + token + `","email":"Ada@Example.com","name":"Ada","password":"` + goodPassword + `"}`
	}
	b := h.browser()
	equal(t, "earlier link", codeOf(t, b.want(403, "POST", "/api/v1/setup", body(old))), "setup-link")
	equal(t, "invented link", codeOf(t, b.want(403, "POST", "/api/v1/setup", body("x"))), "setup-link")
	equal(t, "weak password leaves the link", codeOf(t, b.want(422, "POST", "/api/v1/setup",
		`{"token":"`+token+`","email":"a@b.example","name":"","password":"short"}`)), "invalid")
	me := decode[Me](t, b.want(201, "POST", "/api/v1/setup", body(token)))
	equal(t, "email", me.Person.Email, "ada@example.com")
	equal(t, "grant", me.Grants[0].Role+" "+me.Grants[0].Scope, "owner appliance")
	b.want(200, "GET", "/api/v1/session", "")
	h.browser().want(403, "POST", "/api/v1/setup", body(token))
	needed, err = h.SetupNeeded(bg)
	must(t, err)
	equal(t, "needed after", needed, false)
	_, err = h.SetupToken(bg)
	wantErr(t, err, ErrSetupDone)
}

func TestSetupLinkExpires(t *testing.T) {
	h := newHouse(t)
	token, err := h.SetupToken(bg)
	must(t, err)
	h.clock.add(SetupLinkLife)
	h.browser().want(403, "POST", "/api/v1/setup", `{"token":"`+token+`","email":"a@b.example","name":"A","password":"`+goodPassword+`"}`)
	must(t, h.Sweep(bg))
	var left int
	must(t, h.config.DB.View(bg, func(tx *sqlx.Tx) error { return tx.Get(&left, `SELECT count(*) FROM setup_links`) }))
	equal(t, "links after the sweep", left, 0)
}

func TestSetupThatCannotBeRecordedDidNotHappen(t *testing.T) {
	h := newHouse(t)
	token, err := h.SetupToken(bg)
	must(t, err)
	h.log.fail = errors.New("no log")
	w := h.browser().want(500, "POST", "/api/v1/setup", `{"token":"`+token+`","email":"a@b.example","name":"A","password":"`+goodPassword+`"}`)
	equal(t, "cookies", len(w.Result().Cookies()), 0)
	needed, err := h.SetupNeeded(bg)
	must(t, err)
	equal(t, "still needed", needed, true)
}

func TestSignInAndOut(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser()
	b.want(401, "GET", "/api/v1/session", "")
	w := b.want(201, "POST", "/api/v1/session", credentials(" ADA@example.com ", goodPassword))
	c := w.Result().Cookies()[0]
	if c.Name != "__Host-holdfast" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteStrictMode {
		t.Fatalf("cookie %+v", c)
	}
	equal(t, "recorded", strings.HasSuffix(h.log.last(), " session.create  ok"), true)
	b.want(200, "GET", "/api/v1/session", "")
	token := b.cookies[cookieName]
	b.want(204, "DELETE", "/api/v1/session", "")
	equal(t, "cookie is gone", b.cookies[cookieName], "")
	b.cookies[cookieName] = token
	b.want(401, "GET", "/api/v1/session", "")
	h.open()
	b.want(401, "GET", "/api/v1/session", "")
}

func TestSessionSurvivesRestartAndItsTokenIsNotStored(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	h.open()
	b.want(200, "GET", "/api/v1/session", "")
	v := h.config.Sessions.(VaultValues).Vault
	must(t, v.View(bg, func(tx *vault.Tx) error {
		return tx.Walk(nil, nil, func(key, value []byte) (bool, error) {
			if strings.Contains(string(key)+string(value), b.cookies[cookieName]) {
				t.Error("the token itself is stored")
			}
			return true, nil
		})
	}))
}

func TestSessionTimeouts(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	h.clock.add(SessionIdle - time.Minute)
	b.want(200, "GET", "/api/v1/session", "")
	h.clock.add(SessionIdle - time.Minute)
	b.want(200, "GET", "/api/v1/session", "")
	h.clock.add(SessionIdle)
	b.want(401, "GET", "/api/v1/session", "")
	b.signIn("ada@example.com")
	for range 14 { // never idle, and still it ends
		h.clock.add(SessionIdle - time.Minute)
		b.want(200, "GET", "/api/v1/session", "")
	}
	h.clock.add(SessionIdle - time.Minute)
	b.want(401, "GET", "/api/v1/session", "")
	h.open()
	b.want(401, "GET", "/api/v1/session", "")
}

func TestIdleTimeoutHoldsOverRestartAndSweep(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	h.clock.add(SessionIdle - time.Minute)
	b.want(200, "GET", "/api/v1/session", "")
	h.clock.add(time.Hour)
	must(t, h.Sweep(bg)) // out of memory: the vault must know of the use above
	b.want(200, "GET", "/api/v1/session", "")
	h.clock.add(SessionIdle)
	must(t, h.Sweep(bg))
	b.want(401, "GET", "/api/v1/session", "")
}

func TestSessionFixation(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser()
	b.cookies[cookieName] = "chosen-by-the-attacker"
	b.signIn("ada@example.com")
	if b.cookies[cookieName] == "chosen-by-the-attacker" {
		t.Fatal("the planted token became the session's")
	}
	first := b.cookies[cookieName]
	b.signIn("ada@example.com")
	if b.cookies[cookieName] == first {
		t.Fatal("signing in anew kept the token")
	}
	b.cookies[cookieName] = first
	b.want(401, "GET", "/api/v1/session", "")
}

func TestTwoCookiesOfTheNameCountAsNone(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	b.want(401, "GET", "/api/v1/session", "", "Cookie", cookieName+"=planted")
}

func TestCSRF(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	body := `{"email":"eve@example.com","name":"Eve","password":"` + goodPassword + `"}`
	for name, headers := range map[string][]string{
		"other site":            {"Sec-Fetch-Site", "cross-site"},
		"a tenant's host":       {"Sec-Fetch-Site", "same-site"},
		"old browser":           {"Origin", "https://evil.example"},
		"tenant in old browser": {"Origin", "http://acme.localhost:8090"},
		"no origin to speak of": {"Origin", "null"},
	} {
		w := b.send("POST", "/api/v1/operators", body, headers...)
		if w.Code != 403 {
			t.Errorf("%s: got %d", name, w.Code)
		}
	}
	b.want(415, "POST", "/api/v1/operators", body, "Content-Type", "text/plain")
	b.want(201, "POST", "/api/v1/operators", body, "Sec-Fetch-Site", "same-origin")
}

func TestEnumerationByAnswer(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	locked := h.owner("locked@example.com")
	must(t, h.config.DB.Update(bg, func(tx *sqlx.Tx) error {
		_, err := tx.Exec(`UPDATE persons SET state = 'locked' WHERE id = ?`, locked.ID)
		return err
	}))
	var first string
	for _, c := range [][2]string{
		{"ada@example.com", "wrong password here"}, {"nobody@example.com", goodPassword},
		{"locked@example.com", goodPassword}, {"not an address", goodPassword}, {"", ""},
	} {
		w := h.browser().want(401, "POST", "/api/v1/session", credentials(c[0], c[1]))
		if first == "" {
			first = w.Body.String()
		}
		equal(t, c[0], w.Body.String(), first)
		equal(t, "cookies", len(w.Result().Cookies()), 0)
	}
	for i := range 12 {
		known := h.browser().send("POST", "/api/v1/session", credentials("ada@example.com", "wrong password here"))
		unknown := h.browser().send("POST", "/api/v1/session", credentials("nobody@example.com", "wrong password here"))
		if known.Code != unknown.Code {
			t.Fatalf("attempt %d: %d for a known, %d for an unknown address", i, known.Code, unknown.Code)
		}
	}
}

func TestLongerThanTheLongestPasswordIsWrong(t *testing.T) {
	h := newHouse(t)
	longest := strings.Repeat("\U0001F511\U0001F512\U0001F513\U0001F3E0\U0001F6AA\U0001F5DD\U0001F4E6\U0001F6E1", MaxPassword/8)
	_, err := h.CreateOperator(bg, NewOperator{NewPerson: NewPerson{Email: "ada@example.com", Name: "Ada", Password: longest}})
	must(t, err)
	h.browser().want(401, "POST", "/api/v1/session", credentials("ada@example.com", longest+"x"))
	h.browser().want(201, "POST", "/api/v1/session", credentials("ada@example.com", longest))
}

func TestUnknownAddressCostsAHash(t *testing.T) {
	h := newHasher(Cost{Time: 1, Memory: 32 * 1024, Threads: 1})
	phc, err := h.hash(bg, goodPassword)
	must(t, err)
	span := func(phc string) time.Duration {
		best := time.Hour
		for range 5 {
			begin := time.Now()
			ok, err := h.matches(bg, "some other password", phc)
			must(t, err)
			equal(t, "matches", ok, false)
			best = min(best, time.Since(begin))
		}
		return best
	}
	var known, unknown time.Duration
	for range 20 { // other work on the machine can spoil some tries, and cannot make alike what is not
		known, unknown = span(phc), span("")
		if unknown > known/2 && known > unknown/2 {
			return
		}
	}
	t.Fatalf("an unknown address takes %v, a known one %v", unknown, known)
}

func TestBruteForceIsSlowedPerAccount(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	admitted := 0
	for i := range 40 {
		b := h.browser()
		b.address = "198.51.100." + string(rune('0'+i%10)) + ":1" // many addresses
		w := b.send("POST", "/api/v1/session", credentials("ada@example.com", "wrong password here"))
		if w.Code == 401 {
			admitted++
			continue
		}
		equal(t, "code", codeOf(t, w), "too-many")
		if w.Header().Get("Retry-After") == "" {
			t.Fatal("not told when to come back")
		}
	}
	equal(t, "attempts let in", admitted, accountPolicy.Free)
	h.browser().want(429, "POST", "/api/v1/session", credentials("ada@example.com", goodPassword))
	h.clock.add(accountPolicy.Longest)
	h.browser().signIn("ada@example.com")
}

func TestBruteForceIsSlowedPerAddress(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.address = "[2001:db8::1]:5"
	for i := range addressPolicy.Free {
		b.want(401, "POST", "/api/v1/session", credentials(string(rune('a'+i))+"@example.com", "wrong password here"))
	}
	b.address = "[2001:db8::ffff]:6" // the same network
	b.want(429, "POST", "/api/v1/session", credentials("z@example.com", "wrong password here"))
	h.browser().want(401, "POST", "/api/v1/session", credentials("z@example.com", "wrong password here"))
}

func TestManyAttemptsAtOnceGainNothing(t *testing.T) {
	b := signin.NewBackoff(accountPolicy, time.Now)
	let := make(chan bool, 100)
	for range 100 {
		go func() { let <- b.Attempt("x") == 0 }()
	}
	n := 0
	for range 100 {
		if <-let {
			n++
		}
	}
	equal(t, "let in", n, accountPolicy.Free)
}

func TestSignInThatCannotBeRecordedGivesNoSession(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	h.log.fail = errors.New("no log")
	w := h.browser().want(500, "POST", "/api/v1/session", credentials("ada@example.com", goodPassword))
	equal(t, "cookies", len(w.Result().Cookies()), 0)
	keys, err := h.config.Sessions.Keys(bg, "")
	must(t, err)
	equal(t, "sessions kept", len(keys), 0)
}

func TestLockedAccountLosesItsSession(t *testing.T) {
	h := newHouse(t)
	o := h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	must(t, h.config.DB.Update(bg, func(tx *sqlx.Tx) error {
		_, err := tx.Exec(`UPDATE persons SET state = 'locked' WHERE id = ?`, o.ID)
		return err
	}))
	h.grants.forget()
	b.want(401, "GET", "/api/v1/session", "")
	b.want(401, "GET", "/api/v1/operators", "")
}

func TestEndSessions(t *testing.T) {
	h := newHouse(t)
	o := h.owner("ada@example.com")
	h.owner("bob@example.com")
	one, two, other := h.browser().signIn("ada@example.com"), h.browser().signIn("ada@example.com"), h.browser().signIn("bob@example.com")
	must(t, h.EndSessions(bg, o.ID))
	one.want(401, "GET", "/api/v1/session", "")
	two.want(401, "GET", "/api/v1/session", "")
	other.want(200, "GET", "/api/v1/session", "")
	must(t, h.Sweep(bg))
	one.want(401, "GET", "/api/v1/session", "")
}

func TestPasswordChange(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b, other := h.browser().signIn("ada@example.com"), h.browser().signIn("ada@example.com")
	change := func(current, next string) string { return `{"current":"` + current + `","password":"` + next + `"}` }
	const next = "another good phrase"
	const path = "/api/v1/session/password"
	b.want(422, "POST", path, change("wrong password here", next))
	b.want(422, "POST", path, change(goodPassword, "short"))
	h.log.fail = errors.New("no log")
	b.want(500, "POST", path, change(goodPassword, next))
	h.log.fail = nil
	h.browser().want(401, "POST", "/api/v1/session", credentials("ada@example.com", next))
	b.want(204, "POST", path, change(goodPassword, next))
	equal(t, "recorded", strings.HasSuffix(h.log.last(), " password.change  ok"), true)
	b.want(200, "GET", "/api/v1/session", "")
	other.want(401, "GET", "/api/v1/session", "")
	h.browser().want(401, "POST", "/api/v1/session", credentials("ada@example.com", goodPassword))
	h.browser().want(201, "POST", "/api/v1/session", credentials("ada@example.com", next))
}

func TestPasswordChangeIsNoWayToGuess(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	guess := `{"current":"wrong password here","password":"another good phrase"}`
	for range accountPolicy.Free {
		b.want(422, "POST", "/api/v1/session/password", guess)
	}
	b.want(429, "POST", "/api/v1/session/password", guess)
}

func TestEndedSessionIsNotWrittenBackByARequestUnderWay(t *testing.T) {
	h := newHouse(t)
	o := h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	token := b.cookies[cookieName]
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				h.clock.add(touchEvery) // each use is a write
				_, _ = h.sessions.lookup(bg, token)
			}
		}
	}()
	must(t, h.EndSessions(bg, o.ID))
	close(stop)
	<-done
	h.open()
	_, err := h.sessions.lookup(bg, token)
	wantErr(t, err, data.ErrNotFound)
}

func TestPlainCookieOnlyWhereToldSo(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	for _, c := range []struct {
		host     string
		insecure bool
		want     string
	}{
		{"127.0.0.1:8090", false, cookieName}, {"192.0.2.9:8090", false, cookieName},
		{"127.0.0.1:8090", true, cookieName}, {"localhost:8090", true, cookieName}, {"[::1]:8090", true, cookieName},
		{"192.0.2.9:8090", true, plainCookieName}, {"box.lan", true, plainCookieName},
	} {
		h.Service.config.InsecureHTTP = c.insecure
		b := h.browser()
		b.host = c.host
		b.signIn("ada@example.com")
		if b.cookies[c.want] == "" {
			t.Errorf("%+v: cookies %v", c, b.cookies)
		}
		b.want(200, "GET", "/api/v1/session", "")
	}
}

func TestMassAssignment(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	for _, extra := range []string{`"id":"x"`, `"state":"active"`, `"grants":[]`, `"Password_hash":"x"`} {
		b.want(422, "POST", "/api/v1/operators", `{"email":"e@example.com","name":"E","password":"`+goodPassword+`",`+extra+`}`)
	}
	b.want(422, "POST", "/api/v1/operators", `{"email":"e@example.com","name":"E","password":"`+goodPassword+`","role":"god"}`)
}

func BenchmarkSessionLookup(b *testing.B) {
	h := newHouse(b)
	o := h.owner("ada@example.com")
	token, err := h.sessions.create(bg, Session{Person: o.ID, Address: "x", Agent: "y", Fresh: time.Now()})
	must(b, err)
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: cookieName, Value: token})
	b.Run("memory", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if a, err := h.AuthenticateRequest(r); err != nil || a.Kind != data.Person {
				b.Fatal(a, err)
			}
		}
	})
	b.Run("vault", func(b *testing.B) {
		for b.Loop() {
			clear(h.sessions.live)
			if a, err := h.AuthenticateRequest(r); err != nil || a.Kind != data.Person {
				b.Fatal(a, err)
			}
		}
	})
}
