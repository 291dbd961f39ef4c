package app_test

import (
	"bufio"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

const clientSecret = "a secret of the client, long enough"

// TestConsoleSingleSignOn goes through single sign-on with a real provider in a real
// browser. The provider is another site (localhost, the console 127.0.0.1), so that
// cookies that are SameSite=Strict do not come back with the redirect.
func TestConsoleSingleSignOn(t *testing.T) {
	t.Parallel()
	sequential(t)
	node := program(t, "node", "the provider runs on Node 20 or newer")
	folder := installed(t, "oidc", "provider.mjs", "oidc-provider")
	s := newServer(t)
	s.args = append(s.args, "--sso-loopback")
	s.start()
	issuer, end := startProvider(t, node, folder, s.url()+"/api/v1/sso/company/callback")
	b := startBrowser(t)
	b.setUp(s)
	b.addProvider(issuer)
	b.changeProvider()

	in := startBrowser(t)
	in.open(s.url() + "/operations")
	in.click("Continue with The company")
	in.signInAt("olga")
	in.sees("Nothing ran yet") // where it began
	in.strictCookie()
	in.quiet()
	in.goTo("/profile")
	in.sees("Single sign-on")
	in.look("sso-profile", "/profile", 390, "light")

	stranger := startBrowser(t)
	stranger.open(s.url() + "/")
	stranger.click("Continue with The company")
	stranger.signInAt("mallory")
	stranger.sees("There is no account for mallory@example.com here")
	stranger.look("sso-refused", "/sso", 1440, "light")
	stranger.look("sso-refused", "/sso", 390, "dark")

	// To step up is to sign in there again, though the provider knows the browser.
	evaluate[bool](in, `fetch('/api/v1/session/step-up/sso/company', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{"return": "/profile"}'})
		.then(r => r.json()).then(j => { location.assign(j.url); return true })`)
	in.signInAt("olga")
	in.sees("Confirmed")
	in.sees("Profile and security")

	in.requireSSO()
	b.goTo("/operations") // its session began with the password
	b.sees("Continue with The company")
	b.until("no field for a password", `return !document.querySelector('[name=password]')`)
	b.look("sso-sign-in-only", "/", 390, "light")
	b.quiet()

	end()
	s.stop() // what it had found out of the provider is forgotten
	s.start()
	b.open(s.url() + "/")
	b.click("Continue with The company")
	b.sees("The company does not answer")
	if d := s.cli("doctor"); !strings.Contains(d.stdout, "The company") {
		t.Fatalf("the doctor says nothing of it: %s%s", d.stdout, d.stderr)
	}
	s.must("sso", "free") // the way back, from the host
	b.open(s.url() + "/")
	b.until("a field for a password", `return !!document.querySelector('[name=password]')`)
	b.look("sso-sign-in", "/", 1440, "light")
	b.look("sso-sign-in", "/", 390, "dark")
}

// startProvider gives the issuer's address, and what ends it.
func startProvider(t *testing.T, node, folder string, redirects ...string) (issuer string, end func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	cmd := exec.CommandContext(ctx, node, append([]string{"provider.mjs"}, redirects...)...)
	cmd.Dir = folder
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			stdin.Close()
			cancel()
			_ = cmd.Wait() // it was told to
		}
	}
	t.Cleanup(end)
	port, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the provider says no port: %v", err)
	}
	return "http://localhost:" + strings.TrimSpace(port), end
}

// addProvider does it in the console, and tries it.
func (b *browser) addProvider(issuer string) {
	b.t.Helper()
	b.goTo("/single-sign-on")
	b.sees("No identity provider yet")
	b.look("sso-empty", "/single-sign-on", 390, "light")
	b.click("Add provider")
	b.choose("oidc")
	b.fill("id", "company")
	b.fill("name", "The company")
	b.fill("issuer", issuer)
	b.fill("clientId", "holdfast")
	b.fill("clientSecret", clientSecret)
	b.look("sso-add", "/single-sign-on", 1440, "light")
	b.look("sso-add", "/single-sign-on", 390, "dark")
	b.submit("Add provider")
	b.until("the provider is listed", `return !document.querySelector('dialog[open]') && document.body.innerText.includes(`+"`${location.origin}/api/v1/sso/company/callback`"+`)`)
	b.click("Test")
	b.sees("answers and knows this appliance")
	b.look("sso-provider", "/single-sign-on", 1440, "light")
	b.look("sso-provider", "/single-sign-on", 390, "dark")
	b.quiet()
}

