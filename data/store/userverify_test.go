package store

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pocketbase/pocketbase/core"
)

// verification is the token of the mail that a user verifies the address with.
func (p *townsman) verification(t testing.TB) string {
	t.Helper()
	r, err := p.v.app.FindRecordById("users", p.id)
	if err != nil {
		t.Fatal(err)
	}
	token, err := r.NewVerificationToken()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestUsersVerifyWhatIsTheirs: who proves an address and shows neither the password nor
// a token of the account gets it without what a stranger may have set before.
func TestUsersVerifyWhatIsTheirs(t *testing.T) {
	notUnderRace(t)
	v := newTown(t, withTOTP())
	for _, c := range []struct {
		name   string
		body   map[string]any
		signed bool
		answer int // to the verification
		keeps  bool
	}{
		{name: "stranger", answer: 204},
		{name: "wrong", body: map[string]any{"password": "not the password"}, answer: 400, keeps: true},
		{name: "knows", body: map[string]any{"password": passphrase}, answer: 204, keeps: true},
		{name: "signed", signed: true, answer: 204, keeps: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := v.join(t, c.name)
			who := v.guest()
			if c.signed {
				who.token = p.token
			}
			body := map[string]any{"token": p.verification(t)}
			for k, value := range c.body {
				body[k] = value
			}
			who.must(t, c.answer, "POST", usersPath+"/confirm-verification", body)
			password, token := 400, 401
			if c.keeps {
				password, token = 200, 200
			}
			v.guest().must(t, password, "POST", usersPath+"/auth-with-password", p.password())
			p.must(t, token, "POST", usersPath+"/auth-refresh", nil)
			adds := 401
			if c.keeps {
				adds = 200
			}
			p.must(t, adds, "POST", ownPath+"/totp", map[string]any{})
		})
	}
	t.Run("another's token", func(t *testing.T) {
		p, other := v.join(t, "mia"), v.join(t, "eve")
		other.must(t, 204, "POST", usersPath+"/confirm-verification", map[string]any{"token": p.verification(t)})
		v.guest().must(t, 400, "POST", usersPath+"/auth-with-password", p.password())
	})
	t.Run("switched off", func(t *testing.T) {
		v.set(t, map[string]any{"keepUnproven": true})
		p := v.join(t, "old")
		v.guest().must(t, 204, "POST", usersPath+"/confirm-verification", map[string]any{"token": p.verification(t)})
		v.guest().must(t, 200, "POST", usersPath+"/auth-with-password", p.password())
	})
}

// TestUsersVerifiedByCode: a code by mail proves the address as well, with PocketBase's
// own MFA and without.
func TestUsersVerifiedByCode(t *testing.T) {
	notUnderRace(t)
	v := newTown(t, withTOTP())
	for i, c := range []struct{ mfa, after, keeps bool }{{false, false, false}, {true, false, false}, {true, true, true}} {
		adminOf(v.Store).must(t, 200, "PATCH", usersPath, map[string]any{"otp": map[string]any{"enabled": true, "duration": 300, "length": 8},
			"mfa": map[string]any{"enabled": false, "duration": 300}})
		p := v.join(t, fmt.Sprintf("user%d", i))
		adminOf(v.Store).must(t, 200, "PATCH", usersPath, map[string]any{"mfa": map[string]any{"enabled": c.mfa, "duration": 300}})
		body := map[string]any{"otpId": p.otp(t), "password": "12345678"}
		if c.after {
			body["mfaId"] = p.step(t)
		}
		r := v.guest().do("POST", usersPath+"/auth-with-otp", body)
		if want := map[bool]int{true: 401, false: 200}[c.mfa && !c.after]; r.code != want {
			t.Fatalf("%+v: %d %s", c, r.code, r.body)
		}
		now, err := v.app.FindRecordById("users", p.id)
		if err != nil {
			t.Fatal(err)
		}
		if !now.Verified() || now.ValidatePassword(passphrase) != c.keeps {
			t.Errorf("%+v: verified %v, password kept %v", c, now.Verified(), now.ValidatePassword(passphrase))
		}
	}
}

