package review

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

var (
	host = data.Actor{Kind: data.Host, ID: "1000"}
	ada  = data.Actor{Kind: data.Person, ID: "ada"}
	bob  = data.Actor{Kind: data.Person, ID: "bob"}
)

func as(a data.Actor) context.Context { return data.WithActor(context.Background(), a) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return api.AsProblem(err).Code
}

// world is what the room asks of others: what is held, who is idle.
type world struct {
	mu      sync.Mutex
	now     time.Time
	scopes  []Scope
	held    map[string][]Held // by scope
	owner   string            // of a grant that is not to be ended
	idle    []Account
	last    string // an account that is not to be disabled
	unused  []Held
	done    []string
	events  []string
	notices []Notice
	fail    error
}

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) Reach(_ context.Context, a data.Actor, _ api.Permission) (api.Reach, error) {
	if a == bob {
		return api.Reach{Tenants: []string{"t-acme"}}, nil
	}
	return api.Reach{All: true}, nil
}

func (w *world) Authorize(context.Context, data.Actor, api.Permission, api.Scope) error { return nil }

func (w *world) Scopes(context.Context) ([]Scope, error) { return w.scopes, nil }

func (w *world) Tenant(_ context.Context, slug string) (Scope, error) {
	for _, s := range w.scopes {
		if s.Name == slug {
			return s, nil
		}
	}
	return Scope{}, data.ErrNotFound
}

func (w *world) Held(_ context.Context, scope string) ([]Held, error) { return w.held[scope], nil }

func (w *world) End(_ context.Context, h Held) error {
	if h.ID == w.owner {
		return ErrLastOwner
	}
	for scope, list := range w.held {
		for i, one := range list {
			if one.ID == h.ID {
				w.held[scope] = slices.Delete(slices.Clone(list), i, i+1)
				w.done = append(w.done, "end "+h.ID)
				return nil
			}
		}
	}
	return data.ErrNotFound
}

func (w *world) Idle(_ context.Context, since time.Time) (out []Account, err error) {
	for _, a := range w.idle {
		if a.Since.Before(since) {
			out = append(out, a)
		}
	}
	return out, nil
}

func (w *world) Disable(_ context.Context, id, _ string) error {
	if id == w.last {
		return ErrLastOwner
	}
	w.done = append(w.done, "disable "+id)
	w.idle = slices.DeleteFunc(w.idle, func(a Account) bool { return a.ID == id })
	return nil
}

func (w *world) UnusedKeys(_ context.Context, since time.Time) (out []Held, err error) {
	for _, k := range w.unused {
		if k.Used.Before(since) {
			out = append(out, k)
		}
	}
	return out, nil
}

func (w *world) DisableKey(_ context.Context, h Held, _ string) error {
	w.done = append(w.done, "disable "+h.ID)
	w.unused = slices.DeleteFunc(w.unused, func(k Held) bool { return k.ID == h.ID })
	return nil
}

func (w *world) Record(ctx context.Context, e api.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	w.events = append(w.events, strings.TrimSpace(data.ActorFrom(ctx).String()+" "+e.Action+" "+e.Detail["decision"]+" "+e.Store))
	return nil
}

func (w *world) tell(_ context.Context, n Notice) error {
	w.notices = append(w.notices, n)
	return errors.New("mail is down") // stops nothing
}

func (w *world) SignNote(_ context.Context, text string) (signature, key string, err error) {
	signature, key = seal(nil, strings.TrimSuffix(text, "\n"))
	return signature, key, nil
}

type testKey [32]byte

func (k testKey) Current() (uint32, [32]byte, error)       { return 1, k, nil }
func (k testKey) Generation(uint32) ([32]byte, error)      { return k, nil }
func newTestKey() (k testKey)                              { _, _ = rand.Read(k[:]); return k }
func grant(id string, holder data.Actor, role string) Held { return held(KindGrant, id, holder, role) }
func key(id, role string) Held                             { return held(KindKey, id, data.Actor{}, role) }
func held(kind, id string, holder data.Actor, role string) Held {
	return Held{Kind: kind, ID: id, Holder: holder, Name: "Name of " + id, Detail: id + "@example.com", Role: role, Since: goldenTime, Used: goldenTime}
}

