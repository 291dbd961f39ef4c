// Package issuertest is an issuer of OpenID Connect for tests, which can be made to
// lie. It also answers as a GitHub Enterprise host does.
package issuertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// What every issuer here knows its client by.
const (
	ClientID = "holdfast"
	Secret   = "a secret of the client"
)

// Issuer is one issuer on loopback. Its methods are safe for concurrent use.
type Issuer struct {
	URL    string
	server *httptest.Server
	key    *ecdsa.PrivateKey

	mu     sync.Mutex
	now    func() time.Time
	person map[string]any
	bend   func(claims map[string]any)
	meta   func(m map[string]any)
	info   map[string]any
	emails []map[string]any
	down   bool
	codes  map[string]url.Values // what was asked for, by code
	asked  int
}

// New starts one. Close it.
func New() *Issuer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // the system's randomness failed
	}
	i := &Issuer{key: key, codes: map[string]url.Values{}, now: time.Now,
		person: map[string]any{"sub": "subject-1", "email": "olga@example.com", "email_verified": true, "name": "Olga Owner"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.discovery)
	mux.HandleFunc("GET /keys", i.keys)
	mux.HandleFunc("GET /authorize", i.authorize)
	mux.HandleFunc("POST /token", i.token)
	mux.HandleFunc("GET /userinfo", i.userinfo)
	mux.HandleFunc("GET /login/oauth/authorize", i.authorize)
	mux.HandleFunc("POST /login/oauth/access_token", i.gitHubToken)
	mux.HandleFunc("GET /api/v3/user", i.gitHubUser)
	mux.HandleFunc("GET /api/v3/user/emails", i.gitHubEmails)
	i.server = httptest.NewServer(i.upOrDown(mux))
	i.URL = i.server.URL
	return i
}

// Close ends it.
func (i *Issuer) Close() { i.server.Close() }

// At has it live by another clock.
func (i *Issuer) At(now func() time.Time) { i.set(func() { i.now = now }) }

// Is says who signs in from now on, in claims that replace earlier ones; nil takes one
// away.
func (i *Issuer) Is(claims map[string]any) {
	i.set(func() {
		i.person = maps.Clone(i.person)
		for name, v := range claims {
			if v == nil {
				delete(i.person, name)
			} else {
				i.person[name] = v
			}
		}
	})
}

// Bend changes each ID token before it is signed; nil for no more.
func (i *Issuer) Bend(how func(claims map[string]any)) { i.set(func() { i.bend = how }) }

// Says changes what discovery says of it.
func (i *Issuer) Says(how func(m map[string]any)) { i.set(func() { i.meta = how }) }

// Tells is what its userinfo endpoint answers.
func (i *Issuer) Tells(info map[string]any) { i.set(func() { i.info = info }) }

// Emails are what a GitHub account has.
func (i *Issuer) Emails(all ...map[string]any) { i.set(func() { i.emails = all }) }

// Down has it answer 503, or no longer.
func (i *Issuer) Down(down bool) { i.set(func() { i.down = down }) }

// Asked counts the requests so far.
func (i *Issuer) Asked() int { i.mu.Lock(); defer i.mu.Unlock(); return i.asked }

func (i *Issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *Issuer) upOrDown(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		down := i.down
		i.asked++
		i.mu.Unlock()
		if down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (i *Issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	m := map[string]any{
		"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/keys",
		"userinfo_endpoint": i.URL + "/userinfo", "id_token_signing_alg_values_supported": []string{"ES256"},
		"authorization_response_iss_parameter_supported": true,
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.meta != nil {
		i.meta(m)
	}
	answer(w, http.StatusOK, m)
}

func (i *Issuer) keys(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
}

// authorize asks nobody: whoever comes is the person.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	code := rand.Text()
	i.set(func() { i.codes[code] = q })
	back := url.Values{"code": {code}, "state": {q.Get("state")}}
	if r.URL.Path == "/authorize" {
		back.Set("iss", i.URL)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// trade takes a code away; its verifier and its way back must be those that it was
// given for.
func (i *Issuer) trade(r *http.Request) (asked url.Values, why string) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	} else {
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
	}
	if id != ClientID || secret != Secret {
		return nil, "invalid_client"
	}
	code := r.PostFormValue("code")
	i.set(func() { asked = i.codes[code]; delete(i.codes, code) })
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if asked == nil || asked.Get("redirect_uri") != r.PostFormValue("redirect_uri") || asked.Get("code_challenge_method") != "S256" ||
		asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
		return nil, "invalid_grant"
	}
	return asked, ""
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	asked, why := i.trade(r)
	if why != "" {
		answer(w, http.StatusBadRequest, map[string]any{"error": why})
		return
	}
	answer(w, http.StatusOK, map[string]any{"access_token": "access", "token_type": "Bearer", "expires_in": 60, "id_token": i.idToken(asked)})
}

func (i *Issuer) idToken(asked url.Values) string {
	i.mu.Lock()
	now := i.now()
	claims := map[string]any{"iss": i.URL, "aud": ClientID, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "nonce": asked.Get("nonce")}
	if asked.Get("max_age") == "0" {
		claims["auth_time"] = now.Unix()
	}
	maps.Copy(claims, i.person)
	bend := i.bend
	i.mu.Unlock()
	if bend != nil {
		bend(claims)
	}
	return i.Sign(claims)
}

// Sign makes an ID token of claims.
func (i *Issuer) Sign(claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: "1"}}, nil)
	if err != nil {
		panic(err) // the key is one for it
	}
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err) // a test's mistake
	}
	signed, err := signer.Sign(text)
	if err != nil {
		panic(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return out
}

func (i *Issuer) userinfo(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	answer(w, http.StatusOK, i.info)
}

func (i *Issuer) gitHubToken(w http.ResponseWriter, r *http.Request) {
	if _, why := i.trade(r); why != "" {
		why = map[string]string{"invalid_client": "incorrect_client_credentials", "invalid_grant": "bad_verification_code"}[why]
		answer(w, http.StatusOK, map[string]any{"error": why}) // GitHub says so with a 200
		return
	}
	answer(w, http.StatusOK, map[string]any{"access_token": "access", "token_type": "bearer"})
}

func (i *Issuer) gitHubUser(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.Header.Get("Authorization"), " access") {
		answer(w, http.StatusUnauthorized, map[string]any{})
		return
	}
	answer(w, http.StatusOK, map[string]any{"id": 583231, "login": "olga", "name": "Olga Owner"})
}

func (i *Issuer) gitHubEmails(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	answer(w, http.StatusOK, i.emails)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the test has gone
}

// Go does as a browser that is sent to an address of the issuer, and gives what comes
// back with it.
func (i *Issuer) Go(address string) (url.Values, error) {
	client := &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(address)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	u, err := resp.Location()
	if err != nil {
		return nil, err
	}
	return u.Query(), nil
}