// otp is a code that was sent to the user's address.
func (p *townsman) otp(t testing.TB) string {
	t.Helper()
	r, err := p.v.app.FindRecordById("users", p.id)
	if err != nil {
		t.Fatal(err)
	}
	otp := core.NewOTP(p.v.app)
	otp.SetCollectionRef(r.Collection().Id)
	otp.SetRecordRef(r.Id)
	otp.SetPassword("12345678")
	otp.SetSentTo(p.email)
	save(t, p.v.Store, otp)
	return otp.Id
}

// TestUsersPatienceWithServers: a program's key is no way to guess without end, and no
// user of it makes the others wait where it says who they are.
func TestUsersPatienceWithServers(t *testing.T) {
	v := newTown(t, map[string]any{"attempts": map[string]any{"account": 0, "address": 2, "longestWait": 60}})
	ada := v.join(t, "ada")
	server := keyCaller(v.Store, "k", Reach{Scope: Write})
	try := func(client, identity, password string) int {
		t.Helper()
		raw, _ := json.Marshal(map[string]any{"identity": identity, "password": password})
		req := httptest.NewRequest("POST", usersPath+"/auth-with-password", strings.NewReader(string(raw))).WithContext(server.ctx)
		req.Header.Set("Content-Type", "application/json")
		if client != "" {
			req.Header.Set("Holdfast-Client-Address", client)
		}
		w := httptest.NewRecorder()
		v.Store.ServeHTTP(w, req)
		return w.Code
	}
	for i := range 4 { // another account each time
		if got, want := try("198.51.100.7", fmt.Sprintf("a%d@example.com", i), "wrong"), []int{400, 400, 429, 429}[i]; got != want {
			t.Fatalf("try %d of one client: %d, want %d", i, got, want)
		}
	}
	if got := try("198.51.100.8", ada.email, passphrase); got != 200 {
		t.Errorf("another client of the same server: %d", got)
	}
	waits := 0
	for i := range 45 {
		if try("", fmt.Sprintf("b%d@example.com", i), "wrong") == 429 {
			waits++
		}
	}
	if waits == 0 || waits > 10 {
		t.Errorf("a server that does not say who comes waited %d times of 45", waits)
	}
	if got := try("not an address", ada.email, passphrase); got != 429 {
		t.Errorf("a header that is none: %d", got)
	}
	if got := v.guest().do("POST", usersPath+"/auth-with-password", ada.password()); got.code != 200 {
		t.Errorf("a user of that very address without the key: %d", got.code)
	}
}

// TestUsersCodesAreRecorded: that somebody asked for a code, but not whether there is
// such a user.
func TestUsersCodesAreRecorded(t *testing.T) {
	v := newTown(t, withTOTP())
	adminOf(v.Store).must(t, 200, "PATCH", usersPath, map[string]any{"otp": map[string]any{"enabled": true, "duration": 300, "length": 8}})
	ada := v.join(t, "ada")
	var first string
	for _, email := range []string{ada.email, "nobody@example.com"} {
		v.noted.mu.Lock()
		v.noted.all = nil
		v.noted.mu.Unlock()
		v.guest().must(t, 200, "POST", usersPath+"/request-otp", map[string]any{"email": email})
		v.noted.mu.Lock()
		got := strings.Join(v.noted.all, "\n")
		v.noted.mu.Unlock()
		if first == "" {
			first = got
		}
		if got != first || !strings.HasPrefix(got, "user.code.ask users by ") {
			t.Errorf("%s: %q", email, got)
		}
	}
	v.noted.failing(fmt.Errorf("full"))
	v.guest().must(t, 503, "POST", usersPath+"/request-otp", map[string]any{"email": ada.email})
}