func newService(t testing.TB) (*Service, *world) {
	t.Helper()
	w := &world{now: goldenTime, owner: "g-ada", scopes: []Scope{{Appliance, ApplianceName, goldenTime}, {"t-acme", "acme", goldenTime}}, held: map[string][]Held{
		Appliance: {grant("g-ada", ada, "owner"), grant("g-bob", bob, "admin")},
		"t-acme":  {grant("g-acme", bob, "owner"), key("k-web", "read"), key("k-old", "admin")},
	}}
	db, err := system.Open(t.Context(), system.Config{Dir: t.TempDir() + "/data", Keys: newTestKey()})
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	s, err := New(t.Context(), Config{DB: db, Access: w, Accounts: w, Recorder: w, Signer: w, Tell: w.tell, Clock: w.clock})
	must(t, err)
	return s, w
}

// find gives the item of what is held.
func find(t testing.TB, s *Service, review, held string) Item {
	t.Helper()
	rows, err := s.items(t.Context(), review)
	must(t, err)
	for _, r := range rows {
		if r.Held == held {
			return r.item()
		}
	}
	t.Fatalf("no item for %s", held)
	return Item{}
}

func decide(t testing.TB, s *Service, actor data.Actor, review, held, decision string) error {
	t.Helper()
	_, err := s.Decide(as(actor), review, find(t, s, review, held).ID, Decision{Decision: decision, Note: " asked "})
	return err
}

func TestCampaign(t *testing.T) {
	s, w := newService(t)
	r, err := s.Start(as(host), w.scopes[1])
	must(t, err)
	equal(t, "waiting", r.Summary.Waiting, 3)
	equal(t, "due", r.Due, goldenTime.Add(14*day))
	equal(t, "ends", r.Ends, goldenTime.Add(21*day))
	equal(t, "told", len(w.notices) == 1 && w.notices[0].Kind == NoticeStarted, true)
	_, err = s.Start(as(host), w.scopes[1])
	equal(t, "a second one", code(err), "review-open")

	equal(t, "one's own", code(decide(t, s, bob, r.ID, "g-acme", Confirmed)), "own-access")
	must(t, decide(t, s, ada, r.ID, "g-acme", Confirmed))
	must(t, decide(t, s, ada, r.ID, "k-web", Confirmed))
	must(t, decide(t, s, ada, r.ID, "k-web", Revoked)) // one may think again
	equal(t, "once revoked", code(decide(t, s, ada, r.ID, "k-web", Confirmed)), "decided")
	must(t, decide(t, s, ada, r.ID, "k-old", Revoked))
	equal(t, "ended", strings.Join(w.done, ","), "end k-web,end k-old")

	got, err := s.Get(t.Context(), r.ID)
	must(t, err)
	equal(t, "state", got.State, "closed")
	equal(t, "summary", got.Summary, Summary{Items: 3, Confirmed: 1, Revoked: 2})
	equal(t, "when closed", code(decide(t, s, ada, r.ID, "g-acme", Revoked)), "review-closed")
	equal(t, "log", strings.Join(w.events, "\n"), strings.Join([]string{
		"host:1000 review.start  t-acme/prod", "person:ada review.decide confirmed t-acme/prod", "person:ada review.decide confirmed t-acme/prod",
		"person:ada review.decide revoked t-acme/prod", "person:ada review.decide revoked t-acme/prod", "person:ada review.close  t-acme/prod"}, "\n"))
	row, err := s.row(t.Context(), r.ID)
	must(t, err)
	report, _, err := CheckReport([]byte(row.Report), []byte(row.Signature), row.VKey)
	must(t, err)
	equal(t, "decisions in the report", len(report.Items) == 3 && report.Items[0].DecidedBy == "person:ada" && report.Items[0].Note == "asked", true)
	_, err = s.Start(as(host), w.scopes[1])
	must(t, err)
}

