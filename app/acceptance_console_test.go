package app_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestConsole goes the way of the tour in a browser: from the setup link to a
// restored tenant. Nothing on the way violates the content security policy.
func TestConsole(t *testing.T) {
	t.Parallel()
	sequential(t)
	b := startBrowser(t)
	s := startServer(t)
	b.setUp(s)
	b.createTenant(s)
	b.importFile(t)
	key := b.createKey(t)
	if got := get[page](s.tenant("acme", key), records("items")); got.TotalItems != 40 {
		t.Errorf("the key that the console made reads %d records, want 40", got.TotalItems)
	}
	b.snapshot(s)
	b.restore()
	b.browse(s)
	b.signOut(s)
	b.quiet()
}

func (b *browser) setUp(s *server) {
	b.t.Helper()
	b.open(s.setupURL())
	b.sees("Set up Holdfast")
	b.fill("name", "Olga Owner")
	b.fill("email", "olga@example.com")
	b.fill("password", password)
	b.submit("Create the account")
	b.sees("No tenants yet")
	b.until("what a new appliance lacks", `return /to see to/.test(document.querySelector('[aria-label="State of the appliance"]')?.innerText)`)
	b.quiet()
}

func (b *browser) createTenant(s *server) {
	b.t.Helper()
	b.click("Create tenant")
	b.fill("name", "Acme")
	b.fill("slug", "Not A Slug")
	b.click("Create tenant")
	b.until("an error at the field", `return all('input[name=slug]').some(e => e.getAttribute('aria-invalid') === 'true')`)
	b.fill("slug", "acme")
	b.click("Create tenant")
	b.until("the tenant's page", `return location.pathname === '/tenants/acme/prod'`)
	b.quiet()
}

func (b *browser) importFile(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "items.jsonl")
	writeItems(t, file, 40)
	b.goTo("/tenants/acme/prod/import")
	b.attach(file)
	b.fill("collection", "items")
	b.submit("Import")
	b.until("the import is done", `return /\b40\b/.test(document.body.innerText) && /created|imported|done/i.test(document.body.innerText)`)
	b.goTo("/tenants/acme/prod/collections/items")
	b.sees("item 39")
	b.quiet()
}

func (b *browser) createKey(t *testing.T) string {
	t.Helper()
	b.goTo("/tenants/acme/prod/keys")
	b.click("Create key")
	b.fill("name", "from the console")
	b.click("Create key")
	b.sees("hfk_")
	key := "" // the longest: others are shown as they begin
	for _, found := range regexp.MustCompile(`hfk_[A-Za-z0-9_-]+`).FindAllString(b.text(), -1) {
		if len(found) > len(key) {
			key = found
		}
	}
	b.click("I have copied it")
	b.sees("from the console")
	b.quiet()
	return key
}

func (b *browser) snapshot(s *server) {
	b.t.Helper()
	b.goTo("/targets")
	b.click("Add target")
	b.fill("name", "local")
	b.choose("file")
	b.fill("folder", filepath.Join(s.dir, "snapshots"))
	b.click("Add target")
	b.until("the target is listed", `return !document.querySelector('dialog[open]') && document.body.innerText.includes('snapshots')`)
	b.goTo("/tenants/acme/prod/snapshots")
	b.click("Snapshot now")
	b.sees("Restore the newest…")
	b.click("Verify")
	b.sees("The chain is whole")
	b.quiet()
}

func (b *browser) restore() {
	b.t.Helper()
	b.click("Restore the newest…")
	b.fill("as", "acme-restored")
	b.submit("See what would change")
	b.sees("Nothing was changed so far")
	b.click("Go on")
	b.submit("Restore")
	b.sees("Restored")
	b.click("Open acme-restored")
	b.until("the restored tenant's page", `return location.pathname === '/tenants/acme-restored/prod'`)
	b.goTo("/tenants/acme-restored/prod/collections/items")
	b.sees("item 39")
	b.quiet()
}

