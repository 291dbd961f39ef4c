package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// refusalLog keeps events, or fails.
type refusalLog struct {
	events []api.Event
	fail   error
}

func (l *refusalLog) Record(_ context.Context, e api.Event) error {
	if l.fail == nil {
		l.events = append(l.events, e)
	}
	return l.fail
}

// closedDoor is a tenant's host that refuses everybody.
type closedDoor struct {
	*refusals
	log *refusalLog
	now time.Time
}

func newClosedDoor() *closedDoor {
	d := &closedDoor{log: &refusalLog{}, now: time.Unix(1000, 0)}
	d.refusals = newRefusals(d.log, func() time.Time { return d.now })
	return d
}

func (d *closedDoor) request(a data.Actor, address, path string) *http.Request {
	r := httptest.NewRequest("GET", path, nil)
	r.RemoteAddr = address + ":4000"
	return r.WithContext(data.WithActor(r.Context(), a))
}

func (d *closedDoor) knock(a data.Actor, address, path string) int {
	answer := httptest.NewRecorder()
	d.watch(answer, d.request(a, address, path), data.StoreID{Tenant: "t1", Environment: "prod"}).WriteHeader(http.StatusForbidden)
	return answer.Code
}

var (
	guest = data.Actor{Kind: data.Guest}
	aKey  = data.Actor{Kind: data.Key, ID: "k1"}
)

func recordPath(n int) string {
	return fmt.Sprintf("/api/collections/posts/records/%d%s", n, strings.Repeat("z", 900))
}

// TestGuestCannotFillTheLog: new paths, and new collections, are no new entries.
func TestGuestCannotFillTheLog(t *testing.T) {
	d := newClosedDoor()
	for n := range 400 {
		d.knock(guest, "192.0.2.1", recordPath(n))
		d.knock(guest, "192.0.2.1", fmt.Sprintf("/api/collections/c%d/records", n))
	}
	d.now = d.now.Add(time.Minute)
	d.knock(guest, "192.0.2.1", recordPath(1))
	if len(d.log.events) != 2 {
		t.Fatalf("%d entries", len(d.log.events))
	}
	e := d.log.events[1]
	if e.Detail["repeated"] != "799" || e.Detail["collection"] != "posts" || e.Detail["address"] != "192.0.2.1" ||
		e.Detail["route"] != "/api/collections/{collection}/records/{}" || len(e.Target) > 130 {
		t.Errorf("got %+v", e)
	}
}

func TestKnownActorsAreToldApartByPlace(t *testing.T) {
	d := newClosedDoor()
	for n := range 20 {
		d.knock(aKey, "192.0.2.1", recordPath(n))
	}
	d.knock(aKey, "192.0.2.1", "/api/collections/other/records/1")
	d.knock(data.Actor{Kind: data.Key, ID: "k2"}, "192.0.2.1", recordPath(1))
	if len(d.log.events) != 3 {
		t.Errorf("got %+v", d.log.events)
	}
}

// TestStoresLogIsCapped: a crowd of strangers neither fills the log nor hides the known.
func TestStoresLogIsCapped(t *testing.T) {
	d := newClosedDoor()
	for n := range 250 {
		d.knock(guest, fmt.Sprintf("192.0.2.%d", n), "/api/settings")
	}
	if len(d.log.events) != maxOfStrangers {
		t.Errorf("%d entries of strangers", len(d.log.events))
	}
	for n := range 250 {
		d.knock(aKey, "192.0.2.1", fmt.Sprintf("/api/collections/c%d", n))
	}
	if len(d.log.events) != maxRefusals {
		t.Errorf("%d entries", len(d.log.events))
	}
	if got := d.log.events[maxOfStrangers].Detail["unrecorded"]; got != "210" {
		t.Errorf("%q are told to have no entry", got)
	}
	d.now = d.now.Add(time.Minute)
	d.knock(guest, "198.51.100.1", "/api/settings")
	if got := d.log.events[maxRefusals].Detail["unrecorded"]; got != "230" {
		t.Errorf("%q are told to have no entry", got)
	}
}

// TestRefusalNeedsItsEntry: without an entry there is no 403, and the next try has to
// make one.
func TestRefusalNeedsItsEntry(t *testing.T) {
	d := newClosedDoor()
	d.log.fail = errors.New("the log is full")
	for range 2 * maxRefusals {
		if got := d.knock(guest, "192.0.2.1", "/api/settings"); got != http.StatusServiceUnavailable {
			t.Fatalf("got %d", got)
		}
	}
	d.log.fail = nil
	if got := d.knock(guest, "192.0.2.1", "/api/settings"); got != http.StatusForbidden || len(d.log.events) != 1 {
		t.Errorf("got %d, %+v", got, d.log.events)
	}
}

// TestUnknownKeysAreCountedByAddress: one network of IPv6 is one address.
func TestUnknownKeysAreCountedByAddress(t *testing.T) {
	d := newClosedDoor()
	for n := range 50 {
		r := d.request(guest, fmt.Sprintf("[2001:db8::%x]", n), recordPath(n))
		if err := d.credential(r, data.StoreID{Tenant: "t1", Environment: "prod"}, api.Errorf(401, "key-invalid", "no")); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.log.events) != 1 || d.log.events[0].Detail["code"] != "key-invalid" {
		t.Errorf("got %+v", d.log.events)
	}
}

func TestPlaceOf(t *testing.T) {
	for path, want := range map[string]place{
		"/api/collections/posts/records/abc":            {"posts", "/api/collections/{collection}/records/{}"},
		"/api/files/posts/abc/secret.pdf":               {"posts", "/api/files/{collection}/{}/{}"},
		"/api/collections/import":                       {"", "/api/collections/import"},
		"/api/collections/a b/records":                  {"?", "/api/collections/{collection}/records"},
		"/api/collections/users/auth-with-password":     {"users", "/api/collections/{collection}/auth-with-password"},
		"/whatever/it/is":                               {"", "/{}/{}/{}"},
		"/":                                             {"", "/{}"},
		"/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/": {"", "/{}/{}/{}/{}/{}/{}/{}/{}/{}"},
	} {
		if got := placeOf(path); got != want {
			t.Errorf("%s: got %+v", path, got)
		}
	}
	if got := clipPath(strings.Repeat("é", 200)); len(got) > maxPathInEntry+3 || strings.Contains(got, "\uFFFD") {
		t.Errorf("clipped to %q", got)
	}
}
