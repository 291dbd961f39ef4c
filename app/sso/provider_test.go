package sso

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/app/sso/issuertest"
)

func TestWhoseAddressItIs(t *testing.T) {
	for _, c := range []struct {
		what string
		row  row
		c    claims
		want bool
	}{
		{"verified", row{Kind: OIDC}, claims{Email: "a@x.org", EmailVerified: true}, true},
		{"not verified", row{Kind: OIDC}, claims{Email: "a@x.org"}, false},
		{"none", row{Kind: OIDC}, claims{EmailVerified: true}, false},
		{"gmail", row{Kind: Google}, claims{Email: "a@gmail.com", EmailVerified: true}, true},
		{"workspace", row{Kind: Google}, claims{Email: "a@x.org", EmailVerified: true, HostedDomain: "x.org"}, true},
		{"foreign address at Google", row{Kind: Google}, claims{Email: "a@x.org", EmailVerified: true}, false},
		{"any address at Microsoft", row{Kind: Microsoft, DomainsJS: "[]"}, claims{Email: "a@x.org", EmailVerified: true}, false},
		{"the domain's owner", row{Kind: Microsoft, DomainsJS: "[]"}, claims{Email: "a@x.org", DomainOwner: true}, true},
		{"the directory's domain", row{Kind: Microsoft, DomainsJS: `["x.org"]`}, claims{Email: "a@x.org"}, true},
	} {
		equal(t, c.what, c.row.owns(c.c), c.want)
	}
}

func TestSecondFactorOfAProvider(t *testing.T) {
	for _, c := range []struct {
		row  row
		c    claims
		want bool
	}{
		{row{MFA: true}, claims{AMR: []string{"mfa"}}, true},
		{row{}, claims{AMR: []string{"mfa"}}, false}, // not trusted
		{row{MFA: true}, claims{AMR: []string{"pwd", "otp"}}, true},
		{row{MFA: true}, claims{AMR: []string{"pwd", "pin"}}, false}, // both are known
		{row{MFA: true}, claims{AMR: []string{"pwd"}}, false},
		{row{MFA: true}, claims{AMR: []string{"unheard-of", "pwd"}}, false},
		{row{MFA: true, MFAACR: "gold"}, claims{ACR: "gold"}, true},
		{row{MFA: true, MFAACR: "gold"}, claims{ACR: "silver"}, false},
		{row{MFA: true}, claims{}, false},
	} {
		equal(t, strings.Join(c.c.AMR, "+")+c.c.ACR, c.row.strong(c.c), c.want)
	}
	w := newWorld(t)
	w.withProvider("company", Appliance, func(r *row) { r.MFA = true })
	w.issuer.Is(map[string]any{"amr": []string{"pwd", "hwk"}, "auth_time": w.clock.Now().Add(-time.Hour).Unix()})
	w.browser().in("company")
	v := w.people.signedIn[0]
	equal(t, "strong", v.Strong, true)
	equal(t, "fresh an hour ago", v.Fresh.Before(w.clock.Now().Add(-59*time.Minute)), true)
}

func TestJustInTime(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance, func(r *row) { r.setDomains([]string{"@Example.com"}); r.Role = "support" })
	w.withProvider("strict", Appliance)
	w.issuer.Is(map[string]any{"sub": "new", "email": "nina@example.com"})
	b := w.browser()
	b.finish(403, "no-account", b.begin("strict"))
	equal(t, "person", w.browser().in("company"), "new-nina@example.com")
	equal(t, "made", strings.Join(w.people.made, ";"), "nina@example.com support appliance")
	w.issuer.Is(map[string]any{"sub": "newer", "email": "eve@example.com.evil.org"})
	b.finish(403, "domain-not-allowed", b.begin("company"))
	w.issuer.Is(map[string]any{"sub": "newest", "email": "mail@example.com", "email_verified": false})
	b.finish(403, "mail-not-verified", b.begin("company"))
	equal(t, "made", len(w.people.made), 1)
}

