package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

const (
	slotsPath = "/api/v1/test/slots"
	twoPath   = "/api/v1/policies/two-persons"
	slotBody  = `{"kind":"passphrase","passphrase":"only ada knows it"}`
)

type testSlot struct {
	Kind       string `json:"kind"`
	Passphrase string `json:"passphrase,omitempty" secret:"later"`
}

// pairHouse has two owners of the appliance, ada and sam, and routes that take two persons.
type pairHouse struct {
	*house
	ada, sam *browser
	ids      map[string]string
	outbox   *letterbox
	mu       sync.Mutex
	did      []string
}

// take are the letters since the last time, as "address: subject".
func (b *letterbox) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, l := range b.letters {
		if strings.Contains(l.Text, "two persons") || strings.Contains(l.Text, "second") || strings.Contains(l.Text, "you asked for") {
			out = append(out, l.To+": "+l.Subject)
		}
	}
	b.letters = nil
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func newPairHouse(t *testing.T, owners ...string) *pairHouse {
	h := &pairHouse{house: newHouse(t), ids: map[string]string{}}
	h.outbox = withMail(h.house)
	h.route()
	for _, name := range owners {
		h.ids[name] = h.house.owner(name + "@example.com").ID
	}
	h.clock.add(time.Minute)
	h.signIn()
	return h
}

// signIn signs both in anew: their factors are fresh.
func (h *pairHouse) signIn() {
	h.ada = h.browser().signIn("ada@example.com")
	if h.ids["sam"] != "" {
		h.sam = h.browser().signIn("sam@example.com")
	}
	h.outbox.take()
}

func (h *pairHouse) route() {
	rt, err := api.NewRouter(api.Config{Authenticate: h.AuthenticateRequest, Authorizer: h.Service, Assurer: h.Service, Pairer: h.Service, Recorder: h.log})
	must(h.t, err)
	must(h.t, rt.Add(h.Routes()...))
	must(h.t, rt.Add(
		api.Route{Method: "POST", Path: slotsPath, Permission: api.CustodyManage, Assurance: api.Fresh, Request: testSlot{}, Response: testSlot{},
			Pair: &api.Pair{Action: "slot.add", Title: "Add a way to open the root key"}, Handler: h.add},
		api.Route{Method: "DELETE", Path: "/api/v1/test/tenants/{slug}", Permission: api.TenantDelete, Assurance: api.Fresh,
			Scope: func(*http.Request) api.Scope { return api.Scope{Tenant: acme.Tenant} },
			Query: []api.Param{{Name: "now"}},
			Pair:  &api.Pair{Action: "tenant.destroy", Title: "Destroy a tenant", When: func(r *http.Request) bool { return r.URL.Query().Get("now") != "" }},
			Handler: func(w http.ResponseWriter, r *http.Request) error {
				h.note("destroyed " + r.PathValue("slug"))
				return api.NoContent(w)
			}},
	))
	h.router = rt.Handler()
}

func (h *pairHouse) note(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.did = append(h.did, what)
}

func (h *pairHouse) done() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.did, ", ")
}

func (h *pairHouse) add(w http.ResponseWriter, r *http.Request) error {
	var n testSlot
	if err := api.Read(r, &n); err != nil {
		return err
	}
	switch {
	case n.Passphrase == "":
		return api.InvalidField("passphrase", "is missing")
	case n.Kind == "broken":
		return errors.New("it broke")
	}
	h.note(n.Kind + " " + n.Passphrase)
	return api.Respond(w, http.StatusOK, testSlot{Kind: n.Kind})
}

// open are the requests that wait, as somebody sees them.
func (h *pairHouse) list(b *browser, state string) []Approval {
	h.t.Helper()
	return decode[api.Page[Approval]](h.t, b.want(200, "GET", pairsPath+"?state="+state, "")).Items
}

// asked has ada ask for a slot, and gives the request's id.
func (h *pairHouse) asked(body string) string {
	h.t.Helper()
	w := h.ada.want(403, "POST", slotsPath, body)
	equal(h.t, "code", codeOf(h.t, w), "second-person-required")
	return strings.TrimPrefix(w.Header().Get("Location"), pairsPath+"/")
}

