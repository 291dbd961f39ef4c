package app_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"
)

// TestConsoleSignIn goes through everything that a person shows to sign in, in the
// browser: a passkey made and used alone, an authenticator app, a recovery code, a
// factor asked for again, and a session that another window ends.
func TestConsoleSignIn(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startMoved(t)
	b := startBrowser(t)
	b.virtualAuthenticator()
	b.setUpByName(s)

	codes := b.addPasskey(s)
	b.signOutOfConsole()
	b.click("Sign in with a passkey")
	b.sees("No tenants yet")
	b.quiet()

	ahead := time.Duration(0)
	secret := b.addApp()
	other := startBrowser(t)
	other.open(s.named() + "/")
	other.passwordOf("olga@example.com")
	ahead += time.Minute
	s.pass(ahead) // the app's first code is used up
	other.click("Use a recovery code")
	other.click("Use the authenticator app")
	other.look("sign-in-code", "/", 390, "dark")
	other.look("sign-in-code", "/", 1440, "light")
	other.fill("totp", codeAt(t, secret, ahead))
	other.submit("Sign in")
	other.sees("No tenants yet")

	b.goTo("/profile")
	b.click("Sign out") // of the other one: this one has no such button
	b.sees("That device is signed out")
	other.goTo("/operations")
	other.sees("Sign in")

	other.passwordOf("olga@example.com")
	other.click("Use a recovery code")
	other.fill("recoveryCode", codes[0])
	other.submit("Sign in")
	other.sees("Nothing ran yet")

	s.pass(ahead + 15*time.Minute)
	b.goTo("/profile")
	b.sees("9 of 10 left")
	b.click("New codes")
	b.submit("Make new codes")
	b.sees("Confirm that it is you")
	b.submit("Use passkey")
	b.sees("Keep these somewhere safe now") // it went on by itself
	b.click("I have saved them")
	b.sees("10 of 10 left")
	b.lookAt(&server{t: t, addr: strings.TrimPrefix(s.named(), "http://")}, map[string]string{"profile": "/profile"})
	b.quiet()
	other.quiet()
}

// named is the console by a name: browsers bind passkeys to names.
func (s *server) named() string { return "http://localhost:" + s.port() }

func (b *browser) virtualAuthenticator() {
	b.t.Helper()
	b.run(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		if _, err := chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		_, err := chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
			Options: &webauthn.VirtualAuthenticatorOptions{
				Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
				HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
			}})
		return err
	}))
}

func (b *browser) setUpByName(s *server) {
	b.t.Helper()
	b.open(strings.Replace(s.setupURL(), "http://127.0.0.1:", "http://localhost:", 1))
	b.sees("Set up Holdfast")
	b.fill("name", "Olga Owner")
	b.fill("email", "olga@example.com")
	b.fill("password", password)
	b.submit("Create the account")
	b.sees("No tenants yet")
	b.look("sign-in-none", "/", 1440, "light")
}

var someCode = regexp.MustCompile(`[a-z2-9]{5}-[a-z2-9]{5}`)

// addPasskey makes one and gives the recovery codes that come with it.
func (b *browser) addPasskey(s *server) []string {
	b.t.Helper()
	b.goTo("/profile")
	b.sees("A stolen password would be enough")
	b.lookAt(&server{t: b.t, addr: strings.TrimPrefix(s.named(), "http://")}, map[string]string{"profile-password-only": "/profile"})
	b.click("Add a passkey")
	b.look("add-passkey", "/profile", 390, "light")
	b.look("add-passkey", "/profile", 1440, "dark")
	b.submit("Create passkey")
	b.sees("Keep these somewhere safe now")
	b.look("recovery-codes", "/profile", 390, "light")
	b.look("recovery-codes", "/profile", 1440, "dark")
	codes := someCode.FindAllString(b.text(), -1)
	if len(codes) != 10 {
		b.t.Fatalf("%d recovery codes: %v", len(codes), codes)
	}
	b.click("I have saved them")
	b.sees("10 of 10 left")
	b.quiet()
	return codes
}

func (b *browser) signOutOfConsole() {
	b.t.Helper()
	evaluate[bool](b, `fetch('/api/v1/session', {method: 'DELETE'}).then(() => true)`)
	b.goTo("/tenants")
	b.sees("Sign in with a passkey")
	b.look("sign-in", "/", 1440, "light")
	b.look("sign-in", "/", 390, "dark")
}

func (b *browser) passwordOf(email string) {
	b.t.Helper()
	b.sees("Sign in")
	b.fill("email", email)
	b.fill("password", password)
	b.submit("Sign in")
	b.sees("One more step")
}

var secretGroups = regexp.MustCompile(`[A-Z2-7]{4}(?: [A-Z2-7]{4}){7}`)

// addApp enrols an authenticator app and gives its secret.
func (b *browser) addApp() string {
	b.t.Helper()
	b.goTo("/profile")
	b.click("Add app")
	b.click("Type it instead")
	b.until("the secret", `return /[A-Z2-7]{4}( [A-Z2-7]{4}){7}/.test(top.innerText || document.body.innerText)`)
	secret := strings.ReplaceAll(secretGroups.FindString(b.text()), " ", "")
	b.look("add-app", "/profile", 390, "dark")
	b.look("add-app", "/profile", 1440, "light")
	b.fill("code", "000000")
	b.submit("Turn on")
	b.sees("clock right?")
	b.fill("code", codeAt(b.t, secret, 0))
	b.submit("Turn on")
	b.until("the app is listed", `return !document.querySelector('dialog[open]') && document.body.innerText.includes('Asked for after the password')`)
	b.quiet()
	return secret
}

func codeAt(t *testing.T, secret string, ahead time.Duration) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, time.Now().Add(ahead))
	if err != nil {
		t.Fatal(err)
	}
	return code
}
