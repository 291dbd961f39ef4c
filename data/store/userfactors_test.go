package store

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pquerna/otp/totp"
	"golang.org/x/crypto/bcrypt"

	"holdfast/data"
)

// moving is a clock that a test moves.
type moving struct {
	mu  sync.Mutex
	now time.Time
}

func (m *moving) Now() time.Time { m.mu.Lock(); defer m.mu.Unlock(); return m.now }

func (m *moving) add(d time.Duration) { m.mu.Lock(); defer m.mu.Unlock(); m.now = m.now.Add(d) }

// noted keeps what the store told of its users.
type noted struct {
	mu   sync.Mutex
	all  []string
	fail error
	then map[string]func() // by action, once: what happens while it is being noted
}

func (n *noted) take(ctx context.Context, _ data.StoreID, e UserEvent) error {
	n.mu.Lock()
	then := n.then[e.Action]
	delete(n.then, e.Action)
	n.mu.Unlock()
	if then != nil {
		then()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	line := e.Action + " " + e.Target + " by " + data.ActorFrom(ctx).String()
	if e.Refused {
		line += " refused"
	}
	n.all = append(n.all, line)
	return n.fail
}

func (n *noted) has(part string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.all, func(s string) bool { return strings.Contains(s, part) })
}

func (n *noted) during(action string, then func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.then = map[string]func(){action: then}
}

func (n *noted) failing(err error) { n.mu.Lock(); defer n.mu.Unlock(); n.fail = err }

const (
	passphrase = "correct horse battery"
	usersPath  = "/api/collections/users"
	ownPath    = "/api/v1/collections/users"
	tenantHost = "https://acme.example.com"
)

// town is a store with users, their clock, and what was noted of them.
type town struct {
	*Store
	clock *moving
	noted *noted
}

func breachedInTest(password string) (bool, error) {
	return password == "correct horse battery staple", nil
}

func newTown(t testing.TB, policy map[string]any) town {
	t.Helper()
	v := town{clock: &moving{now: time.Now().Truncate(time.Minute)}, noted: &noted{}}
	v.Store = newStore(t, func(c *Config) { c.Clock, c.OnUser, c.Breached = v.clock.Now, v.noted.take, breachedInTest })
	c := collection(t, v.Store, "users")
	c.Fields.GetByName(core.FieldNamePassword).(*core.PasswordField).Cost = bcrypt.MinCost // or hashing is most of the time
	save(t, v.Store, c)
	v.set(t, policy)
	return v
}

func (v town) set(t testing.TB, policy map[string]any) {
	t.Helper()
	if policy != nil {
		adminOf(v.Store).must(t, 200, "PUT", ownPath+"/auth-policy", policy)
	}
}

// person is a user of the town.
type townsman struct {
	caller
	v      town
	id     string
	email  string
	secret string
	codes  []string
}

func (v town) guest() caller {
	return caller{s: v.Store, ctx: WithOrigin(context.Background(), tenantHost)}
}

// join signs a user up and in.
func (v town) join(t testing.TB, name string) *townsman {
	t.Helper()
	p := &townsman{caller: v.guest(), v: v, email: name + "@example.com"}
	p.id = p.create(t, "users", map[string]any{"email": p.email, "password": passphrase, "passwordConfirm": passphrase})
	p.signIn(t)
	return p
}

func (p *townsman) password() map[string]any {
	return map[string]any{"identity": p.email, "password": passphrase}
}

func (p *townsman) signIn(t testing.TB) {
	t.Helper()
	p.token = ""
	p.token = tokenOf(t, p.must(t, 200, "POST", usersPath+"/auth-with-password", p.password()))
}

func tokenOf(t testing.TB, r reply) string {
	t.Helper()
	token, _ := r.object(t)["token"].(string)
	if token == "" {
		t.Fatalf("no token in %s", r.body)
	}
	return token
}

// step shows the password and gives the mfaId that a second factor is asked with.
func (p *townsman) step(t testing.TB) string {
	t.Helper()
	r := p.v.guest().must(t, 401, "POST", usersPath+"/auth-with-password", p.password())
	id, _ := r.object(t)["mfaId"].(string)
	if id == "" || strings.Contains(string(r.body), "token") {
		t.Fatalf("want an mfaId and no token: %s", r.body)
	}
	return id
}