// TestATenantsProviderKeepsToItsPeople: its admins can have it say anything, so it
// signs nobody in who may something elsewhere.
func TestATenantsProviderKeepsToItsPeople(t *testing.T) {
	w := newWorld(t)
	w.withProvider("acme-own", "t-acme", func(r *row) { r.setDomains([]string{"example.com"}) })
	w.people.add("member", "member@example.com", "t-acme")
	w.people.add("both", "both@example.com", "t-acme", "t-beta")
	w.people.add("stranger", "stranger@example.com", "t-beta")
	for email, code := range map[string]string{"olga@example.com": "no-account", "both@example.com": "roles-elsewhere", "stranger@example.com": "no-account"} {
		w.issuer.Is(map[string]any{"sub": email, "email": email})
		b := w.browser()
		b.finish(403, code, b.begin("acme-own"))
	}
	w.issuer.Is(map[string]any{"sub": "member", "email": "member@example.com"})
	equal(t, "member", w.browser().in("acme-own"), "member")
	w.people.change("member", func(p *Person) { p.Scopes = append(p.Scopes, Appliance) }) // became an operator
	b := w.browser()
	b.finish(403, "roles-elsewhere", b.begin("acme-own"))
	b.as = "both"
	b.want(403, "roles-elsewhere", "POST", "/api/v1/session/links/acme-own", Begin{})
	w.people.change("olga", func(p *Person) { p.Active = false })
	w.withProvider("company", Appliance)
	w.issuer.Is(map[string]any{"sub": "olga", "email": "olga@example.com"})
	b = w.browser()
	b.finish(401, "not-active", b.begin("company"))
}

func TestProvidersOverREST(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	const path = "/api/v1/identity-providers"
	n := NewProvider{ID: "company", Kind: OIDC, Issuer: w.issuer.URL, ClientID: issuertest.ClientID, ClientSecret: issuertest.Secret}
	made := decode[Provider](t, b.want(201, "", "POST", path, n))
	equal(t, "redirect", made.Redirect, "http://127.0.0.1:8090/api/v1/sso/company/callback")
	b.want(409, "exists", "POST", path, n)
	for _, address := range []string{path, path + "/company", "/api/v1/sso"} {
		if body := b.want(200, "", "GET", address, nil).Body.String(); strings.Contains(body, issuertest.Secret) || !strings.Contains(body, "company") {
			t.Fatal(body)
		}
	}
	for _, e := range w.log.events {
		for _, v := range e.Detail {
			if strings.Contains(v, issuertest.Secret) {
				t.Fatal("the secret is in the log")
			}
		}
	}
	equal(t, "test", decode[Tried](t, b.want(200, "", "POST", path+"/company/test", nil)).OK, true)
	wrong := "wrong"
	b.want(200, "", "PATCH", path+"/company", ProviderChange{ClientSecret: &wrong})
	equal(t, "with a wrong secret", decode[Tried](t, b.want(200, "", "POST", path+"/company/test", nil)).OK, false)
	b.finish(502, "provider-refuses-us", b.begin("company"))

	// A tenant's is nothing elsewhere, and its id tells whose it is.
	n.ID, n.Domains = "own", []string{"example.com"}
	equal(t, "id", decode[Provider](t, b.want(201, "", "POST", "/api/v1/tenants/acme/identity-providers", n)).ID, "acme-own")
	b.want(404, "not-found", "GET", path+"/acme-own", nil)
	b.want(404, "not-found", "DELETE", "/api/v1/tenants/beta/identity-providers/acme-own", nil)
	equal(t, "ways", len(decode[Ways](t, b.want(200, "", "GET", "/api/v1/sso", nil)).Providers), 1)
	equal(t, "with the tenant's", len(decode[Ways](t, b.want(200, "", "GET", "/api/v1/sso?tenant=acme", nil)).Providers), 2)
	must(t, w.EndTenant(t.Context(), "t-acme"))
	b.want(204, "", "DELETE", path+"/company", nil)
	equal(t, "ways", len(decode[Ways](t, b.want(200, "", "GET", "/api/v1/sso?tenant=acme", nil)).Providers), 0)
	w.people.mayNot = api.ErrForbidden
	b.want(403, "forbidden", "POST", path, NewProvider{ID: "x", Kind: Google, ClientID: "x", ClientSecret: "x"})
}

