package app_test

import (
	"regexp"
	"strings"
	"testing"
)

// TestConsolePeople goes the way of people in the browser: invited, an account made
// with the link, a role changed, a session ended by somebody else, a forgotten
// password, and the pages of roles and policies.
func TestConsolePeople(t *testing.T) {
	t.Parallel()
	sequential(t)
	b := startBrowser(t)
	s := startServer(t)
	b.setUp(s)
	b.createTenant(s)

	link := b.invite(s)
	mia := startBrowser(t)
	mia.open(link)
	mia.sees("invites you to acme, as developer")
	mia.look("invite", "/invite", 1440, "light")
	mia.look("invite", "/invite", 390, "dark")
	mia.fill("name", "Mia Maker")
	mia.fill("password", "too short")
	mia.submit("Create the account")
	mia.sees("at least 12 characters")
	mia.fill("password", password)
	mia.submit("Create the account")
	mia.until("the console", `return !location.pathname.startsWith('/invite') && document.body.innerText.includes('acme')`)
	mia.quiet()
	again := startBrowser(t)
	again.open(link)
	again.sees("was used already")
	again.look("invite-used", "/invite", 390, "light")

	b.goTo("/tenants/acme/prod/members")
	b.sees("Mia Maker")
	b.pressNamed("Change the role of Mia Maker")
	b.choose("analyst")
	b.submit("Change the role")
	b.until("the new role", `return !document.querySelector('dialog[open]') && document.body.innerText.includes('analyst')`)
	b.makeRole()
	b.operatorOf(s, mia)
	b.lookAt(s, map[string]string{
		"members": "/tenants/acme/prod/members", "tenant-roles": "/tenants/acme/prod/roles", "tenant-policy": "/tenants/acme/prod/sign-in",
		"operators": "/operators", "roles": "/operators/roles", "sign-in-policy": "/operators/sign-in", "mail": "/operators/mail", "profile": "/profile",
	})
	b.quiet()
}

// pressNamed is click on the button whose spoken name, which is not what it shows, is this.
func (b *browser) pressNamed(label string) {
	b.t.Helper()
	b.until("press "+label, `const e = all('button').find(e => e.getAttribute('aria-label') === $1); if (e) e.click(); return !!e`, label)
}

var inviteLink = regexp.MustCompile(`http://\S+/(?:invite|reset)#token=[A-Za-z0-9_-]{43}`)

func (b *browser) invite(s *server) string {
	b.t.Helper()
	b.goTo("/tenants/acme/prod/members")
	b.sees("olga@") // who made the tenant owns it
	b.click("Invite")
	b.fill("email", "mia@example.com")
	b.choose("developer")
	b.look("invite-form", "/tenants/acme/prod/members", 390, "light")
	b.look("invite-form", "/tenants/acme/prod/members", 1440, "dark")
	b.submit("Invite")
	b.sees("Hand this link over")
	link := inviteLink.FindString(b.text())
	if link == "" {
		b.t.Fatal("no link is shown")
	}
	b.click("I have copied it")
	b.sees("link handed over")
	b.quiet()
	return link
}

func (b *browser) makeRole() {
	b.t.Helper()
	b.goTo("/tenants/acme/prod/roles")
	b.click("Make a role")
	b.fill("name", "bookkeeper")
	b.choose("data.read=allow")
	b.choose("key.manage=deny")
	b.look("edit-role", "/tenants/acme/prod/roles", 1440, "light")
	b.look("edit-role", "/tenants/acme/prod/roles", 390, "dark")
	b.submit("Make the role")
	b.until("the role is listed", `return !document.querySelector('dialog[open]') && document.body.innerText.includes('bookkeeper')`)
	b.quiet()
}

// operatorOf ends another operator's session in one window, which ends it in the other,
// and hands over a link for a new password.
func (b *browser) operatorOf(s *server, other *browser) {
	b.t.Helper()
	if d := s.cliInput(password, "operator", "create", "ben@example.com", "--name", "Ben", "--role", "support", "--password-stdin", "--keep-password"); d.code != 0 {
		b.t.Fatalf("operator create: %s", d.stderr)
	}
	other.open(s.url() + "/profile")
	evaluate[bool](other, `fetch('/api/v1/session', {method: 'DELETE'}).then(() => true)`)
	other.open(s.url() + "/operations")
	other.sees("Sign in")
	other.fill("email", "ben@example.com")
	other.fill("password", password)
	other.submit("Sign in")
	other.sees("Nothing ran yet")

	b.goTo("/operators")
	b.pressNamed("Manage Ben")
	b.sees("Signed in at")
	b.look("operator", "/operators", 1440, "light")
	b.look("operator", "/operators", 390, "dark")
	b.click("Sign out everywhere")
	b.sees("Nowhere.")
	other.goTo("/tenants")
	other.sees("Forgotten password?")
	b.click("Reset password")
	b.sees("Hand this link over")
	link := inviteLink.FindString(b.text())
	other.open(link)
	other.sees("Choose a new password")
	other.look("reset", "/reset", 390, "light")
	other.fill("password", "seven quiet otters swim")
	other.submit("Change it")
	other.sees("The password is changed")
	other.click("Sign in")
	other.fill("email", "ben@example.com")
	other.fill("password", "seven quiet otters swim")
	other.submit("Sign in")
	other.sees("Acme")
	other.open(strings.Replace(link, "#", "?again#", 1))
	other.sees("was used already")
	other.quiet()
	b.quiet()
}