func (h *pairHouse) approve(b *browser, status int, id string) *httptest.ResponseRecorder {
	h.t.Helper()
	return b.want(status, "POST", pairsPath+"/"+id+"/approve", `{"note":"we spoke"}`)
}

func (h *pairHouse) host(method, path, body string) *httptest.ResponseRecorder {
	h.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body)).WithContext(bg)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.router.ServeHTTP(w, r)
	return w
}

func TestTwoPersons(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	id := h.asked(`{"kind":"passphrase"}`) // without the secret
	equal(t, "asked again with it", h.asked(slotBody), id)
	equal(t, "told", h.outbox.take(), "sam@example.com: Somebody asks for your approval: Add a way to open the root key")
	equal(t, "done before", h.done(), "")

	seen := h.list(h.sam, "open")[0]
	equal(t, "what sam reads", fmt.Sprintf("%s %v %v %s %t %t", seen.Title, seen.Facts, seen.Secrets, seen.Requester.Email, seen.MayDecide, seen.Mine),
		"Add a way to open the root key [{kind passphrase}] [passphrase] ada@example.com true false")
	equal(t, "ada's own", codeOf(t, h.approve(h.ada, 403, id)), "own-request")
	equal(t, "ada may decide", h.list(h.ada, "open")[0].MayDecide, false)
	equal(t, "approved", decode[Approval](t, h.approve(h.sam, 200, id)).State, "approved")
	equal(t, "told", h.outbox.take(), "ada@example.com: Your request is approved: Add a way to open the root key")

	equal(t, "another kind is another request", h.asked(`{"kind":"shares","passphrase":"x"}`) != id, true)
	h.sam.want(403, "POST", slotsPath, slotBody) // it is ada's to carry out
	h.ada.want(422, "POST", slotsPath, `{"kind":"passphrase"}`)
	h.ada.want(200, "POST", slotsPath, slotBody)
	equal(t, "done", h.done(), "passphrase only ada knows it")
	equal(t, "good once", h.asked(slotBody) != id, true)
	equal(t, "used", decode[Approval](t, h.sam.want(200, "GET", pairsPath+"/"+id, "")).State, "used")

	log := strings.Join(h.log.events, "\n")
	for _, action := range []string{"two-persons.begin", "approval.request", "approval.approve", "approval.use"} {
		equal(t, action+" is in the log", strings.Contains(log, " "+action+"  ok"), true)
	}
	equal(t, "no secret is kept", strings.Contains(fmt.Sprint(h.log.detail, h.list(h.sam, "past"), h.list(h.sam, "open")), "only ada knows it"), false)
}

// TestApprovalIsNotUsedUp: what was refused before anything was done can be tried again,
// what broke half-way cannot.
func TestApprovalIsNotUsedUp(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	id := h.asked(`{"kind":"broken"}`)
	h.approve(h.sam, 200, id)
	h.ada.want(422, "POST", slotsPath, `{"kind":"broken"}`)
	h.ada.want(500, "POST", slotsPath, `{"kind":"broken","passphrase":"x"}`)
	h.asked(`{"kind":"broken"}`)
}

func TestApprovalsEnd(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	id := h.asked(slotBody)
	h.clock.add(PairWaits)
	h.signIn()
	equal(t, "too late", codeOf(t, h.approve(h.sam, 409, id)), "not-open")
	must(t, h.Sweep(bg))
	h.clock.add(-time.Hour) // the clock set back brings nothing back
	h.signIn()
	equal(t, "still too late", codeOf(t, h.approve(h.sam, 409, id)), "not-open")

	id = h.asked(slotBody)
	h.approve(h.sam, 200, id)
	h.clock.add(PairGood)
	h.signIn()
	equal(t, "asks anew", h.asked(slotBody) != id, true)
	equal(t, "done", h.done(), "")
}