func TestUnansweredLapses(t *testing.T) {
	s, w := newService(t)
	r, err := s.Start(as(host), w.scopes[0])
	must(t, err)
	sweep := func(d time.Duration) string {
		t.Helper()
		w.pass(d)
		must(t, s.Sweep(context.Background(), w.now))
		got, err := s.Get(t.Context(), r.ID)
		must(t, err)
		return got.State
	}
	equal(t, "a day before", sweep(13*day), "open")
	equal(t, "notice", sweep(day), "notice")
	equal(t, "told", w.notices[len(w.notices)-1].Kind, NoticeWaiting)
	equal(t, "six days on", sweep(6*day), "notice")
	equal(t, "nothing ended", len(w.done), 0)
	equal(t, "a week on", sweep(day), "closed")
	equal(t, "ended", strings.Join(w.done, ","), "end g-bob")
	got, err := s.Get(t.Context(), r.ID)
	must(t, err)
	equal(t, "summary", got.Summary, Summary{Items: 2, Lapsed: 1, Kept: 1})
	equal(t, "by", find(t, s, r.ID, "g-bob").DecidedBy, "system")
	equal(t, "the last owner", find(t, s, r.ID, "g-ada").Decision, Kept)
	found, err := s.Findings(t.Context())
	must(t, err)
	equal(t, "finding", len(found) == 1 && found[0].ID == "review-last-owner" && strings.Contains(found[0].Fix, "holdfast review start"), true)
}

// TestNoticeComesFirst: a server that was off all the time gives notice, and waits.
func TestNoticeComesFirst(t *testing.T) {
	s, w := newService(t)
	r, err := s.Start(as(host), w.scopes[0])
	must(t, err)
	w.pass(60 * day)
	must(t, s.Sweep(context.Background(), w.now))
	got, err := s.Get(t.Context(), r.ID)
	must(t, err)
	equal(t, "state", got.State, "notice")
	equal(t, "ends", got.Ends, w.clock().Add(7*day))
}

func TestQuarterly(t *testing.T) {
	s, w := newService(t)
	began := func(d time.Duration) int {
		t.Helper()
		w.pass(d)
		must(t, s.Sweep(context.Background(), w.now))
		page, err := s.list(t.Context(), api.Paging{Page: 1, PerPage: 50}, api.Reach{All: true})
		must(t, err)
		return page.Total
	}
	equal(t, "90 days on", began(90*day), 0)
	equal(t, "91 days on", began(day), 2)
	equal(t, "the same hour", began(time.Hour), 2)
	began(14 * day)
	began(7 * day)
	equal(t, "next quarter", began(70*day), 4)
	must(t, s.SetPolicy(as(host), Policy{Answer: 14, Notice: 7, Warn: 14}))
	equal(t, "only on demand", began(400*day), 4)
}

func TestWhatIsGoneBeforeIsSaid(t *testing.T) {
	s, w := newService(t)
	r, err := s.Start(as(host), w.scopes[1])
	must(t, err)
	must(t, w.End(t.Context(), key("k-old", "admin")))
	must(t, decide(t, s, ada, r.ID, "k-old", Revoked))
	equal(t, "decision", find(t, s, r.ID, "k-old").Decision, Gone)
	w.owner = "g-acme"
	equal(t, "last owner", code(decide(t, s, ada, r.ID, "g-acme", Revoked)), "last-owner")
	equal(t, "still waits", find(t, s, r.ID, "g-acme").Decision, "")
}

func TestWhatCannotBeRecordedIsNotDecided(t *testing.T) {
	s, w := newService(t)
	r, err := s.Start(as(host), w.scopes[1])
	must(t, err)
	w.fail = errors.New("no log")
	if err := decide(t, s, ada, r.ID, "k-web", Confirmed); err == nil {
		t.Fatal("decided")
	}
	equal(t, "still waits", find(t, s, r.ID, "k-web").Decision, "")
	if _, err := s.Start(as(host), w.scopes[0]); err == nil {
		t.Fatal("started")
	}
	if err := s.SetPolicy(as(host), DefaultPolicy()); err == nil {
		t.Fatal("policy set")
	}
	page, err := s.list(t.Context(), api.Paging{Page: 1, PerPage: 50}, api.Reach{All: true})
	must(t, err)
	equal(t, "reviews", page.Total, 1)
}

func TestIdleAccounts(t *testing.T) {
	s, w := newService(t)
	w.idle = []Account{{"p-idle", "Ida", "ida@example.com", goldenTime}, {"p-last", "Lou", "lou@example.com", goldenTime}}
	w.last = "p-last"
	must(t, s.SetPolicy(as(host), Policy{Answer: 14, Notice: 7, Dormant: 90, Warn: 14}))
	sweep := func(d time.Duration) string {
		t.Helper()
		daily(t, s, w, d)
		return strings.Join(w.done, ",")
	}
	sweep(75 * day)
	equal(t, "not yet", len(w.notices), 0)
	sweep(2 * day)
	equal(t, "warned once each", len(w.notices), 2)
	equal(t, "no sooner than said", sweep(13*day), "")
	equal(t, "disabled", sweep(day), "disable p-idle")
	found, err := s.Findings(t.Context())
	must(t, err)
	equal(t, "the last owner's", len(found) == 1 && found[0].ID == "owner-idle" && strings.Contains(found[0].What, "lou@example.com"), true)
	w.idle = nil
	sweep(day)
	found, err = s.Findings(t.Context())
	must(t, err)
	equal(t, "in use again", len(found), 0)
}

