package app_test

import (
	"strings"
	"testing"
	"time"
)

const (
	accessPage   = "/tenants/acme/prod/access"
	itemsPage    = "/tenants/acme/prod/collections/items"
	itemsOfStore = "/api/v1/stores/acme/prod/collections/items/records"
)

// TestConsoleAccess goes the way of break-glass in two browsers. The appliance's own
// owner sees no record of a tenant, asks, is let in by the tenant's owner, who is shown
// each reading and ends it; in an emergency two other operators let them in, and the
// owner, who had allowed that, ends it; let in again, the time ends it.
func TestConsoleAccess(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startMoved(t)
	olga, mia := startBrowser(t), startBrowser(t)
	olga.setUp(s)
	s.must("tenant", "create", "acme", "--name", "Acme")
	s.fill("acme", 5)
	mia.joinsAsOwner(s)

	olga.asksToRead(s)
	mia.letsIn()
	olga.reads()
	mia.seesReading()
	mia.click("End now")
	mia.sees("Nobody was let in from outside")
	olga.isShutOut()

	mia.allowsEmergencies()
	olga.breaksTheGlass(s)
	mia.endsTheEmergency()
	olga.isShutOut()

	olga.asksAgain(s)
	olga.reads()
	s.pass(2 * time.Hour) // of the one that was given
	olga.isShutOut()
	s.awaitAccess("ended", "ended", "ended")
	mia.goTo(accessPage)
	mia.sees("Nobody was let in from outside")
	mia.lookAt(s, map[string]string{"access-past": accessPage})
	s.accessIsInTheLog()
	olga.quiet()
	mia.quiet()
}

// joinsAsOwner makes an account by an invite: one that is nothing but the tenant's owner.
func (b *browser) joinsAsOwner(s *server) {
	b.t.Helper()
	b.open(answer[struct{ Link string }](s, "invite", "create", "mia@example.com", "--tenant", "acme", "--role", "owner").Link)
	b.fill("name", "Mia Maker")
	b.fill("password", password)
	b.submit("Create the account")
	b.sees("Acme")
	b.quiet()
}

// asksToRead meets the note wherever records would be, and asks.
func (b *browser) asksToRead(s *server) {
	b.t.Helper()
	for _, path := range []string{itemsPage, "/tenants/acme/prod/collections", "/tenants/acme/prod"} {
		b.goTo(path)
		b.sees("You see sizes and health")
	}
	b.readsStatus(403)
	b.lookAt(s, map[string]string{"access-outside": "/tenants/acme/prod", "access-outside-items": itemsPage})
	b.click("Ask for access")
	b.fill("why", "ticket 4711")
	b.look("access-ask", itemsPage, 1440, "light")
	b.look("access-ask", itemsPage, 390, "dark")
	b.submit("Ask")
	b.sees("You have asked for access")
	b.lookAt(s, map[string]string{"access-asked": itemsPage, "access-mine": "/access", "access-of-operator": accessPage})
	b.readsStatus(403)
	b.quiet()
}

// letsIn finds the request by the number in the navigation.
func (b *browser) letsIn() {
	b.t.Helper()
	b.goTo("/tenants")
	b.until("one request to decide", `const e = all('a[href="/access"]').find(e => /\b1\b/.test(text(e))); if (e) e.click(); return !!e`)
	b.sees("ticket 4711")
	for _, width := range []int64{1440, 390} {
		b.look("access-to-decide", "/access", width, "light")
		b.look("access-to-decide", "/access", width, "dark")
	}
	b.look("access-to-decide", "/access", 1440, "light")
	b.click("Approve")
	b.sees("by Mia Maker")
	b.until("no request to decide", `return all('a[href="/access"]').every(e => !/\d/.test(text(e)))`)
	b.quiet()
}

func (b *browser) reads() {
	b.t.Helper()
	b.goTo("/tenants/acme/prod")
	b.sees("You read this tenant's records until")
	b.look("access-inside", "/tenants/acme/prod", 1440, "light")
	b.look("access-inside", "/tenants/acme/prod", 390, "dark")
	b.look("access-inside", "/tenants/acme/prod", 1440, "dark")
	b.goTo(itemsPage)
	b.sees("item 3")
	b.readsStatus(200)
	b.quiet()
}

// seesReading is shown what was read, by whom.
func (b *browser) seesReading() {
	b.t.Helper()
	b.goTo(accessPage)
	b.until("the readings", `const rows = all('table[aria-label=Reads] tbody tr').map(text);
		return rows.length >= 2 && rows.every(r => r.includes('Olga Owner') && r.includes('items') && r.includes('prod'))`)
	for _, width := range []int64{390, 1440} {
		b.look("access-now", accessPage, width, "dark")
		b.look("access-now", accessPage, width, "light")
	}
	b.quiet()
}