func TestRefusedAndWithdrawn(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	id := h.asked(slotBody)
	equal(t, "refused", decode[Approval](t, h.sam.want(200, "POST", pairsPath+"/"+id+"/refuse", `{"note":"no"}`)).State, "refused")
	again := h.asked(slotBody)
	equal(t, "another", again != id, true)
	h.sam.want(404, "DELETE", pairsPath+"/"+again, "")
	h.approve(h.sam, 200, again)
	equal(t, "withdrawn", decode[Approval](t, h.ada.want(200, "DELETE", pairsPath+"/"+again, "")).State, "withdrawn")
	h.asked(slotBody)
	equal(t, "done", h.done(), "")
}

// TestWhoCannotBeTheSecondPerson: nobody who was made for it, nobody without the
// permission, and nobody who is gone by the time it is carried out.
func TestWhoCannotBeTheSecondPerson(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	h.asked(slotBody) // since now two persons are asked for
	asAda := data.WithActor(bg, data.Actor{Kind: data.Person, ID: h.ids["ada"]})
	make := func(ctx context.Context, name, role string) *browser {
		o, err := h.CreateOperator(ctx, NewOperator{NewPerson: NewPerson{Email: name + "@example.com", Name: "Some One", Password: goodPassword}, Role: role})
		must(t, err)
		h.ids[name] = o.ID
		return h.browser().signIn(name + "@example.com")
	}
	h.clock.add(time.Second)
	puppet, admin := make(asAda, "puppet", Owner), make(bg, "admin", "admin")
	h.clock.add(time.Second)
	id := h.asked(`{"kind":"other"}`)
	h.clock.add(time.Second)
	late := make(bg, "late", Owner)
	equal(t, "made by who asks", codeOf(t, h.approve(puppet, 403, id)), "not-independent")
	equal(t, "without the permission", codeOf(t, h.approve(admin, 403, id)), "forbidden")
	equal(t, "made after it", codeOf(t, h.approve(late, 403, id)), "not-independent")
	equal(t, "who may", fmt.Sprint(h.list(puppet, "open")[0].MayDecide, h.list(admin, "open")[0].MayDecide, h.list(late, "open")[0].MayDecide, h.list(h.sam, "open")[0].MayDecide), "false false false true")

	h.approve(h.sam, 200, id)
	must(t, h.setState(bg, "person.lock", h.ids["sam"], locked))
	h.grants.forget()
	equal(t, "sam is gone", codeOf(t, h.ada.want(403, "POST", slotsPath, `{"kind":"other","passphrase":"x"}`)), "approver-gone")
	equal(t, "done", h.done(), "")
}

// TestAnAccountOpenedAnewIsNoSecondPerson: who asks may sit in an account whose sign-in
// they have reset; a week later its owner would have noticed.
func TestAnAccountOpenedAnewIsNoSecondPerson(t *testing.T) {
	h := newPairHouse(t, "ada", "sam", "tom")
	h.ada.want(204, "DELETE", "/api/v1/people/"+h.ids["sam"]+"/factors", "")
	h.signIn()
	equal(t, "sam", codeOf(t, h.approve(h.sam, 403, h.asked(slotBody))), "not-independent")
	h.clock.add(PairRests + time.Minute)
	h.signIn()
	h.approve(h.sam, 200, h.asked(slotBody))
}

// TestOnePersonIsNotLockedOut: who is alone is not asked for somebody else; who becomes it
// is asked for a week more, so that ending the others is no way round.
func TestOnePersonIsNotLockedOut(t *testing.T) {
	h := newPairHouse(t, "ada")
	h.ada.want(200, "POST", slotsPath, slotBody)
	h.ids["sam"] = h.house.owner("sam@example.com").ID
	must(t, h.Sweep(bg))
	must(t, h.endingGrants(bg, Appliance, `person = ? AND scope = ?`, h.ids["sam"], Appliance))
	h.asked(slotBody)
	h.clock.add(PairRests - time.Minute)
	delete(h.ids, "sam")
	h.signIn()
	must(t, h.Sweep(bg))
	h.asked(slotBody)
	h.clock.add(2 * time.Minute)
	h.ada.want(200, "POST", slotsPath, slotBody)
	equal(t, "alone", codeOf(t, h.ada.want(409, "PUT", twoPath, `{"mode":"on"}`)), "alone")
}

