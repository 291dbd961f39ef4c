package app_test

import (
	"net"
	"regexp"
	"strings"
	"testing"

	"holdfast/backup/objects/gateway"
)

const (
	signInPolicyPage = "/operators/sign-in"
	mailPage         = "/operators/mail"
)

// TestConsoleMail sets the mail server and the sign-in policy in the browser. Then a code
// of a letter signs in, and who was invited by a letter comes with a passkey, without
// ever having had a password.
func TestConsoleMail(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	post := startMailbox(t)
	b := startBrowser(t)
	b.virtualAuthenticator()
	b.setUpByName(s)

	b.goTo(signInPolicyPage)
	b.sees("It needs mail, which is not set up")
	b.setsMail(post)
	b.setsSignInPolicy(s)
	b.goTo("/operators")
	b.click("Invite")
	b.fill("email", "ben@example.com")
	b.submit("Invite")
	b.until("the invite is listed", `return !document.querySelector('dialog[open]') && document.querySelector('main').innerText.includes('ben@example.com')`)

	b.signsInByMailCode(post)
	b.goTo(mailPage)
	b.until("what was sent", `return /ben@example.com/.test(top.body.innerText) && /Code to sign in/.test(top.body.innerText)`)
	b.lookAt(&server{t: t, addr: strings.TrimPrefix(s.named(), "http://")}, map[string]string{"mail-set": mailPage, "sign-in-policy-set": signInPolicyPage})
	b.joinsByPasskey(post)
	b.quiet()
}

// setsMail is told that nobody listens there, then sends a test that arrives.
func (b *browser) setsMail(post *mailbox) {
	b.t.Helper()
	_, deaf, _ := net.SplitHostPort(gateway.Address(b.t))
	b.goTo(mailPage)
	b.sees("No mail is set up.")
	b.fill("host", "127.0.0.1")
	b.submit("Set the server")
	b.until("the sender is asked for", `return all('[name=from]').some(e => e.getAttribute('aria-invalid') === 'true')`)
	b.look("mail-refused", mailPage, 390, "light")
	b.fill("tls", "none")
	b.fill("port", deaf)
	b.fill("from", "holdfast@example.com")
	b.submit("Set the server")
	b.submit("Send a test")
	b.sees("The server did not take it.")
	b.look("mail-test-failed", mailPage, 390, "dark")
	b.fill("port", post.port())
	b.submit("Set the server")
	b.until("what the last test said is gone", `return !top.body.innerText.includes('did not take it')`)
	b.submit("Send a test")
	b.sees("The server took the letter")
	post.await("olga@example.com", "Mail from Holdfast works")
	b.quiet()
}

// setsSignInPolicy is told of a number that is too large; what was set is there when the
// page is opened anew.
func (b *browser) setsSignInPolicy(s *server) {
	b.t.Helper()
	b.goTo(signInPolicyPage)
	b.until("codes by mail can be allowed", `const e = all('[name=mailCode]')[0]; if (e) e.click(); return !!e`)
	b.fill("rotateDays", "9999")
	b.submit("Set the policy")
	b.until("the days are marked", `const e = document.querySelector('[name=rotateDays]'); return e.getAttribute('aria-invalid') === 'true' && document.activeElement === e`)
	b.look("sign-in-policy-refused", signInPolicyPage, 390, "dark")
	b.fill("rotateDays", "0")
	b.fill("passwordHistory", "3")
	b.click("support") // a rule for this role
	b.fill("idle-support", "30")
	b.submit("Set the policy")
	b.until("it is set", `return [...document.querySelectorAll('button[type=submit]')].some(e => text(e) === 'Set the policy' && e.disabled && !e.ariaBusy)`)
	b.open(s.named() + signInPolicyPage)
	b.until("it is kept", `const value = name => document.querySelector('[name=' + name + ']')?.value;
		return document.querySelector('[name=mailCode]')?.checked && value('passwordHistory') === '3' && value('rotateDays') === '0' && value('idle-support') === '30'`)
	b.quiet()
}

var mailedCode = regexp.MustCompile(`(?m)^ +([0-9]{6})\r?$`)

func (b *browser) signsInByMailCode(post *mailbox) {
	b.t.Helper()
	b.leaves()
	b.passwordOf("olga@example.com")
	b.sees("Code from the mail")
	b.look("sign-in-mail-code", "/", 390, "light")
	found := mailedCode.FindStringSubmatch(post.await("olga@example.com", "your code to sign in"))
	if found == nil {
		b.t.Fatalf("no code in %q", post.all())
	}
	wrong := "000000"
	if found[1] == wrong {
		wrong = "000001"
	}
	b.fill("mailCode", wrong)
	b.submit("Sign in")
	b.until("it is refused", `return all('[role=alert]').length > 0`)
	b.fill("mailCode", found[1])
	b.submit("Sign in")
	b.sees("No tenants yet")
	b.quiet()
}

// joinsByPasskey makes an account from the letter's link with a passkey alone.
func (b *browser) joinsByPasskey(post *mailbox) {
	b.t.Helper()
	b.leaves()
	letter := post.await("ben@example.com", "invites you")
	link := strings.Replace(inviteLink.FindString(letter), "http://127.0.0.1:", "http://localhost:", 1)
	if link == "" {
		b.t.Fatalf("no link in %q", letter)
	}
	b.open(link)
	b.sees("invites you to the Holdfast appliance, as support")
	b.look("invite-passkey", "/invite", 390, "dark")
	b.fill("name", "Ben Builder")
	b.click("Go on with a passkey")
	b.sees("You are in")
	b.look("invite-codes", "/invite", 1440, "light")
	if codes := someCode.FindAllString(b.text(), -1); len(codes) != 10 {
		b.t.Fatalf("%d recovery codes", len(codes))
	}
	b.click("I have saved them")
	b.sees("No tenants yet")
	b.leaves()
	b.click("Sign in with a passkey")
	b.sees("No tenants yet")
	b.goTo("/profile")
	b.sees("Ben Builder, ben@example.com")
	b.sees("None: you sign in another way.") // no password
}
