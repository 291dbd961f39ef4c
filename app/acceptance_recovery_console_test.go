package app_test

import (
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestConsoleRecovery chooses a moment on the timeline with the keyboard, restores it
// in place after a dry run and undoes that, chooses from the lives before, takes records and a collection out of it,
// restores it in place for good, and runs a drill.
func TestConsoleRecovery(t *testing.T) {
	t.Parallel()
	sequential(t)
	b := startBrowser(t)
	s := startServer(t)
	b.setUp(s)
	s.must("tenant", "create", "acme", "--name", "Acme")
	s.joins("olga@example.com", "acme")
	s.fill("acme", 5)
	key := s.newKey("acme", "admin")
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
	s.must("snapshot", "now", "acme")
	b.goTo("/tenants/acme/prod/snapshots")
	b.click("Undo")
	b.sees("The restore is undone")
	b.goTo("/tenants/acme/prod/collections")
	b.sees("more")
	b.quiet()
	b.tellsLivesApart(s)
	b.restoreParts(s, s.tenant("acme", key))
	b.confirmInPlace(s)
	b.drill(s)
	b.lookAt(s, map[string]string{
		"timeline": "/tenants/acme/prod/snapshots", "drills": "/drills", "store-drills": "/tenants/acme/prod/drills", "targets-tested": "/targets",
	})
	b.quiet()
}

const slider = `const at = document.querySelector('[role=slider]');
	const now = () => Number(at.getAttribute('aria-valuenow')), least = () => Number(at.getAttribute('aria-valuemin')), most = () => Number(at.getAttribute('aria-valuemax'));
	const life = () => /in an earlier life: before the (restore in place|undo of a restore)/.test(at.getAttribute('aria-valuetext'));
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
	b.replaceAcme()
	b.look("restore-result", "/tenants/acme/prod/restore", 1440, "light")
	b.quiet()
}

// tellsLivesApart goes along the timeline of three lives: before the restore in place,
// after it, and after its undo.
func (b *browser) tellsLivesApart(s *server) {
	b.t.Helper()
	s.must("snapshot", "now", "acme")
	b.open(s.url() + "/tenants/acme/prod/snapshots")
	b.until("where lives began", `return document.querySelectorAll('[role=slider] svg .turn').length === 2`)
	b.until("the newest point is of this life", slider+`return now() === most() && !life()`)
	b.until("Home leads into an earlier one", slider+`press('Home'); return now() === least() && life()`)
	b.sees("It can be restored like any other")
	b.look("timeline-earlier-life", "/tenants/acme/prod/snapshots", 1440, "light")
	b.look("timeline-earlier-life", "/tenants/acme/prod/snapshots", 390, "dark")
	b.until("Shift leads from life to life", slider+`
		if (window.pressed !== 'Shift') for (const _ of [1, 2]) at.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', shiftKey: true, bubbles: true, cancelable: true}));
		window.pressed = 'Shift';
		return !life()`)
	b.click("Restored in place: the points before are still here")
	b.look("timeline-lives", "/tenants/acme/prod/snapshots", 390, "light")
	b.until("a button leads into the life before", slider+`const e = all('button').find(e => /^The last point before/.test(e.getAttribute('aria-label'))); if (e && !e.pressed) { e.pressed = true; e.click() }
		return life() && new URLSearchParams(location.search).has('at')`)
	b.click("Restore this moment…")
	b.sees("From an earlier life of acme")
	b.quiet()
}

// replaceAcme goes on from a dry run of a restore in place to its end.
func (b *browser) replaceAcme() {
	b.t.Helper()
	b.click("Go on")
	b.until("the slug is asked for", `return [...document.querySelectorAll('button[type=submit]')].some(e => text(e) === 'Replace acme' && e.disabled)`)
	b.fill("confirm", "acme")
	b.submit("Replace acme")
	b.sees("The state before is kept until you decide")
}

// openOldest opens the wizard at the oldest point.
func (b *browser) openOldest(s *server) {
	b.t.Helper()
	first := evaluate[string](b, `fetch('/api/v1/stores/acme/prod/snapshots/points?limit=1').then(r => r.json()).then(p => p.first)`)
	b.open(s.url() + "/tenants/acme/prod/restore?at=" + url.QueryEscape(first))
	b.until("the oldest point", `return document.body.innerText.includes('on offsite')`)
}

// restoreParts takes two records, then the whole collection, out of the past.
func (b *browser) restoreParts(s *server, admin *rest) {
	b.t.Helper()
	was := s.ids("acme")
	for _, id := range was[:2] {
		admin.want(204, "DELETE", "/api/collections/items/records/"+id, nil)
	}
	admin.want(200, "PATCH", "/api/collections/items/records/"+was[2], map[string]any{"name": "not what it was"})

	b.openOldest(s)
	b.choose("records")
	b.submit("See what would change")
	b.sees("Choose the collection")
	b.fill("collection", "items")
	b.fill("records", was[0]+", "+was[2])
	b.sees("2 records.")
	b.submit("See what would change")
	b.until("one comes back, one changes", `return /items\s+\+1\s+1\s+0/.test(document.querySelector('table')?.innerText)`)
	b.look("restore-records", "/tenants/acme/prod/restore", 390, "light")
	b.click("Go on")
	b.sees("2 records of acme are put back")
	b.submit("Restore")
	b.sees("items: 1 came back, 1 changed")
	if now := s.ids("acme"); slices.Contains(now, was[1]) || !slices.Contains(now, was[0]) || len(now) != 4 {
		b.t.Errorf("of %v there are %v", was, now)
	}

	b.openOldest(s)
	b.choose("collections")
	b.submit("See what would change")
	b.sees("Choose at least one collection")
	b.choose("items")
	b.submit("See what would change")
	b.until("one comes back", `return /items\s+\+1\s+0\s+0/.test(document.querySelector('table')?.innerText)`)
	b.click("Go on")
	b.submit("Restore")
	b.sees("items: 1 came back, 0 changed")
	if now := s.ids("acme"); !slices.Equal(now, was) {
		b.t.Errorf("of %v there are %v", was, now)
	}
	b.quiet()
}

// confirmInPlace restores in place once more, and drops what was replaced.
func (b *browser) confirmInPlace(s *server) {
	b.t.Helper()
	b.openOldest(s)
	b.choose("in-place")
	b.submit("See what would change")
	b.sees("Nothing was changed so far")
	b.replaceAcme()
	b.goTo("/tenants/acme/prod/snapshots")
	b.click("Confirm")
	b.sees("The restore is confirmed")
	b.goTo("/tenants/acme/prod/collections")
	b.until("the later collection is gone for good", `return /items/.test(document.body.innerText) && !/\bmore\b/.test(document.querySelector('main').innerText)`)
	if out := s.must("restore", "acme", "--list"); !strings.Contains(out, "confirmed") || !strings.Contains(out, "undone") {
		b.t.Errorf("restores:\n%s", out)
	}
	b.quiet()
}

// TestConsoleTargets adds a bucket with a wrong secret, is told so, mends it, sees
// every store on the page of all snapshots, and sets a policy.
func TestConsoleTargets(t *testing.T) {
	t.Parallel()
	sequential(t)
	s3 := startS3(t)
	b := startBrowser(t)
	s := startServer(t)
	b.setUp(s)
	s.must("tenant", "create", "acme", "--name", "Acme")
	s.joins("olga@example.com", "acme")
	s.fill("acme", 5)
	b.goTo("/snapshots")
	b.sees("Nothing is shipped: there is no target")
	b.click("Add a target")
	b.addBucket(s3)
	b.sees("refused the credentials")
	b.look("target-refused", "/targets", 390, "light")
	b.click("Edit")
	b.fill("accessKey", s3.access)
	b.fill("secretKey", s3.secret)
	b.click("Save")
	b.until("the dialog is closed", `return !document.querySelector('dialog[open]')`)
	b.click("Test")
	b.sees("It works")
	s.must("snapshot", "now", "acme")
	b.overview(s)
	b.policy(s)
	b.lookAt(s, map[string]string{"snapshots-all": "/snapshots", "policy-set": policyPage, "targets-one": "/targets", "health": "/health"})
	b.quiet()
}

// addBucket adds it with a secret that is not its own; a bad address is told first.
func (b *browser) addBucket(s3 bucket) {
	b.t.Helper()
	b.click("Add target")
	for name, value := range map[string]string{
		"name": "far", "bucket": s3.name, "prefix": "holdfast", "endpoint": "ftp://" + s3.addr, "region": "us-east-1", "accessKey": s3.access, "secretKey": "wrong",
	} {
		b.fill(name, value)
	}
	b.submit("Add target")
	b.sees("endpoint")
	b.fill("endpoint", "http://"+s3.addr)
	b.submit("Add target")
	b.until("the dialog is closed", `return !document.querySelector('dialog[open]')`)
}

func (b *browser) overview(s *server) {
	b.t.Helper()
	b.open(s.url() + "/snapshots")
	b.until("acme is current on far", `return all('tbody tr').some(e => /acme/.test(e.innerText) && /current/.test(e.innerText) && /far/.test(e.innerText) && /never/.test(e.innerText))`)
	b.sees("System database")
	b.click("acme")
	b.until("its snapshots", `return location.pathname === '/tenants/acme/prod/snapshots' && !!document.querySelector('[role=slider]')`)
	b.quiet()
}

const policyPage = "/tenants/acme/prod/snapshots/policy"

// policy is set after what is wrong with it was said at its fields.
func (b *browser) policy(s *server) {
	b.t.Helper()
	b.open(s.url() + policyPage)
	refused := func(field, value, says string) {
		b.t.Helper()
		b.fill(field, value)
		b.submit("Set the policy")
		b.until(field+" is marked", `const e = document.querySelector('input[name=' + $1 + ']');
			return e.getAttribute('aria-invalid') === 'true' && document.activeElement === e && e.closest('.field').innerText.includes($2)`, field, says)
	}
	refused("every_seconds", "-5", "0 to 86400")
	b.look("policy-refused", policyPage, 390, "dark")
	b.fill("every_seconds", "30")
	refused("hourly", "1.5", "integer")
	refused("hourly", "", "0 is allowed")
	b.fill("hourly", "12")
	b.fill("rpo_seconds", "20")
	b.sees("cannot lose less than that; the goal is 20 seconds")
	b.sees("one of each hour for 12 hours")
	b.submit("Set the policy")
	b.sees("The policy is set.")
	b.open(s.url() + policyPage)
	b.until("it is kept", `return document.querySelector('input[name=every_seconds]')?.value === '30' && document.querySelector('input[name=hourly]').value === '12'`)
	if out := s.must("snapshot", "policy", "acme"); !matches(`"every_seconds": 30`, out) || !matches(`"hourly": 12`, out) {
		b.t.Errorf("the policy is\n%s", out)
	}
	b.quiet()
}

func (b *browser) drill(s *server) {
	b.t.Helper()
	b.goTo("/tenants/acme/prod/drills")
	b.sees("Nothing was drilled yet")
	b.click("Run a drill now")
	b.until("it passed", `return /passed|goal missed/.test(document.querySelector('table').innerText) && all('svg[role=img]').length === 3`)
	b.open(s.url() + "/drills")
	b.until("the drill of all stores' page", `return all('table').length >= 2 && document.body.innerText.includes('acme')`)
	b.click("Make a report")
	b.fill("from", "2031-01-01")
	b.submit("Make and sign")
	b.sees("s not before until") // its first letter is shown large
	b.fill("from", "2020-01-01")
	b.submit("Make and sign")
	b.until("the report is listed", `return !document.querySelector('dialog[open]') && all('a[href*=drill-reports]').length === 3`)
	report := evaluate[string](b, `fetch(document.querySelector('a[href*=drill-reports][href$=json]').href).then(r => r.text())`)
	if !strings.Contains(report, `"from":"2020-01-01T00:00:00Z"`) || !matches(`"drills":[1-9]`, report) {
		b.t.Errorf("the report is %.300s", report)
	}
	b.goTo("/targets")
	b.click("Test")
	b.sees("It works")
	b.quiet()
}
