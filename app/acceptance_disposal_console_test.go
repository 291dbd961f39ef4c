package app_test

import (
	"os"
	"testing"
)

// TestConsoleDisposal erases a record in the browser, then looks at a destroyed
// tenant, its certificate and the ledger.
func TestConsoleDisposal(t *testing.T) {
	t.Parallel()
	sequential(t)
	b := startBrowser(t)
	s := startServer(t)
	b.setUp(s)
	s.target("offsite")
	s.must("tenant", "create", "acme", "--name", "Acme")
	s.joins("olga@example.com", "acme")
	s.fill("acme", 5)
	s.filled("gone", 5)
	s.must("snapshot", "now", "gone")
	s.must("tenant", "delete", "gone", "--yes", "--now")
	d := s.certificateOf("gone")

	victim := s.ids("acme")[2]
	b.goTo("/tenants/acme/prod/danger")
	b.sees("Nothing was erased")
	b.click("Erase records…")
	b.fill("record", "not-a-record")
	b.click("Erase for good")
	b.sees("There is no such record")
	b.fill("record", victim)
	b.fill("reason", "case 4711")
	b.click("Erase for good")
	b.sees("case 4711")
	b.sees("on one target")
	if left := s.ids("acme"); len(left) != 4 {
		t.Errorf("%d records are left", len(left))
	}
	b.quiet()

	for name, path := range map[string]string{
		"disposals": "/disposals", "destroyed": "/tenants/gone/prod", "erasures": "/tenants/acme/prod/danger",
		"certificate": "/api/v1/disposals/" + d.ID + "/print",
	} {
		b.open(s.url() + path)
		b.until("a heading of "+path, `return all('h1, h2').length > 0 && !document.querySelector('[aria-busy=true]')`)
		for _, want := range map[string][]string{
			"disposals": {"gone", "certified", "offsite", "the same"}, "destroyed": {"Certificate of disposal", d.VerifierKey},
			"certificate": {"Certificate of disposal", "What cannot be promised", "snapshots (1)", "pages 1"},
		}[name] {
			b.sees(want)
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