// code is what the user's app shows, after the time moved on to the next one.
func (p *townsman) code(t testing.TB) string {
	t.Helper()
	p.v.clock.add(30 * time.Second)
	return p.codeNow(t)
}

func (p *townsman) codeNow(t testing.TB) string {
	t.Helper()
	code, err := totp.GenerateCode(p.secret, p.v.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// enrol adds an authenticator app.
func (p *townsman) enrol(t testing.TB) {
	t.Helper()
	p.secret, _ = p.must(t, 200, "POST", ownPath+"/totp", map[string]any{}).object(t)["secret"].(string)
	r := p.must(t, 200, "POST", ownPath+"/totp/confirm", map[string]any{"code": p.code(t)})
	p.token = tokenOf(t, r)
	var answer struct {
		Meta struct{ RecoveryCodes []string }
	}
	if err := json.Unmarshal(r.body, &answer); err != nil {
		t.Fatal(err)
	}
	p.codes = answer.Meta.RecoveryCodes
}

func second(id, code string) map[string]any { return map[string]any{"mfaId": id, "code": code} }

func withTOTP() map[string]any { return map[string]any{"totp": true, "passkeys": true} }

func TestUsersAuthenticatorApp(t *testing.T) {
	v := newTown(t, withTOTP())
	ada := v.join(t, "ada")
	before := ada.token
	ada.enrol(t)
	if len(ada.codes) != 10 {
		t.Fatal("recovery codes:", ada.codes)
	}
	old := v.guest()
	old.token = before
	old.must(t, 401, "POST", usersPath+"/auth-refresh", nil) // the change ended every other token
	id := ada.step(t)
	used := ada.code(t)
	r := v.guest().must(t, 200, "POST", usersPath+"/auth-with-totp", second(id, used))
	ada.token = tokenOf(t, r)
	ada.must(t, 200, "GET", usersPath+"/records/"+ada.id, nil)
	ada.must(t, 200, "POST", usersPath+"/auth-refresh", nil)
	v.guest().must(t, 400, "POST", usersPath+"/auth-with-totp", second(id, ada.code(t))) // an mfaId is worth one sign-in
	id = ada.step(t)
	v.guest().must(t, 400, "POST", usersPath+"/auth-with-totp", second(id, used)) // a code, too
	for _, junk := range []string{"", "000000", "abcdef", strings.Repeat("1", 4000)} {
		v.guest().must(t, 400, "POST", usersPath+"/auth-with-totp", second(id, junk))
	}
	v.guest().must(t, 400, "POST", usersPath+"/auth-with-totp", second(id, ada.code(t))) // no tries left
	if !v.noted.has("user.factor.add users/"+ada.id+" by user:users/"+ada.id) || !v.noted.has("user.sign-in users/"+ada.id+" by system refused") {
		t.Error(v.noted.all)
	}
}

func TestUsersRecoveryCodes(t *testing.T) {
	v := newTown(t, withTOTP())
	ada := v.join(t, "ada")
	ada.enrol(t)
	typed := strings.ToUpper(strings.ReplaceAll(ada.codes[3], "-", " "))
	v.guest().must(t, 200, "POST", usersPath+"/auth-with-recovery-code", second(ada.step(t), typed))
	v.guest().must(t, 400, "POST", usersPath+"/auth-with-recovery-code", second(ada.step(t), ada.codes[3]))
	if got := ada.must(t, 200, "GET", ownPath+"/factors", nil).object(t)["recoveryCodes"]; got != 9.0 {
		t.Error("left:", got)
	}
	ada.must(t, 200, "POST", ownPath+"/recovery-codes", map[string]any{})
	v.guest().must(t, 400, "POST", usersPath+"/auth-with-recovery-code", second(ada.step(t), ada.codes[4]))
	bob := v.join(t, "bob")
	bob.must(t, 400, "POST", ownPath+"/recovery-codes", map[string]any{})
}

// TestUsersWithoutPolicy: PocketBase stays as it is where nothing was switched on.
func TestUsersWithoutPolicy(t *testing.T) {
	v := newTown(t, nil)
	ada := v.join(t, "ada")
	ada.must(t, 403, "POST", ownPath+"/totp", map[string]any{})
	ada.must(t, 403, "POST", ownPath+"/passkeys", map[string]any{})
	v.guest().must(t, 403, "POST", usersPath+"/request-passkey", map[string]any{})
	v.guest().must(t, 403, "POST", usersPath+"/auth-with-recovery-code", second("x", "y"))
	for range 15 {
		v.guest().must(t, 400, "POST", usersPath+"/auth-with-password", map[string]any{"identity": ada.email, "password": "wrong"})
	}
	if len(v.noted.all) > 0 {
		t.Error(v.noted.all)
	}
}

func TestUsersMustHaveASecondFactor(t *testing.T) {
	v := newTown(t, withTOTP())
	ada := v.join(t, "ada")
	v.set(t, map[string]any{"secondFactor": "always"})
	id := ada.step(t)
	v.guest().must(t, 400, "POST", usersPath+"/auth-with-totp", second(id, "123456"))
	v.guest().must(t, 401, "POST", ownPath+"/totp", map[string]any{})
	v.guest().must(t, 400, "POST", ownPath+"/totp", map[string]any{"mfaId": "nothing"})
	ada.secret, _ = v.guest().must(t, 200, "POST", ownPath+"/totp", map[string]any{"mfaId": id}).object(t)["secret"].(string)
	confirmed := v.guest().must(t, 200, "POST", ownPath+"/totp/confirm", map[string]any{"mfaId": id, "code": ada.code(t)})
	ada.token = tokenOf(t, confirmed)
	ada.must(t, 200, "GET", usersPath+"/records/"+ada.id, nil)
	v.guest().must(t, 400, "POST", ownPath+"/totp", map[string]any{"mfaId": id})          // used up
	v.guest().must(t, 400, "POST", ownPath+"/totp", map[string]any{"mfaId": ada.step(t)}) // a password adds no second app
}

// TestUsersDowngrade: none of PocketBase's other ways in is a way around.
func TestUsersDowngrade(t *testing.T) {
	notUnderRace(t)
	v := newTown(t, withTOTP())
	ada := v.join(t, "ada")
	ada.enrol(t)
	record, err := v.app.FindRecordById("users", ada.id)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("code by mail", func(t *testing.T) {
		for _, mfa := range []bool{false, true} { // with PocketBase's own MFA, too
			adminOf(v.Store).must(t, 200, "PATCH", usersPath, map[string]any{"otp": map[string]any{"enabled": true, "duration": 300, "length": 8},
				"mfa": map[string]any{"enabled": mfa, "duration": 300}})
			otp := core.NewOTP(v.app)
			otp.SetCollectionRef(record.Collection().Id)
			otp.SetRecordRef(record.Id)
			otp.SetPassword("12345678")
			save(t, v.Store, otp)
			body := map[string]any{"otpId": otp.Id, "password": "12345678", "mfaId": ada.step(t)}
			r := v.guest().must(t, 401, "POST", usersPath+"/auth-with-otp", body)
			if r.object(t)["mfaId"] == nil {
				t.Errorf("%s", r.body)
			}
		}
		v.guest().must(t, 200, "POST", usersPath+"/auth-with-totp", second(ada.step(t), ada.code(t)))
	})
	t.Run("password reset", func(t *testing.T) {
		adminOf(v.Store).must(t, 200, "PATCH", usersPath, map[string]any{"mfa": map[string]any{"enabled": false}})
		save(t, v.Store, verified(t, v.Store, ada.id))
		ada.signIn(t)
		ada.enrol(t) // what was added before the address was proved is gone
		if record, err = v.app.FindRecordById("users", ada.id); err != nil {
			t.Fatal(err)
		}
		token, err := record.NewPasswordResetToken()
		if err != nil {
			t.Fatal(err)
		}
		id := ada.step(t)
		v.guest().must(t, 204, "POST", usersPath+"/confirm-password-reset", map[string]any{"token": token, "password": passphrase + "!", "passwordConfirm": passphrase + "!"})
		v.guest().must(t, 400, "POST", usersPath+"/auth-with-totp", second(id, ada.code(t))) // begun with the old password
		r := v.guest().must(t, 401, "POST", usersPath+"/auth-with-password", map[string]any{"identity": ada.email, "password": passphrase + "!"})
		if r.object(t)["mfaId"] == nil {
			t.Errorf("%s", r.body)
		}
	})
	t.Run("impersonation, superusers, batch", func(t *testing.T) {
		studio := studioOf(t, v.Store, "p1")
		for _, c := range []caller{studio, adminOf(v.Store), v.guest()} {
			c.must(t, 404, "POST", usersPath+"/impersonate/"+ada.id, map[string]any{})
		}
		studio.must(t, 403, "POST", ownPath+"/totp", map[string]any{})
		v.guest().must(t, 403, "POST", "/api/collections/_superusers/auth-with-totp", second("x", "y"))
		v.guest().must(t, 403, "PUT", "/api/v1/collections/_superusers/auth-policy", withTOTP())
		for _, url := range []string{usersPath + "/auth-with-password", usersPath + "/auth-with-totp", ownPath + "/totp", "/api/collections/_hf_user_factors/records"} {
			studio.must(t, 400, "POST", "/api/batch", map[string]any{"requests": []any{map[string]any{"method": "POST", "url": url, "body": ada.password()}}})
		}
	})
}

func verified(t testing.TB, s *Store, id string) *core.Record {
	t.Helper()
	r, err := s.app.FindRecordById("users", id)
	if err != nil {
		t.Fatal(err)
	}
	r.SetVerified(true)
	return r
}

// TestUsersOAuth2: a provider's word is a first factor, like a password.
func TestUsersOAuth2(t *testing.T) {
	v := newTown(t, withTOTP())
	ada := v.join(t, "ada")
	ada.enrol(t)
	record, err := v.app.FindRecordById("users", ada.id)
	if err != nil {
		t.Fatal(err)
	}
	// What the route does once the provider has answered; to reach one takes a network.
	e := &core.RecordAuthRequestEvent{RequestEvent: &core.RequestEvent{App: v.app}, Record: record, Token: "", AuthMethod: core.MFAMethodOAuth2}
	w := httptest.NewRecorder()
	e.Request, e.Response, e.Collection = httptest.NewRequest("POST", usersPath+"/auth-with-oauth2", strings.NewReader("{}")), w, record.Collection()
	err = v.app.OnRecordAuthRequest().Trigger(e, func(*core.RecordAuthRequestEvent) error { t.Error("let in"); return nil })
	if err == nil || w.Code != 401 || !strings.Contains(w.Body.String(), "mfaId") {
		t.Error(err, w.Code, w.Body)
	}
}

func TestUsersFactorsAreTheirOwn(t *testing.T) {
	v := newTown(t, withTOTP())
	ada, bob := v.join(t, "ada"), v.join(t, "bob")
	ada.must(t, 200, "POST", ownPath+"/totp", map[string]any{})
	bob.must(t, 400, "POST", ownPath+"/totp/confirm", map[string]any{"code": "123456"}) // what ada began is not bob's to confirm
	ada.enrol(t)
	bob.enrol(t)
	items, _ := ada.must(t, 200, "GET", ownPath+"/factors", nil).object(t)["items"].([]any)
	factor := items[0].(map[string]any)["id"].(string)
	bob.must(t, 404, "DELETE", ownPath+"/factors/"+factor, nil)
	id := ada.step(t)
	v.guest().must(t, 400, "POST", usersPath+"/auth-with-totp", second(id, bob.code(t))) // the other's code
	for _, scope := range []Scope{Read, Write, Admin} {
		key := keyCaller(v.Store, "k", Reach{Scope: scope})
		for _, r := range [][2]string{{"POST", "/totp"}, {"POST", "/totp/confirm"}, {"POST", "/passkeys"}, {"POST", "/passkeys/confirm"}, {"GET", "/factors"},
			{"DELETE", "/factors/" + factor}, {"POST", "/recovery-codes"}} {
			key.must(t, 403, r[0], ownPath+r[1], map[string]any{})
		}
		code := 403
		if scope == Admin {
			code = 200
		}
		key.must(t, code, "GET", ownPath+"/records/"+ada.id+"/factors", nil)
		key.must(t, code, "GET", ownPath+"/auth-policy", nil)
	}
	bob.must(t, 403, "GET", ownPath+"/records/"+ada.id+"/factors", nil)
	bob.must(t, 403, "DELETE", ownPath+"/records/"+ada.id+"/factors", nil)
	bob.must(t, 403, "PUT", ownPath+"/auth-policy", map[string]any{"totp": false})
	v.guest().must(t, 401, "DELETE", ownPath+"/records/"+ada.id+"/factors", nil)
	adminOf(v.Store).must(t, 204, "DELETE", ownPath+"/records/"+ada.id+"/factors", nil)
	ada.must(t, 401, "POST", usersPath+"/auth-refresh", nil) // ends the sessions
	ada.signIn(t)
	if !v.noted.has("user.factors.reset users/" + ada.id + " by key:admin") {
		t.Error(v.noted.all)
	}
}

// TestUsersStaleToken: a stolen token does not become a way in for good.
func TestUsersStaleToken(t *testing.T) {
	v := newTown(t, withTOTP())
	ada := v.join(t, "ada")
	v.clock.add(11 * time.Minute)
	ada.token = tokenOf(t, ada.must(t, 200, "POST", usersPath+"/auth-refresh", nil)) // does not make it fresh
	ada.must(t, 403, "POST", ownPath+"/totp", map[string]any{})
	ada.must(t, 403, "DELETE", ownPath+"/factors/x", nil)
	ada.signIn(t)
	ada.must(t, 200, "POST", ownPath+"/totp", map[string]any{})
}

func TestUsersSecretsStayHidden(t *testing.T) {
	v := newTown(t, withTOTP())
	ada := v.join(t, "ada")
	ada.enrol(t)
	studio, admin := studioOf(t, v.Store, "p1"), adminOf(v.Store)
	for _, c := range []caller{studio, admin, ada.caller, v.guest()} {
		for _, table := range []string{"_hf_user_factors", "_hf_user_codes", "_hf_user_passwords", "_hf_user_policies"} {
			if r := c.do("GET", "/api/collections/"+table+"/records", nil); r.code != 404 {
				t.Errorf("%s: %d %s", table, r.code, r.body)
			}
			if r := c.do("GET", usersPath+"/records?expand="+table+"_via_record&filter=@collection."+table+".secret!=''", nil); strings.Contains(string(r.body), ada.secret) {
				t.Errorf("%s: %s", table, r.body)
			}
		}
		for _, path := range []string{usersPath + "/records", usersPath + "/records/" + ada.id, ownPath + "/factors", ownPath + "/records/" + ada.id + "/factors", "/api/settings", usersPath} {
			if r := c.do("GET", path, nil); strings.Contains(string(r.body), ada.secret) {
				t.Errorf("%s tells the secret: %s", path, r.body)
			}
		}
	}
	for _, query := range []string{"SELECT id, secret FROM _hf_user_factors", "SELECT id, record FROM _HF_USER_FACTORS",
		"WITH _hf_x AS (SELECT id, secret FROM _hf_user_factors) SELECT * FROM _hf_x", "SELECT u.id, f.secret FROM users u JOIN _hf_user_factors f ON f.record = u.id"} {
		studio.must(t, 400, "POST", "/api/collections", map[string]any{"name": "peek", "type": "view", "viewQuery": query})
	}
	studio.must(t, 400, "POST", "/api/collections", map[string]any{"name": "_hf_user_factors", "type": "base"})
	for _, statement := range []string{"SELECT secret FROM _hf_user_factors", "DELETE FROM _hf_user_factors", "UPDATE _hf_user_policies SET policy = '{}'",
		"INSERT INTO _hf_user_factors SELECT * FROM _hf_user_factors", "DROP TABLE _hf_user_factors", "ALTER TABLE _hf_user_factors RENAME TO x",
		"CREATE INDEX x ON _hf_user_factors(secret)", "WITH _hf_x AS (SELECT secret FROM _hf_user_factors) SELECT * FROM _hf_x"} {
		if _, err := v.app.NonconcurrentDB().NewQuery(statement).Execute(); err == nil {
			t.Errorf("%s was let through", statement)
		}
	}
	err := v.Export(t.Context(), "users", func(r map[string]any) error {
		if b, _ := json.Marshal(r); strings.Contains(string(b), ada.secret) || strings.Contains(string(b), "factor") {
			t.Errorf("%s", b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	changes, _ := feed(t, v.Store, data.Position{})
	if text := strings.Join(changes, "\n"); strings.Contains(text, "_hf_user") || strings.Contains(text, ada.secret) {
		t.Error(text)
	}
}

func TestUsersPatience(t *testing.T) {
	v := newTown(t, map[string]any{"totp": true, "attempts": map[string]any{"account": 3, "address": 30, "longestWait": 60}})
	ada := v.join(t, "ada")
	ada.enrol(t)
	try := func(identity string) reply {
		return v.guest().do("POST", usersPath+"/auth-with-password", map[string]any{"identity": identity, "password": "wrong"})
	}
	for _, name := range []string{ada.email, "nobody@example.com"} { // whether there is one makes no difference
		for i, want := range []int{400, 400, 400, 429} {
			if r := try(name); r.code != want {
				t.Fatalf("%s, try %d: %d %s", name, i, r.code, r.body)
			}
		}
	}
	if r := v.guest().must(t, 429, "POST", usersPath+"/auth-with-password", ada.password()); r.header.Get("Retry-After") == "" {
		t.Error("not told how long to wait")
	}
	v.clock.add(2 * time.Minute)
	id := ada.step(t)
	for _, want := range []int{400, 400, 400, 429} {
		v.guest().must(t, want, "POST", usersPath+"/auth-with-totp", second(id, "000000"))
		id = ada.step(t) // another sign-in gives no further tries
	}
	v.clock.add(2 * time.Minute)
	v.guest().must(t, 200, "POST", usersPath+"/auth-with-totp", second(id, ada.code(t)))
	tooMany := false
	for i := range 40 {
		tooMany = tooMany || try(strings.Repeat("x", i+1)+"@example.com").code == 429
	}
	if !tooMany {
		t.Error("one address tried forty accounts")
	}
}

func TestUsersPasswords(t *testing.T) {
	v := newTown(t, map[string]any{"password": map[string]any{"minLength": 12, "refuseCommon": true, "minBits": 30, "history": 2}})
	for password, code := range map[string]string{"short one": "validation_password_short", "password1234": "validation_password_common",
		"adalovelace is me": "validation_password_personal", "abababababababab": "validation_password_weak", "correct horse battery staple": "validation_password_breached"} {
		r := v.guest().must(t, 400, "POST", usersPath+"/records", map[string]any{"email": "adalovelace@example.com", "password": password, "passwordConfirm": password})
		if !strings.Contains(string(r.body), code) || !strings.Contains(string(r.body), `"password"`) {
			t.Errorf("%s: %s", password, r.body)
		}
	}
	ada := v.join(t, "ada")
	now := passphrase
	change := func(to string) reply {
		r := ada.do("PATCH", usersPath+"/records/"+ada.id, map[string]any{"oldPassword": now, "password": to, "passwordConfirm": to})
		if r.code == 200 {
			now = to
			ada.token = tokenOf(t, v.guest().must(t, 200, "POST", usersPath+"/auth-with-password", map[string]any{"identity": ada.email, "password": to}))
		}
		return r
	}
	for _, step := range []struct {
		to   string
		code int
	}{{passphrase, 400}, {"second plain words", 200}, {passphrase, 400}, {"third plain words", 200}, {passphrase, 400}, {"fourth plain words", 200}, {passphrase, 200}} {
		if r := change(step.to); r.code != step.code {
			t.Fatalf("%s: %d %s", step.to, r.code, r.body)
		}
	}
}

func TestUsersSessions(t *testing.T) {
	v := newTown(t, map[string]any{"sessions": map[string]any{"tokenSeconds": 600, "maxAgeSeconds": 3600, "endOnChange": true}})
	ada := v.join(t, "ada")
	for range 4 {
		v.clock.add(14 * time.Minute)
		ada.token = tokenOf(t, ada.must(t, 200, "POST", usersPath+"/auth-refresh", nil))
	}
	v.clock.add(14 * time.Minute)
	ada.must(t, 401, "POST", usersPath+"/auth-refresh", nil)
	ada.signIn(t)
	ada.must(t, 200, "POST", usersPath+"/auth-refresh", nil)
}

// TestUsersAreForgotten: who gets a deleted user's id, or collection's, gets none of
// its factors.
func TestUsersAreForgotten(t *testing.T) {
	v := newTown(t, withTOTP())
	ada := v.join(t, "ada")
	ada.enrol(t)
	ada.must(t, 204, "DELETE", usersPath+"/records/"+ada.id, nil)
	ada.token = ""
	ada.create(t, "users", map[string]any{"id": ada.id, "email": ada.email, "password": passphrase, "passwordConfirm": passphrase})
	ada.signIn(t)
	ada.enrol(t)
	c := collection(t, v.Store, "users")
	if err := v.app.Delete(c); err != nil {
		t.Fatal(err)
	}
	var n int
	err := v.app.ConcurrentDB().NewQuery("SELECT (SELECT count(*) FROM _hf_user_factors) + (SELECT count(*) FROM _hf_user_codes) + (SELECT count(*) FROM _hf_user_policies)").
		WithContext(inner(t.Context())).Row(&n)
	if err != nil || n != 0 {
		t.Error(n, err)
	}
}

// TestUsersTakeover: whoever signed up with another's address keeps no way in once
// its owner proves it.
func TestUsersTakeover(t *testing.T) {
	v := newTown(t, withTOTP())
	squatter := v.join(t, "victim")
	squatter.enrol(t)
	record, err := v.app.FindRecordById("users", squatter.id)
	if err != nil {
		t.Fatal(err)
	}
	token, err := record.NewPasswordResetToken()
	if err != nil {
		t.Fatal(err)
	}
	v.guest().must(t, 204, "POST", usersPath+"/confirm-password-reset", map[string]any{"token": token, "password": passphrase + "!", "passwordConfirm": passphrase + "!"})
	v.guest().must(t, 200, "POST", usersPath+"/auth-with-password", map[string]any{"identity": squatter.email, "password": passphrase + "!"})
}

// TestUsersVerifiedTakeover: nor when the owner first follows the link in a mail, and
// sets another password only later.
func TestUsersVerifiedTakeover(t *testing.T) {
	notUnderRace(t)
	v := newTown(t, withTOTP())
	squatter := v.join(t, "victim")
	key := squatter.addPasskey(t, "acme.example.com", tenantHost)
	mail := func(make func(*core.Record) (string, error)) string {
		r, err := v.app.FindRecordById("users", squatter.id)
		if err != nil {
			t.Fatal(err)
		}
		token, err := make(r)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	v.guest().must(t, 204, "POST", usersPath+"/confirm-verification", map[string]any{"token": mail((*core.Record).NewVerificationToken)})
	r, _ := show(t, v.guest(), key, "")
	wantCode(t, "the squatter's passkey once the address is verified", r, 400)
	v.guest().must(t, 204, "POST", usersPath+"/confirm-password-reset", map[string]any{"token": mail((*core.Record).NewPasswordResetToken),
		"password": passphrase + "!", "passwordConfirm": passphrase + "!"})
	r, _ = show(t, v.guest(), key, "")
	wantCode(t, "and after a new password", r, 400)
	v.guest().must(t, 200, "POST", usersPath+"/auth-with-password", map[string]any{"identity": squatter.email, "password": passphrase + "!"})
}

func TestUsersCrossNoWalls(t *testing.T) {
	notUnderRace(t)
	v := newTown(t, withTOTP())
	admin := adminOf(v.Store)
	admin.must(t, 200, "POST", "/api/collections", map[string]any{"name": "staff", "type": "auth", "createRule": ""})
	admin.must(t, 200, "PUT", "/api/v1/collections/staff/auth-policy", withTOTP())
	ada := v.join(t, "ada")
	ada.enrol(t)
	ada.must(t, 403, "POST", "/api/v1/collections/staff/totp", map[string]any{})
	id := ada.step(t)
	v.guest().must(t, 400, "POST", "/api/collections/staff/auth-with-totp", second(id, ada.code(t)))
	beta := data.StoreID{Tenant: "beta00000000000", Environment: data.Prod}
	if err := v.pool.Create(t.Context(), beta); err != nil {
		t.Fatal(err)
	}
	other := town{acquire(t, v.pool, beta), v.clock, v.noted}
	other.set(t, withTOTP())
	other.guest().must(t, 400, "POST", usersPath+"/auth-with-totp", second(id, ada.codeNow(t)))
	other.guest().must(t, 400, "POST", usersPath+"/request-passkey", map[string]any{"mfaId": id})
	v.guest().must(t, 200, "POST", usersPath+"/auth-with-totp", second(id, ada.code(t)))
}

func TestUsersOutliveTheStore(t *testing.T) {
	notUnderRace(t)
	v := newTown(t, withTOTP())
	ada := v.join(t, "ada")
	ada.enrol(t)
	image, err := v.image(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	copied := data.StoreID{Tenant: "copy00000000000", Environment: data.Prod}
	err = v.pool.Install(t.Context(), copied, func(ctx context.Context, _ string, target InstallTarget) error {
		return target.Pages(ctx, uint32(len(image)), func(pgno uint32, page []byte) error { copy(page, image[pgno-1]); return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	there := town{acquire(t, v.pool, copied), v.clock, v.noted}
	ada.v, ada.s = there, there.Store
	there.guest().must(t, 200, "POST", usersPath+"/auth-with-totp", second(ada.step(t), ada.code(t)))
}

// TestUsersAreRecordedOrRefused: what cannot be recorded does not happen.
func TestUsersAreRecordedOrRefused(t *testing.T) {
	v := newTown(t, withTOTP())
	ada := v.join(t, "ada")
	ada.must(t, 200, "POST", ownPath+"/totp", map[string]any{})
	v.noted.failing(errors.New("the log is full"))
	r := v.guest().must(t, 503, "POST", usersPath+"/auth-with-password", ada.password())
	if strings.Contains(string(r.body), "token") {
		t.Errorf("%s", r.body)
	}
	adminOf(v.Store).must(t, 503, "DELETE", ownPath+"/records/"+ada.id+"/factors", nil)
	adminOf(v.Store).must(t, 503, "PUT", ownPath+"/auth-policy", map[string]any{"totp": false})
	v.noted.failing(nil)
	ada.enrol(t)
}

func TestUserPolicies(t *testing.T) {
	v := newTown(t, nil)
	admin := adminOf(v.Store)
	for _, bad := range []map[string]any{{"secondFactor": "sometimes"}, {"secondFactor": "always"}, {"origins": []string{"app.example.com"}},
		{"origins": []string{"https://app.example.com/path"}}, {"password": map[string]any{"history": 11}}, {"attempts": map[string]any{"longestWait": 0}}, {"sessions": map[string]any{"maxAgeSeconds": -1}}} {
		admin.must(t, 400, "PUT", ownPath+"/auth-policy", bad)
	}
	admin.must(t, 404, "PUT", "/api/v1/collections/items/auth-policy", withTOTP())
	admin.must(t, 404, "PUT", "/api/v1/collections/nowhere/auth-policy", withTOTP())
	admin.must(t, 200, "PUT", ownPath+"/auth-policy", withTOTP())
	admin.must(t, 200, "PUT", ownPath+"/auth-policy", map[string]any{"password": map[string]any{"minLength": 10}}) // the rest stays
	p, err := v.UserPolicy(t.Context(), "users")
	if err != nil || !p.TOTP || p.Password.MinLength != 10 || !p.Sessions.EndOnChange {
		t.Error(p, err)
	}
	all, err := v.UserPolicies(t.Context())
	if err != nil || len(all) != 1 || !all["users"].TOTP {
		t.Error(all, err)
	}
	if err := v.SetUserPolicy(t.Context(), "users", UserPolicy{SecondFactor: "no"}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := v.FactorsOf(t.Context(), "users", "nobody"); !errors.Is(err, data.ErrNotFound) {
		t.Error(err)
	}
	if _, err := v.UserPolicy(t.Context(), "_superusers"); !errors.Is(err, data.ErrNotFound) {
		t.Error(err)
	}
}
