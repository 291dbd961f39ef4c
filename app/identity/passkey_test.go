package identity

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/app/api"
)

const (
	passkeySignIn = "/api/v1/session/passkey"
	here          = "localhost:8090"
	hereOrigin    = "http://" + here
)

// named is a browser that has the console open by a name.
func (h *house) named() *browser {
	b := h.browser()
	b.host = here
	return b
}

// enrolPasskey makes a passkey.
func (b *browser) enrolPasskey(a *authenticator) Enrolled {
	b.h.t.Helper()
	options := b.want(200, "POST", ownFactors+"/passkeys/options", "").Body.Bytes()
	return decode[Enrolled](b.h.t, b.want(201, "POST", ownFactors+"/passkeys", jsonBody(b.h.t, NewPasskey{Name: "laptop", Passkey: a.make(options)})))
}

// showPasskey signs in with it, alone or after the password.
func (b *browser) showPasskey(a *authenticator) *httptest.ResponseRecorder {
	b.h.t.Helper()
	options := b.want(200, "POST", passkeySignIn, "").Body.Bytes()
	return b.send("POST", factorPath, jsonBody(b.h.t, Shown{Passkey: a.show(options)}))
}

// withPasskey is an owner with a passkey.
func withPasskey(t *testing.T) (*house, *browser, *authenticator) {
	h := newHouse(t)
	h.owner("ada@example.com")
	mine, a := h.named().signIn("ada@example.com"), newAuthenticator(t, "localhost", hereOrigin)
	equal(t, "recovery codes with the first", len(mine.enrolPasskey(a).RecoveryCodes), recoveryCodeCount)
	return h, mine, a
}

func TestPasskeyAloneSignsIn(t *testing.T) {
	h, mine, a := withPasskey(t)
	b := h.named()
	w := b.showPasskey(a)
	equal(t, "status", w.Code, 201)
	equal(t, "who", decode[Me](t, w).Person.Email, "ada@example.com")
	b.want(200, "GET", "/api/v1/session", "")
	list := decode[api.Page[SignIn]](t, mine.want(200, "GET", "/api/v1/session/sign-ins", ""))
	equal(t, "method", list.Items[0].Method, ByPasskey)
	f := decode[Factors](t, mine.want(200, "GET", ownFactors, ""))
	equal(t, "passkeys", len(f.Passkeys), 1)
	equal(t, "name", f.Passkeys[0].Name, "laptop")
	equal(t, "used", f.Passkeys[0].LastUsed != nil, true)
	mine.want(204, "PATCH", ownFactors+"/passkeys/"+f.Passkeys[0].ID, `{"name":"old laptop"}`)
	mine.want(404, "PATCH", ownFactors+"/passkeys/none", `{"name":"x"}`)
	mine.want(204, "DELETE", ownFactors+"/passkeys/"+f.Passkeys[0].ID, "")
	b.want(401, "GET", "/api/v1/session", "") // a change of factors ends the others
	equal(t, "a removed one", h.named().showPasskey(a).Code, 422)
}

func TestPasskeyAsSecondFactor(t *testing.T) {
	h, _, a := withPasskey(t)
	b := h.named()
	equal(t, "asked for", strings.Join(b.password("ada@example.com").Factors, " "), "passkey recovery-code")
	a.uv = false // a key to touch is enough beside a password
	equal(t, "status", b.showPasskey(a).Code, 201)
	equal(t, "alone it has to know its owner", h.named().showPasskey(a).Code, 422)
}

func TestPasskeyOfAnotherPersonIsNoSecondFactor(t *testing.T) {
	h, _, _ := withPasskey(t)
	h.owner("eve@example.com")
	eves := newAuthenticator(t, "localhost", hereOrigin)
	h.named().signIn("eve@example.com").enrolPasskey(eves)
	b := h.named()
	b.password("ada@example.com")
	equal(t, "status", b.showPasskey(eves).Code, 422)
	forged := newAuthenticator(t, "localhost", hereOrigin)
	forged.handle = eves.handle // says that it is Eve's
	equal(t, "a key of one's own making", h.named().showPasskey(forged).Code, 422)
	forged.id = eves.id
	equal(t, "with the id of hers", h.named().showPasskey(forged).Code, 422)
}

// TestPasskeyOfAnotherOrigin: a tenant's page below our host could ask an
// authenticator for one of our passkeys; what it gets says where it was asked.
func TestPasskeyOfAnotherOrigin(t *testing.T) {
	h, mine, a := withPasskey(t)
	for _, origin := range []string{"http://acme.localhost:8090", "http://localhost:9999", "https://localhost:8090", "http://evil.example", ""} {
		a.origin = origin
		equal(t, origin, h.named().showPasskey(a).Code, 422)
	}
	a.origin, a.host = hereOrigin, "acme.localhost"
	equal(t, "of another host", h.named().showPasskey(a).Code, 422)
	a.host = "localhost"
	other := h.browser()
	other.host = "box.example"
	a.origin = "http://box.example"
	equal(t, "at another host", other.showPasskey(a).Code, 422)
	options := mine.want(200, "POST", ownFactors+"/passkeys/options", "").Body.Bytes()
	foreign := newAuthenticator(t, "localhost", "http://acme.localhost:8090")
	mine.want(422, "POST", ownFactors+"/passkeys", jsonBody(t, NewPasskey{Name: "x", Passkey: foreign.make(options)}))
}

