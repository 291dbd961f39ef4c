package app_test

import (
	"os"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// TestConsoleUsers sets in the browser how a tenant's own users sign in, and takes the
// factors from one of them who lost them.
func TestConsoleUsers(t *testing.T) {
	t.Parallel()
	sequential(t)
	b := startBrowser(t)
	s := startServer(t)
	b.setUp(s)
	s.must("tenant", "create", "acme", "--name", "Acme")
	s.joins("olga@example.com", "acme")

	b.open(s.url() + "/tenants/acme/prod/collections/users")
	b.click("Sign-in")
	b.sees("Sign-in of users")
	b.refusedPolicies()
	b.setPolicy(s)
	b.quiet()

	ada := signUp(s.tenant("acme", ""))
	ada.enrol(s, "acme")
	if out := s.must("users", "factors", "acme", "users", ada.id); !matches(`totp +Ada's phone`, out) {
		t.Errorf("the factors are %s", out)
	}
	if got := ada.signIn(s, "acme"); got != 401 {
		t.Errorf("the password alone is answered %d", got)
	}
	b.resetFactors(s, ada.id)
	if got := ada.signIn(s, "acme"); got != 200 {
		t.Errorf("the password alone is answered %d after the reset", got)
	}
	b.quiet()
}

// refusedPolicies types what is wrong; the page says so in words, at the field.
func (b *browser) refusedPolicies() {
	b.t.Helper()
	b.fill("secondFactor", "always")
	b.submit("Set the rules")
	b.sees("Switch authenticator apps (totp) or passkeys on")
	b.fill("secondFactor", "enrolled")
	b.fill("origins", "no page")
	b.submit("Set the rules")
	b.sees("is none; write https://app.example.com")
	b.fill("origins", "")
	b.fill("minLength", "1000")
	b.submit("Set the rules")
	b.marks("minLength", "From 0 to 64")
	b.fill("minLength", "")
	b.submit("Set the rules")
	b.marks("minLength", "A whole number")
	b.shoot("users-refused")
}

// marks waits for words at the field of this name, which holds the focus.
func (b *browser) marks(name, words string) {
	b.t.Helper()
	b.until(name+" marked: "+words, `const e = all('[name=' + $1 + ']').find(e => e.getAttribute('aria-invalid') === 'true');
		return !!e && e === document.activeElement && e.closest('.field').innerText.toLowerCase().includes($2.toLowerCase())`, name, words)
}

// setPolicy switches authenticator apps on; the page still says so after it was opened again.
func (b *browser) setPolicy(s *server) {
	b.t.Helper()
	b.tick("Authenticator apps")
	b.fill("minLength", "12")
	b.sees("Who has done so needs it each time")
	b.submit("Set the rules")
	b.sees("The rules are set.")
	b.until("the foot is in sight", `const e = all('button').find(e => text(e) === 'Set the rules'); if (e) e.scrollIntoView({block: 'center'}); return !!e`)
	b.shoot("users-set")
	b.open(s.url() + "/tenants/acme/prod/collections/users/sign-in")
	b.until("what was set", `const on = all('label').find(e => text(e) === 'Authenticator apps')?.querySelector('input');
		return on?.checked && all('[name=secondFactor]')[0].value === 'enrolled' && all('[name=minLength]')[0].value === '12'`)
	b.shoot("users-policy")
}

// tick clicks the check box with this label.
func (b *browser) tick(label string) {
	b.t.Helper()
	b.until("tick "+label, `const e = all('label').find(e => text(e) === $1)?.querySelector('input[type=checkbox]'); if (e) e.click(); return !!e`, label)
}

// resetFactors takes them from a user beside its record, after the name was typed.
func (b *browser) resetFactors(s *server, id string) {
	b.t.Helper()
	b.open(s.url() + "/tenants/acme/prod/collections/users?open=" + id)
	b.sees("10 recovery codes left")
	b.sees("Ada's phone")
	b.until("the section is in sight", `const e = all('button').find(e => text(e) === 'Reset factors'); if (e) e.scrollIntoView({block: 'end'}); return !!e`)
	b.shoot("users-factors")
	b.click("Reset factors")
	b.fill("confirm", "eve@example.com")
	b.until("the wrong name opens nothing", `return [...top.querySelectorAll('button[type=submit]')].some(e => e.disabled)`)
	b.shoot("users-reset")
	b.fill("confirm", "ada@example.com")
	b.submit("Reset factors")
	b.until("no factor is left", `return document.querySelectorAll('dialog[open]').length === 1 && top.innerText.includes('the password alone signs in')`)
	b.shoot("users-none")
}

// shoot looks at the page as it is, wide and narrow; for pictures also dark.
func (b *browser) shoot(name string) {
	b.t.Helper()
	for _, width := range []int64{390, 1440} {
		b.look(name, name, width, "light")
		if os.Getenv("HOLDFAST_SHOTS") != "" {
			b.look(name, name, width, "dark")
		}
	}
}

const (
	usersPath    = "/api/collections/users/"
	ownUsersPath = "/api/v1/collections/users/"
	userWord     = "correct horse battery"
)

// user is one of a tenant's own users, ada@example.com.
type user struct{ id, token string }

func userPassword() map[string]any {
	return map[string]any{"identity": "ada@example.com", "password": userWord}
}

// signUp makes the user at the tenant and signs it in.
func signUp(guest *rest) user {
	guest.t.Helper()
	guest.want(200, "POST", usersPath+"records", map[string]any{"email": "ada@example.com", "password": userWord, "passwordConfirm": userWord})
	in := decoded[struct {
		Token  string
		Record struct{ ID string }
	}](guest, guest.want(200, "POST", usersPath+"auth-with-password", userPassword()))
	return user{in.Record.ID, in.Token}
}

// enrol adds an authenticator app and gives the recovery codes.
func (u user) enrol(s *server, slug string) []string {
	s.t.Helper()
	c := s.tenant(slug, u.token)
	made := decoded[struct{ Secret string }](c, c.want(200, "POST", ownUsersPath+"totp", map[string]any{}))
	code, err := totp.GenerateCode(made.Secret, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return decoded[struct {
		Meta struct{ RecoveryCodes []string }
	}](c, c.want(200, "POST", ownUsersPath+"totp/confirm", map[string]any{"code": code, "name": "Ada's phone"})).Meta.RecoveryCodes
}

// signIn is what the password alone is answered.
func (u user) signIn(s *server, slug string) int {
	s.t.Helper()
	return s.tenant(slug, "").call("POST", usersPath+"auth-with-password", userPassword()).status
}