// consolePages are all pages behind the sign-in, by the name of a screenshot.
var consolePages = map[string]string{
	"tenants": "/tenants", "overview": "/tenants/acme/prod", "collections": "/tenants/acme/prod/collections",
	"records": "/tenants/acme/prod/collections/items?sort=-n&filter=n%3C30", "import": "/tenants/acme/prod/import",
	"keys": "/tenants/acme/prod/keys", "snapshots": "/tenants/acme/prod/snapshots", "policy": "/tenants/acme/prod/snapshots/policy",
	"userPolicy": "/tenants/acme/prod/collections/users/sign-in", "restore": "/tenants/acme/prod/restore", "log": "/tenants/acme/prod/audit",
	"danger": "/tenants/acme/prod/danger", "operations": "/operations", "shipping": "/snapshots", "targets": "/targets", "health": "/health", "operators": "/operators",
	"audit": "/audit", "notfound": "/no/such/page",
}

// browse opens every page wide and narrow: none is wider than its window, none
// shows an error. HOLDFAST_SHOTS names a folder for pictures, light and dark.
func (b *browser) browse(s *server) {
	b.t.Helper()
	for name, path := range consolePages {
		b.open(s.url() + path)
		b.until("a heading of "+path, `return all('h1, h2').length > 0 && !document.querySelector('[aria-busy=true]')`)
		if strings.Contains(b.text(), "Something went wrong") {
			b.t.Errorf("%s: %s", path, b.text())
		}
		for _, width := range []int64{1440, 390} {
			b.look(name, path, width, "light")
			if os.Getenv("HOLDFAST_SHOTS") != "" {
				b.look(name, path, width, "dark")
			}
		}
	}
	b.quiet()
}

func (b *browser) look(name, path string, width int64, theme string) {
	b.t.Helper()
	b.run(chromedp.EmulateViewport(width, 900))
	b.themed(theme)
	if over := evaluate[int](b, `document.documentElement.scrollWidth - window.innerWidth`); over > 0 {
		b.t.Errorf("%s is %d pixels wider than a window of %d", path, over, width)
	}
	b.accessible(name, theme)
	dir := os.Getenv("HOLDFAST_SHOTS")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	file := filepath.Join(dir, strings.Join([]string{name, map[int64]string{1440: "wide", 390: "narrow"}[width], theme}, "-")+".png")
	if err := os.WriteFile(file, picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) signOut(s *server) {
	b.t.Helper()
	evaluate[bool](b, `fetch('/api/v1/session', {method: 'DELETE'}).then(() => true)`)
	b.open(s.url() + "/tenants")
	b.sees("Sign in")
	b.fill("email", "olga@example.com")
	b.fill("password", "not the password")
	b.submit("Sign in")
	b.sees("do not match")
	b.fill("password", password)
	b.submit("Sign in")
	b.sees("acme-restored")
}

// goTo is a step inside the console, as a link makes it.
func (b *browser) goTo(path string) {
	b.t.Helper()
	evaluate[bool](b, "location.assign('"+path+"'), true")
	b.until("be at "+path, `return location.pathname === $1 && document.readyState === 'complete'`, path)
}

// TestStudio opens PocketBase's dashboard from the console: on its own origin,
// signed in, and without what is shut.
func TestStudio(t *testing.T) {
	t.Parallel()
	sequential(t)
	b := startBrowser(t)
	s := startServer(t)
	s.filled("acme", 5)
	operator := s.operator("owner@example.com")
	operator.want(403, "POST", "/api/v1/stores/acme/prod/studio", map[string]any{})
	s.joins("owner@example.com", "acme")
	link := decoded[struct{ URL string }](operator, operator.want(201, "POST", "/api/v1/stores/acme/prod/studio", map[string]any{})).URL
	if !strings.HasPrefix(link, "http://acme--studio.localhost:"+s.port()+"/") {
		t.Fatalf("the link is %s", link)
	}
	b.open(link)
	b.until("the dashboard", `return location.pathname.startsWith('/_/') && document.body.innerText.includes('items')`)
	for _, path := range []string{"/api/sql", "/api/backups", "/api/crons"} {
		status := evaluate[int](b, `fetch('`+path+`', {headers: {Authorization: JSON.parse(localStorage.getItem('__pb_superuser_auth__') || localStorage.getItem('pocketbase_auth') || '{}').token || ''}}).then(r => r.status)`)
		if status < 400 {
			t.Errorf("%s is answered %d in the studio", path, status)
		}
	}
	again := startBrowser(t)
	again.open(link)
	again.until("a used link is refused", `return !location.pathname.startsWith('/_/') && /expired|used|again/i.test(document.body.innerText)`)
}
