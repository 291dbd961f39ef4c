package app_test

import (
	"os"
	"regexp"
	"testing"

	"holdfast/app/custody"
)

// TestConsoleKeys keeps the keys in the browser: a slot, a recovery key that is
// proven, copies on a target; then a sealed server is opened by shares.
func TestConsoleKeys(t *testing.T) {
	t.Parallel()
	sequential(t)
	b := startBrowser(t)
	s := startServer(t)
	b.setUp(s)
	s.target("offsite")
	s.filled("acme", 5)

	b.goTo("/keys")
	b.sees("Key file")
	b.sees("No copy of the keyring is kept off this host")
	b.look("appliance-keys-findings", "/keys", 1440, "light")
	b.click("Add slot")
	b.look("add-slot", "/keys", 390, "dark")
	b.look("add-slot", "/keys", 1440, "light")
	b.fill("passphrase", passphrase)
	b.fill("again", passphrase)
	b.submit("Add slot")
	b.until("the passphrase is listed", `return !document.querySelector('dialog[open]') && /Passphrase/.test(document.querySelector('table').innerText)`)
	b.click("Keep on a target")
	b.submit("Keep copies there")
	b.until("the copies are listed", `return !document.querySelector('dialog[open]') && document.body.innerText.includes('1 copy')`)
	b.replaceRecoveryKey()
	b.quiet()
	b.lookAt(s, map[string]string{"appliance-keys": "/keys"})

	shares := answer[custody.Added](s, "keys", "add-slot", "shares", "--need", "2", "--of", "3").Shares
	s.stop()
	if err := os.Remove(s.keyFile()); err != nil {
		t.Fatal(err)
	}
	s.startSealed()
	b.open(s.url() + "/")
	b.sees("Holdfast is sealed")
	b.click("Shares")
	b.fill("share", shares[2])
	b.submit("Hand it in")
	b.sees("1 of 2 shares")
	b.look("unseal", "/", 1440, "light")
	b.look("unseal", "/", 390, "dark")
	b.click("Shares")
	b.fill("share", shares[0])
	b.submit("Hand it in")
	b.until("the console is open", `return !document.body.innerText.includes('Holdfast is sealed') && /Tenants|Sign in/.test(document.body.innerText)`)
}

var recoveryCode = regexp.MustCompile(`[A-Z0-9]{4}(?:-[A-Z0-9]{4}){13}`)

func (b *browser) replaceRecoveryKey() {
	b.t.Helper()
	b.click("New recovery key")
	b.submit("Make it")
	b.sees("Write the recovery key down")
	b.look("recovery-key", "/keys", 390, "light")
	b.look("recovery-key", "/keys", 1440, "dark")
	code := recoveryCode.FindString(b.text())
	b.click("I have it, ask me")
	b.fill("recoveryKey", code)
	b.submit("Prove it")
	b.sees("the one before it is gone")
}

// lookAt opens pages, light and, for pictures, dark.
func (b *browser) lookAt(s *server, pages map[string]string) {
	b.t.Helper()
	for name, path := range pages {
		b.open(s.url() + path)
		b.until("a heading of "+path, `return all('h1, h2').length > 0 && !document.querySelector('[aria-busy=true]')`)
		for _, width := range []int64{1440, 390} {
			b.look(name, path, width, "light")
			if os.Getenv("HOLDFAST_SHOTS") != "" {
				b.look(name, path, width, "dark")
			}
		}
	}
}