// TestIdleAccountsAreWarnedFirst: also after the server was off for a year.
func TestIdleAccountsAreWarnedFirst(t *testing.T) {
	s, w := newService(t)
	w.idle = []Account{{"p-idle", "Ida", "ida@example.com", goldenTime}}
	w.pass(365 * day)
	must(t, s.Sweep(context.Background(), w.now))
	must(t, s.Sweep(context.Background(), w.now))
	equal(t, "done", strings.Join(w.done, ","), "")
	daily(t, s, w, 14*day)
	equal(t, "then", slices.Contains(w.done, "disable p-idle"), true)
}

// daily passes time with a running appliance.
func daily(t testing.TB, s *Service, w *world, d time.Duration) {
	t.Helper()
	for ; d > 0; d -= day {
		w.pass(min(d, day))
		must(t, s.Sweep(context.Background(), w.now))
	}
	must(t, s.Sweep(context.Background(), w.now))
}

func TestUnusedKeys(t *testing.T) {
	s, w := newService(t)
	w.unused = []Held{key("k-old", "read"), key("k-older", "admin")}
	w.unused[0].Store, w.unused[1].Store = "t-acme/prod", "t-acme/prod"
	daily(t, s, w, 75*day)
	equal(t, "not yet", len(w.notices), 0)
	daily(t, s, w, 2*day)
	equal(t, "warned of both at once", len(w.notices) == 1 && w.notices[0].Kind == NoticeIdleKeys && w.notices[0].Waiting == 2 && w.notices[0].Scope == "t-acme", true)
	equal(t, "recorded where its owners read", w.events[len(w.events)-1], "system key.idle  t-acme/prod")
	found, err := s.Findings(t.Context())
	must(t, err)
	equal(t, "finding", len(found) == 1 && found[0].ID == "keys-idle", true)
	w.unused[0].Used = w.clock() // in use again
	daily(t, s, w, 13*day)
	equal(t, "no sooner than said", len(w.done), 0)
	daily(t, s, w, day)
	equal(t, "done", strings.Join(w.done, ","), "disable k-older")
	rows, err := s.idleKeyRows(t.Context())
	must(t, err)
	equal(t, "forgotten", len(rows), 0)
}

// TestTimeOffDoesNotCount: neither to the warning of keys and accounts nor to what is
// left of it, wherever the appliance was switched off.
func TestTimeOffDoesNotCount(t *testing.T) {
	s, w := newService(t)
	must(t, s.SetPolicy(as(host), Policy{Answer: 14, Notice: 7, Dormant: 90, Warn: 14, UnusedKeys: 90}))
	w.unused = []Held{key("k-old", "read")}
	w.idle = []Account{{"p-idle", "Ida", "ida@example.com", goldenTime}}
	w.pass(365 * day) // off
	daily(t, s, w, day)
	daily(t, s, w, 9*day)
	equal(t, "warned", len(w.notices), 2)
	w.pass(200 * day)
	must(t, s.Sweep(context.Background(), w.now))
	equal(t, "after another time off", len(w.done), 0)
	daily(t, s, w, 4*day)
	equal(t, "a day before", len(w.done), 0)
	daily(t, s, w, day)
	equal(t, "then", strings.Join(w.done, ","), "disable p-idle,disable k-old")
}

// TestKeysOfAShortPeriodAreNotWarnedOfAtOnce: the warning is at most half of it.
func TestKeysOfAShortPeriodAreNotWarnedOfAtOnce(t *testing.T) {
	s, w := newService(t)
	must(t, s.SetPolicy(as(host), Policy{Answer: 14, Notice: 7, Warn: 14, UnusedKeys: 7}))
	w.unused = []Held{key("k-old", "read")}
	daily(t, s, w, 4*day)
	equal(t, "new", len(w.notices), 0)
	daily(t, s, w, day)
	equal(t, "warned", len(w.notices), 1)
	daily(t, s, w, 3*day)
	equal(t, "done", strings.Join(w.done, ","), "disable k-old")
}