func TestPasskeyAnswerIsGoodOnce(t *testing.T) {
	h, _, a := withPasskey(t)
	b := h.named()
	options := b.want(200, "POST", passkeySignIn, "").Body.Bytes()
	answer := jsonBody(t, Shown{Passkey: a.show(options)})
	cookie := b.cookies[pendingCookieName]
	b.want(201, "POST", factorPath, answer)
	thief := h.named()
	thief.cookies[pendingCookieName] = cookie
	thief.want(401, "POST", factorPath, answer)
	thief = h.named()
	thief.want(200, "POST", passkeySignIn, "") // another challenge
	thief.want(422, "POST", factorPath, answer)
	thief.want(422, "POST", factorPath, answer) // no challenge is left
}

func TestCopiedPasskeyIsNoticed(t *testing.T) {
	h, _, a := withPasskey(t)
	a.counter = 5
	equal(t, "the owner", h.named().showPasskey(a).Code, 201)
	a.counter = 2
	equal(t, "the copy", h.named().showPasskey(a).Code, 422)
	noticed := false
	for _, e := range h.log.events {
		noticed = noticed || strings.Contains(e, "factor.cloned")
	}
	equal(t, "recorded", noticed, true)
}

func TestLockedPersonsPasskey(t *testing.T) {
	h, _, a := withPasskey(t)
	h.lock("ada@example.com")
	equal(t, "code", codeOf(t, h.named().showPasskey(a)), "bad-credentials")
}

func TestPasskeysNeedAName(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com") // at 127.0.0.1
	equal(t, "here", decode[Factors](t, b.want(200, "GET", ownFactors, "")).PasskeysHere, false)
	equal(t, "code", codeOf(t, b.want(422, "POST", ownFactors+"/passkeys/options", "")), "no-passkeys-here")
}

func TestStepUpWithAPasskey(t *testing.T) {
	h, mine, a := withPasskey(t)
	h.clock.add(FreshFor)
	mine.want(403, "POST", ownFactors+"/recovery-codes", "")
	options := mine.want(200, "POST", stepUpPath+"/passkey", "").Body.Bytes()
	answer := jsonBody(t, StepUp{Shown: Shown{Passkey: a.show(options)}})
	mine.want(204, "POST", stepUpPath, answer)
	mine.want(422, "POST", stepUpPath, answer)
	mine.want(201, "POST", ownFactors+"/recovery-codes", "")
}

func TestMalformedPasskeys(t *testing.T) {
	h, _, a := withPasskey(t)
	b := h.named()
	for _, junk := range []string{`{}`, `[]`, `"x"`, `1`, `{"id":"x","type":"public-key","response":{}}`, strings.Repeat(`[`, 100)} {
		options := b.want(200, "POST", passkeySignIn, "").Body.Bytes()
		_ = options
		w := b.send("POST", factorPath, `{"passkey":`+junk+`}`)
		if w.Code >= 500 || w.Code == 201 {
			t.Errorf("%.30s: %d", junk, w.Code)
		}
	}
	_ = a
}

func TestFloodOfChallengesTakesLittle(t *testing.T) {
	ps := newPendings(time.Now)
	for range mostPending + 100 {
		ps.put(newToken(), pending{})
	}
	if len(ps.byName) > mostPending {
		t.Fatalf("%d are kept", len(ps.byName))
	}
	h := newHouse(t)
	b := h.named()
	last := 0
	for range challengePolicy.Free + 2 {
		b.cookies = map[string]string{}
		last = b.send("POST", passkeySignIn, "").Code
	}
	equal(t, "one address in the end", last, http.StatusTooManyRequests)
}

func FuzzPasskey(f *testing.F) {
	a := newAuthenticator(f, "localhost", hereOrigin)
	f.Add([]byte(a.show([]byte(`{"publicKey":{"challenge":"AAAA"}}`))))
	f.Add([]byte(`{"id":"AA","rawId":"AA","type":"public-key","response":{"authenticatorData":"AA","clientDataJSON":"e30","signature":"AA"}}`))
	h := newHouse(f)
	r := httptest.NewRequest("POST", factorPath, nil)
	r.Host = here
	_, challenge, err := h.askPasskey(r, "")
	must(f, err)
	f.Fuzz(func(t *testing.T, answer []byte) {
		if who, _, err := h.checkPasskey(r, challenge, json.RawMessage(answer)); who != "" || err != nil {
			t.Fatalf("%q is %q, %v", answer, who, err)
		}
	})
}