// isShutOut looks on, on a page that was open before: at once there is nothing.
func (b *browser) isShutOut() {
	b.t.Helper()
	b.sees("item 3")
	b.click("name") // sorts
	b.sees("You see sizes and health")
	b.until("no record", `return !document.body.innerText.includes('item 3')`)
	b.readsStatus(403)
	b.quiet()
}

func (b *browser) readsStatus(want int) {
	b.t.Helper()
	if got := evaluate[int](b, `fetch('`+itemsOfStore+`').then(r => r.status)`); got != want {
		b.t.Errorf("records are answered %d, want %d", got, want)
	}
}

func (b *browser) allowsEmergencies() {
	b.t.Helper()
	b.goTo(accessPage)
	b.sees("Only an owner lets anybody read")
	b.click("Allow it")
	b.until("it can be forbidden again", `return all('button').some(e => text(e) === 'Forbid it')`)
	b.quiet()
}

// breaksTheGlass asks in an emergency. One operator's approval does not do, the second's does.
func (b *browser) breaksTheGlass(s *server) {
	b.t.Helper()
	for _, email := range []string{"ben@example.com", "cat@example.com"} {
		s.operator(email)
	}
	b.click("Ask for access")
	b.choose("emergency")
	b.fill("why", "the shop is down")
	b.look("access-ask-emergency", itemsPage, 390, "light")
	b.submit("Ask")
	b.sees("You have asked for access")
	pair := startBrowser(b.t)
	pair.approvesAsOperator(s, "ben@example.com")
	b.readsStatus(403)
	pair.leaves()
	pair.approvesAsOperator(s, "cat@example.com")
	b.reads()
	pair.quiet()
}

func (b *browser) approvesAsOperator(s *server, email string) {
	b.t.Helper()
	b.open(s.url() + "/access")
	b.fill("email", email)
	b.fill("password", password)
	b.submit("Sign in")
	b.sees("the shop is down")
	b.look("access-emergency", "/access", 1440, "light")
	b.click("Approve as operator")
	b.sees("Nobody asks for anything") // of this operator, any more
}

// leaves signs out and is shown where to sign in.
func (b *browser) leaves() {
	b.t.Helper()
	evaluate[bool](b, `fetch('/api/v1/session', {method: 'DELETE'}).then(() => true)`)
	b.goTo("/tenants")
	b.sees("Forgotten password?")
}

// endsTheEmergency sees who was let in, by whom and why, and ends it.
func (b *browser) endsTheEmergency() {
	b.t.Helper()
	b.goTo(accessPage)
	b.until("the emergency", `return all('table[aria-label="Access now"] tbody tr').map(text).some(r => /emergency/.test(r) && /the shop is down/.test(r) && /ben/i.test(r) && /cat/i.test(r))`)
	b.look("access-emergency-now", accessPage, 1440, "light")
	b.look("access-emergency-now", accessPage, 390, "dark")
	b.click("End now")
	b.sees("Nobody was let in from outside")
	b.quiet()
}

// asksAgain asks by the same page; this time the command line, which owns acme too, says yes.
func (b *browser) asksAgain(s *server) {
	b.t.Helper()
	b.click("Ask for access")
	b.fill("why", "ticket 4711, again")
	b.submit("Ask")
	b.sees("You have asked for access")
	open := listed[struct{ ID, State string }](s, "access", "list", "acme", "--state", "open")
	if len(open) != 1 {
		b.t.Fatalf("open requests: %+v", open)
	}
	s.must("access", "approve", "acme", open[0].ID)
}

// awaitAccess waits until the requests are in these states, newest first.
func (s *server) awaitAccess(want ...string) {
	s.t.Helper()
	var got []string
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		got = nil
		for _, r := range listed[struct{ State string }](s, "access", "list", "acme") {
			got = append(got, r.State)
		}
		if strings.Join(got, " ") == strings.Join(want, " ") {
			return
		}
	}
	s.t.Fatalf("the requests are %v, want %v", got, want)
}

// accessIsInTheLog counts what the tenant's own log and the appliance's say.
func (s *server) accessIsInTheLog() {
	s.t.Helper()
	for _, where := range [][]string{{"--tenant", "acme"}, nil} {
		counts := map[string]int{}
		for _, e := range listed[struct{ Action string }](s, append([]string{"audit", "list", "--last", "200"}, where...)...) {
			counts[e.Action]++
		}
		if counts["access.request"] != 3 || counts["access.approve"] != 3 || counts["access.end"] != 3 || counts["access.emergency"] != 1 || (where != nil) != (counts["glass.read"] >= 4) {
			s.t.Errorf("the log %v says %v", where, counts)
		}
		s.auditHolds(where...)
	}
}