// changeProvider renames it, changes its secret to a wrong one and back, and switches it
// off and on. No secret is ever shown.
func (b *browser) changeProvider() {
	b.t.Helper()
	change := func(fill func()) {
		b.t.Helper()
		b.until("change the provider", `const e = all('button').find(e => /^Change /.test(e.getAttribute('aria-label'))); if (e) e.click(); return !!e`)
		b.until("the form, without a secret", `const e = all('dialog [name=clientSecret], [name=clientSecret]')[0]; return !!e && e.value === ''`)
		fill()
		b.submit("Save")
		b.until("the dialog is closed, the focus is back", `return !document.querySelector('dialog[open]') && document.activeElement !== document.body`)
	}
	change(func() {
		b.fill("domains", "not a domain!")
		b.submit("Save")
		b.until("the domains are marked", `return all('[name=domains]').some(e => e.getAttribute('aria-invalid') === 'true')`)
		b.look("sso-change", "/single-sign-on", 390, "light")
		b.look("sso-change", "/single-sign-on", 1440, "dark")
		b.fill("domains", "example.com, example.org")
		b.fill("name", "Old company")
		b.fill("clientSecret", "not the secret")
	})
	b.sees("example.com, example.org")
	b.click("Test")
	b.sees("does not accept the client id and secret")
	change(func() {
		b.choose("enabled")
		b.fill("clientSecret", clientSecret)
	})
	b.sees("switched off")
	b.look("sso-off", "/single-sign-on", 390, "dark")
	if ways := evaluate[string](b, `fetch('/api/v1/sso').then(r => r.text())`); strings.Contains(ways, "company") {
		b.t.Errorf("a provider that is switched off is offered: %s", ways)
	}
	change(func() {
		b.choose("enabled")
		b.fill("domains", "")
		b.fill("name", "The company")
	})
	b.until("it is on", `return !top.body.innerText.includes('switched off') && top.body.innerText.includes('The company')`)
	b.click("Test")
	b.sees("answers and knows this appliance")
	b.quiet()
}

// signInAt uses the provider's own pages.
func (b *browser) signInAt(name string) {
	b.t.Helper()
	b.until("the provider's page", `return location.hostname === 'localhost' && all('[name=login]').length > 0`)
	b.fill("login", name)
	b.fill("password", "whatever")
	b.submit("Sign-in")
	b.until("consent, or the console", `if (location.hostname !== 'localhost') return true;
		const e = all('button[type=submit]').find(e => text(e) === 'Continue'); if (e && !e.pressed) { e.pressed = true; e.click(); } return false`)
}

// strictCookie sees the session's cookie as the browser keeps it.
func (b *browser) strictCookie() {
	b.t.Helper()
	b.run(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		out, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{})
		if err != nil {
			return err
		}
		found := false
		for _, c := range out.Cookies {
			found = found || c.Name == "__Host-holdfast" && c.HTTPOnly && c.Secure && c.SameSite == network.CookieSameSiteStrict
			if c.Name == "__Host-holdfast-sso" {
				b.t.Error("the journey's cookie stays after its end")
			}
		}
		if !found {
			b.t.Errorf("no strict session cookie: %v", out.Cookies)
		}
		return nil
	}))
}

func (b *browser) requireSSO() {
	b.t.Helper()
	b.goTo("/single-sign-on")
	b.click("Require it")
	b.fill("confirm", "appliance")
	b.look("sso-require", "/single-sign-on", 390, "light")
	b.submit("Require single sign-on")
	b.sees("Passwords are refused, and none is kept")
	b.look("sso-only", "/single-sign-on", 390, "dark")
}
