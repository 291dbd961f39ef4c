package app_test

import "testing"

// TestConsoleTwoPersons goes the way of two persons in two browsers: one asks for a slot,
// the other finds it by the number in the navigation and approves, and it is added.
func TestConsoleTwoPersons(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	olga, sam := startBrowser(t), startBrowser(t)
	olga.setUp(s)
	if d := s.cliInput(password, "operator", "create", "sam@example.com", "--name", "Sam Second", "--password-stdin", "--keep-password"); d.code != 0 {
		t.Fatalf("operator create: %s", d.stderr)
	}
	sam.open(s.url() + "/tenants")
	sam.fill("email", "sam@example.com")
	sam.fill("password", password)
	sam.submit("Sign in")
	sam.sees("No tenants yet")

	olga.goTo("/keys")
	olga.click("Add slot")
	olga.sees("This takes two persons")
	olga.submit("Add slot")
	olga.sees("do exactly the same again")
	olga.look("two-persons-asked", "/keys", 1440, "light")
	olga.look("two-persons-asked", "/keys", 390, "dark")

	sam.goTo("/tenants")
	sam.until("one request to approve", `const e = all('a[href="/approvals"]').find(e => /\b1\b/.test(text(e))); if (e) e.click(); return !!e`)
	sam.sees("Add a way to open the root key")
	for _, theme := range []string{"light", "dark"} {
		sam.look("approvals", "/approvals", 390, theme)
		sam.look("approvals", "/approvals", 1440, theme)
	}
	sam.click("Approve")
	sam.sees("by Sam Second")
	sam.quiet()

	olga.fill("passphrase", passphrase)
	olga.fill("again", passphrase)
	olga.submit("Add slot")
	olga.until("the passphrase is listed", `return !document.querySelector('dialog[open]') && /Passphrase/.test(document.querySelector('table').innerText)`)
	olga.quiet()

	s.ok(passphrase+" too", "keys", "add-slot", "passphrase", "--passphrase-stdin")
	sam.open(s.url() + "/tenants")
	sam.sees("The command line of the host did something alone")
	sam.look("host-alone", "/tenants", 1440, "light")
	sam.look("host-alone", "/tenants", 390, "dark")
	sam.click("I know of it")
	sam.until("no note of the host", `return !document.body.innerText.includes('did something alone')`)
	sam.lookAt(s, map[string]string{"approvals-past": "/approvals"})
	sam.quiet()
}