func TestSettingsThatAreRefused(t *testing.T) {
	good := NewProvider{ID: "company", Name: "Company", Kind: OIDC, Issuer: "https://login.example.org", ClientID: "x", ClientSecret: "x"}
	for field, change := range map[string]func(*NewProvider){
		"id":           func(n *NewProvider) { n.ID = "../x" },
		"kind":         func(n *NewProvider) { n.Kind = "facebook" },
		"clientId":     func(n *NewProvider) { n.ClientID = "" },
		"clientSecret": func(n *NewProvider) { n.ClientSecret = " " },
		"role":         func(n *NewProvider) { n.Role, n.Domains = "owner", []string{"x.org"} },
		"domains":      func(n *NewProvider) { n.Role = "support" },
		"mfa":          func(n *NewProvider) { n.Kind, n.Issuer, n.MFA = GitHub, "", true },
	} {
		n := good
		change(&n)
		wrong := n.row(Appliance).check(false)
		if len(wrong) == 0 || wrong[0].Field != field {
			t.Errorf("%s: %v", field, wrong)
		}
	}
	for issuer, kind := range map[string]string{
		"http://login.example.org": OIDC, "http://127.0.0.1:1": OIDC, "ftp://x": OIDC, "https://a:b@login.example.org": OIDC, "https://x/?a=b": OIDC, "": OIDC,
		"https://login.microsoftonline.com/common/v2.0": Microsoft, "https://login.example.org": Microsoft, "https://accounts.google.com.evil.org": Google,
	} {
		n := good
		n.Issuer, n.Kind = issuer, kind
		r := n.row(Appliance)
		r.Issuer = issuer
		if wrong := r.check(false); len(wrong) != 1 || wrong[0].Field != "issuer" {
			t.Errorf("%s %q: %v", kind, issuer, wrong)
		}
	}
	if wrong := good.row(Appliance).check(false); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

// TestTheWayOutIsNarrow: https only, public addresses for tenants, no redirects, and
// answers that end.
func TestTheWayOutIsNarrow(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		line := strings.Repeat("x", 1<<16)
		for range 2 * maxAnswer / len(line) {
			if _, err := w.Write([]byte(line)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(endless.Close)
	ask := func(o outside, scope, address string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var into any
		return getJSON(ctx, o.client(scope), address, "", &into)
	}
	open, shut := newOutside(true), newOutside(false)
	t.Cleanup(open.close)
	t.Cleanup(shut.close)
	if err := ask(shut, Appliance, endless.URL); !errors.Is(err, ErrNotSecure) {
		t.Fatal(err)
	}
	if err := ask(open, Appliance, "http://192.0.2.1/"); !errors.Is(err, ErrNotSecure) {
		t.Fatal(err)
	}
	if err := ask(shut, "t-acme", "https"+strings.TrimPrefix(endless.URL, "http")); err == nil || !strings.Contains(err.Error(), "prohibited") && !strings.Contains(err.Error(), "not permitted") && !strings.Contains(err.Error(), "ssrf") {
		t.Fatal(err)
	}
	if err := ask(open, "t-acme", endless.URL+"/elsewhere"); err == nil || err.Error() != "status 302" {
		t.Fatal(err)
	}
	resp, err := open.client(Appliance).Get(endless.URL)
	must(t, err)
	defer resp.Body.Close()
	if n, err := copyAll(resp); !errors.Is(err, errTooLong) || n > maxAnswer {
		t.Fatal(n, err)
	}
}

func copyAll(resp *http.Response) (n int, err error) {
	buf := make([]byte, 1<<15)
	for {
		m, err := resp.Body.Read(buf)
		n += m
		if err != nil {
			return n, err
		}
	}
}

func TestPolicy(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.as = "olga"
	const path = "/api/v1/policies/single-sign-on"
	w.people.mayNot = api.ErrForbidden
	b.want(403, "forbidden", "PUT", path, Policy{true})
	w.people.mayNot = nil
	b.want(409, "no-provider", "PUT", path, Policy{true})
	w.withProvider("company", Appliance)
	b.want(409, "come-through-it-first", "PUT", path, Policy{true})
	equal(t, "enforced", w.people.enforced, 0)
	w.people.came = true
	w.people.owners = []string{"olga"}
	b.want(409, "no-owner-linked", "PUT", path, Policy{true})
	w.browser().in("company") // now olga is linked
	w.people.mayNot = api.ErrForbidden
	b.want(403, "forbidden", "PUT", path, Policy{true})
	b.want(403, "forbidden", "DELETE", "/api/v1/identity-providers/company", nil)
	w.people.mayNot = nil
	b.want(200, "", "PUT", path, Policy{true})
	equal(t, "enforced", w.people.enforced, 1)
	equal(t, "only", w.Only(Appliance), true)
	equal(t, "passwords", decode[Ways](t, b.want(200, "", "GET", "/api/v1/sso", nil)).Passwords, false)
	b.want(409, "last-way-in", "DELETE", "/api/v1/identity-providers/company", nil)
	b.want(200, "", "PUT", "/api/v1/tenants/acme/policies/single-sign-on", Policy{true})
	equal(t, "acme", w.Only("t-acme"), true)
	equal(t, "beta", w.Only("t-beta"), false)
	b.want(200, "", "PUT", path, Policy{})
	b.want(409, "last-way-in", "DELETE", "/api/v1/identity-providers/company", nil) // acme still needs it
	b.want(200, "", "PUT", "/api/v1/tenants/acme/policies/single-sign-on", Policy{})
	b.want(409, "last-way-in", "DELETE", "/api/v1/identity-providers/company", nil) // olga has nothing else
	w.people.other = true
	b.want(204, "", "DELETE", "/api/v1/identity-providers/company", nil)
}

// TestAnswersGolden reads answers as the providers' documentation shows them.
func TestAnswersGolden(t *testing.T) {
	for _, name := range []string{"google", "microsoft", "keycloak"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		must(t, err)
		c, err := parseClaims(b)
		must(t, err)
		golden(t, name, c)
	}
	user, err := os.ReadFile("testdata/github-user.json")
	must(t, err)
	emails, err := os.ReadFile("testdata/github-emails.json")
	must(t, err)
	c, err := parseGitHub(user, emails)
	must(t, err)
	golden(t, "github", c)
}

func golden(t *testing.T, name string, c claims) {
	t.Helper()
	got, err := json.MarshalIndent(c, "", " ")
	must(t, err)
	file := filepath.Join("testdata", name+".golden")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		must(t, os.WriteFile(file, append(got, '\n'), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	equal(t, name, string(got)+"\n", string(want))
}

func FuzzParseClaims(f *testing.F) {
	f.Add([]byte(`{"sub":"1","email":"A@x.org","email_verified":"true","amr":["mfa"]}`))
	f.Add([]byte(`{"sub":1}`))
	f.Add([]byte(`{"sub":"1","email_verified":1,"xms_edov":"1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseClaims(b)
		if err == nil && (c.Subject == "" || len(c.Subject) > maxSubject || c.Email != strings.ToLower(c.Email)) {
			t.Fatalf("%+v", c)
		}
	})
}

func FuzzParseGitHub(f *testing.F) {
	f.Add([]byte(`{"id":1,"login":"a"}`), []byte(`[{"email":"a@x.org","primary":true,"verified":true}]`))
	f.Fuzz(func(t *testing.T, user, emails []byte) {
		c, err := parseGitHub(user, emails)
		if err == nil && (c.Subject == "" || c.Email != "" != bool(c.EmailVerified) && c.Email != "") {
			t.Fatalf("%+v", c)
		}
	})
}