func TestTurningItOffTakesTwo(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	w := h.ada.want(403, "PUT", twoPath, `{"mode":"off"}`)
	equal(t, "code", codeOf(t, w), "second-person-required")
	h.approve(h.sam, 200, strings.TrimPrefix(w.Header().Get("Location"), pairsPath+"/"))
	equal(t, "off", decode[PairPolicy](t, h.ada.want(200, "PUT", twoPath, `{"mode":"off"}`)).Mode, PairOff)
	h.ada.want(200, "POST", slotsPath, slotBody)
	p := decode[PairPolicy](t, h.ada.want(200, "PUT", twoPath, `{"mode":"on"}`)) // stricter takes one
	equal(t, "on", fmt.Sprintf("%s %t %d", p.Mode, p.Force[0].Since != nil, p.Force[0].Could), "on true 2")
	must(t, h.endingGrants(bg, Appliance, `person = ? AND scope = ?`, h.ids["sam"], Appliance))
	h.clock.add(PairRests * 2)
	delete(h.ids, "sam")
	h.signIn()
	h.asked(slotBody)
}

// TestHostAloneIsTold: the command line of the host needs nobody, and all are told.
func TestHostAloneIsTold(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	w := h.host("POST", slotsPath, slotBody)
	equal(t, "status", w.Code, 200)
	const subject = "@example.com: Done on the host without a second person: Add a way to open the root key"
	equal(t, "told", h.outbox.take(), "ada"+subject+"; sam"+subject)
	alone := h.list(h.sam, "alone")
	equal(t, "listed", fmt.Sprintf("%d %s", len(alone), alone[0].Requester.ID), "1 host")
	equal(t, "in the log before", h.log.last(), "host:1000 approval.alone  ok")

	h.log.fail = errNoLog
	equal(t, "not without the log", h.host("POST", slotsPath, slotBody).Code, 500)
	equal(t, "done", h.done(), "passphrase only ada knows it")
}

// TestWhatCannotBeRecordedIsNotApproved: no step without its entry.
func TestApprovalThatCannotBeRecordedIsNone(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	h.asked(`{"kind":"first"}`)
	h.log.fail = errNoLog
	h.ada.want(500, "POST", slotsPath, slotBody)
	h.log.fail = nil
	equal(t, "requests", len(h.list(h.sam, "open")), 1)
	id := h.asked(slotBody)
	h.log.fail = errNoLog
	h.approve(h.sam, 500, id)
	h.log.fail = nil
	equal(t, "not approved", h.asked(slotBody), id)
	h.approve(h.sam, 200, id)
	h.log.fail = errNoLog
	h.ada.want(500, "POST", slotsPath, slotBody)
	h.log.fail = nil
	equal(t, "done", h.done(), "")
	h.ada.want(200, "POST", slotsPath, slotBody)
}

// TestApprovalIsGoodOnceOfManyAtOnce carries it out in many requests at the same time.
func TestApprovalIsGoodOnceOfManyAtOnce(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	h.approve(h.sam, 200, h.asked(slotBody))
	var all sync.WaitGroup
	for range 8 {
		b := &browser{h: h.house, address: h.ada.address, host: h.ada.host, cookies: map[string]string{}}
		for name, value := range h.ada.cookies {
			b.cookies[name] = value
		}
		all.Go(func() { b.send("POST", slotsPath, slotBody) })
	}
	all.Wait()
	equal(t, "done", h.done(), "passphrase only ada knows it")
}

// TestTenantsOwnPeopleAreNotAsked: what is a tenant's own is its owners' to destroy; for
// operators a moment's deletion takes two, one with a window for regret does not.
func TestTenantsOwnPeopleAreNotAsked(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	h.member("olga@example.com", acme.Tenant)
	olga := h.browser().signIn("olga@example.com")
	olga.want(204, "DELETE", "/api/v1/test/tenants/acme?now=1", "")
	h.ada.want(204, "DELETE", "/api/v1/test/tenants/beta", "")
	h.ada.want(403, "DELETE", "/api/v1/test/tenants/gamma?now=1", "")
	equal(t, "done", h.done(), "destroyed acme, destroyed beta")
}
