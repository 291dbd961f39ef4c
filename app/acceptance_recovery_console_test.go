package app_test

import (
	"path/filepath"
	"testing"
)

// TestConsoleRecovery chooses a moment on the timeline with the keyboard, restores it
// in place after a dry run, undoes that, and runs a drill.
func TestConsoleRecovery(t *testing.T) {
	sequential(t)
	b := startBrowser(t)
	s := startServer(t)
	b.setUp(s)
	s.must("tenant", "create", "acme", "--name", "Acme")
	s.fill("acme", 5)
	s.target("offsite")
	s.must("snapshot", "now", "acme") // the oldest point has all five
	more := filepath.Join(t.TempDir(), "more.jsonl")
	writeItems(t, more, 3)
	s.must("import", "acme", "more", more, "--create")
	s.must("snapshot", "now", "acme")

	b.chooseOldest(s)
	b.restoreInPlace()
	b.goTo("/tenants/acme/prod/collections")
	b.until("the later collection is gone", `return /items/.test(document.body.innerText) && !/\bmore\b/.test(document.querySelector('main').innerText)`)
	b.goTo("/tenants/acme/prod/snapshots")
	b.click("Undo")
	b.sees("The restore is undone")
	b.goTo("/tenants/acme/prod/collections")
	b.sees("more")
	b.quiet()
	b.drill(s)
	b.lookAt(s, map[string]string{
		"timeline": "/tenants/acme/prod/snapshots", "drills": "/drills", "store-drills": "/tenants/acme/prod/drills", "targets-tested": "/targets",
	})
	b.quiet()
}

const slider = `const at = document.querySelector('[role=slider]');
	const now = () => Number(at.getAttribute('aria-valuenow')), least = () => Number(at.getAttribute('aria-valuemin')), most = () => Number(at.getAttribute('aria-valuemax'));
	const press = key => { // once: the address follows when the keys rest
		if (window.pressed === key) return;
		window.pressed = key;
		at.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
	};
`

// chooseOldest goes along the timeline by its keys.
func (b *browser) chooseOldest(s *server) {
	b.t.Helper()
	b.open(s.url() + "/tenants/acme/prod/snapshots")
	b.until("a timeline with points", `return !!document.querySelector('[role=slider] svg path.base')`)
	b.until("the newest point is chosen", slider+`return now() === most() && /on offsite/.test(at.getAttribute('aria-valuetext'))`)
	b.until("a key leads back", slider+`press('ArrowLeft'); return new URLSearchParams(location.search).has('at')`)
	b.until("End leads to the newest", slider+`press('End'); return now() === most() && !new URLSearchParams(location.search).has('at')`)
	b.until("Home leads to the oldest", slider+`press('Home'); return now() === least() && new URLSearchParams(location.search).has('at')`)
	b.until("the stretch changes", slider+`press('+'); return new URLSearchParams(location.search).get('span') === 'week'`)
	b.quiet()
}

func (b *browser) restoreInPlace() {
	b.t.Helper()
	b.click("Restore this moment…")
	b.until("the wizard", `return location.pathname === '/tenants/acme/prod/restore'`)
	b.choose("in-place")
	b.submit("See what would change")
	b.sees("Nothing was changed so far")
	b.sees("would be undone")
	b.look("restore-dry-run", "/tenants/acme/prod/restore", 1440, "light")
	b.look("restore-dry-run", "/tenants/acme/prod/restore", 390, "dark")
	b.click("Go on")
	b.until("the slug is asked for", `return [...document.querySelectorAll('button[type=submit]')].some(e => text(e) === 'Replace acme' && e.disabled)`)
	b.fill("confirm", "acme")
	b.submit("Replace acme")
	b.sees("The state before is kept until you decide")
	b.look("restore-result", "/tenants/acme/prod/restore", 1440, "light")
	b.quiet()
}

func (b *browser) drill(s *server) {
	b.t.Helper()
	b.goTo("/tenants/acme/prod/drills")
	b.sees("Nothing was drilled yet")
	b.click("Run a drill now")
	b.until("it passed", `return /passed|goal missed/.test(document.querySelector('table').innerText) && all('svg[role=img]').length === 3`)
	b.open(s.url() + "/drills")
	b.until("the drill of all stores' page", `return all('table').length === 2 && document.body.innerText.includes('acme')`)
	b.goTo("/targets")
	b.click("Test")
	b.sees("It works")
	b.quiet()
}