func router(t testing.TB, s *Service, w *world) http.Handler {
	t.Helper()
	rt, err := api.NewRouter(api.Config{Authorizer: w, Assurer: anybody{}, Recorder: w, Authenticate: func(r *http.Request) (data.Actor, error) {
		return data.ParseActor(r.Header.Get("As")), nil
	}})
	must(t, err)
	must(t, rt.Add(s.Routes()...))
	return rt.Handler()
}

type anybody struct{}

func (anybody) Assure(*http.Request, data.Actor, api.Assurance) error { return nil }

func TestOverREST(t *testing.T) {
	s, w := newService(t)
	h := router(t, s, w)
	ask := func(status int, who data.Actor, method, path, body string) *httptest.ResponseRecorder {
		t.Helper()
		r, out := httptest.NewRequest(method, path, strings.NewReader(body)), httptest.NewRecorder()
		r.Header.Set("As", who.String())
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		h.ServeHTTP(out, r)
		if out.Code != status {
			t.Fatalf("%s %s: %d %s", method, path, out.Code, out.Body)
		}
		return out
	}
	var r Review
	must(t, json.Unmarshal(ask(201, ada, "POST", "/api/v1/tenants/acme/reviews", "").Body.Bytes(), &r))
	ask(201, ada, "POST", "/api/v1/reviews", "")
	ask(409, ada, "POST", "/api/v1/reviews", "")
	ask(404, ada, "POST", "/api/v1/tenants/nobody/reviews", "")
	var list api.Page[Review]
	must(t, json.Unmarshal(ask(200, ada, "GET", "/api/v1/reviews?filter=open", "").Body.Bytes(), &list))
	equal(t, "all", list.Total, 2)
	must(t, json.Unmarshal(ask(200, bob, "GET", "/api/v1/reviews", "").Body.Bytes(), &list))
	equal(t, "in reach", list.Total == 1 && list.Items[0].ID == r.ID, true)
	var items api.Page[Item]
	must(t, json.Unmarshal(ask(200, ada, "GET", "/api/v1/reviews/"+r.ID+"/items?filter=waiting", "").Body.Bytes(), &items))
	equal(t, "waiting", items.Total, 3)
	ask(409, ada, "GET", "/api/v1/reviews/"+r.ID+"/report", "")
	for _, it := range items.Items {
		one := "/api/v1/reviews/" + r.ID + "/items/" + it.ID
		ask(422, ada, "PATCH", one, `{"decision":"maybe"}`)
		ask(200, ada, "PATCH", one, `{"decision":"confirmed","note":"needed"}`)
	}
	ask(404, ada, "PATCH", "/api/v1/reviews/"+r.ID+"/items/none", `{"decision":"confirmed"}`)
	report := ask(200, ada, "GET", "/api/v1/reviews/"+r.ID+"/report", "")
	sig := ask(200, ada, "GET", "/api/v1/reviews/"+r.ID+"/report?format=sig", "")
	_, _, err := CheckReport(report.Body.Bytes(), sig.Body.Bytes(), sig.Header().Get("X-Verifier-Key"))
	must(t, err)
	page := ask(200, ada, "GET", "/api/v1/reviews/"+r.ID+"/report?format=html", "").Body.String()
	if !strings.Contains(page, "Name of k-web") || strings.Contains(page, "<script") {
		t.Error(page)
	}
	ask(422, ada, "GET", "/api/v1/reviews/"+r.ID+"/report?format=pdf", "")
	ask(404, ada, "GET", "/api/v1/reviews/none", "")
	ask(200, ada, "GET", "/api/v1/reviews/policy", "")
	ask(422, ada, "PUT", "/api/v1/reviews/policy", `{"every_days":3}`)
	ask(422, ada, "PUT", "/api/v1/reviews/policy", `{"dormant_days":20,"warn_days":20}`)
	ask(422, ada, "PUT", "/api/v1/reviews/policy", `{"answer_days":0}`)
	var p Policy
	must(t, json.Unmarshal(ask(200, ada, "PUT", "/api/v1/reviews/policy", `{"every_days":0}`).Body.Bytes(), &p))
	equal(t, "the others have their defaults", p, Policy{0, 14, 7, 90, 14, 90})
}
