package tenant

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// fill puts rows of tenants into the tables, without keys and stores.
func (w *world) fill(n int) {
	w.t.Helper()
	w.must(w.db.Update(w.t.Context(), func(tx *sqlx.Tx) error {
		for i := range n {
			r := row{ID: fmt.Sprintf("id%013d", i), Slug: fmt.Sprintf("tenant-%05d", i), Created: int64(1_700_000_000_000 + i)}
			_, err := tx.Exec(`INSERT INTO tenants (id, slug, name, state, settled, created, created_by, changed) VALUES (?, ?, ?, 'live', 1, ?, 'system', 0)`,
				r.ID, r.Slug, fmt.Sprintf("Name %05d", n-i), r.Created)
			if err != nil {
				return err
			}
			if err := insertEnvironment(w.t.Context(), tx, environmentRow{r.ID, data.Prod, Live, r.Created}); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (w *world) slugs(l Listing) (string, int) {
	w.t.Helper()
	if l.PerPage == 0 {
		l.Page, l.PerPage = 1, 50
	}
	items, total, err := w.List(w.t.Context(), l)
	w.must(err)
	var slugs []string
	for _, t := range items {
		slugs = append(slugs, t.Slug)
	}
	return strings.Join(slugs, " "), total
}

// TestReadsAreRecorded: one entry a minute for each actor and collection, and no
// records without it.
func TestReadsAreRecorded(t *testing.T) {
	w := newWorld(t)
	acme := w.create("acme")
	read := func(who, collection string) int {
		return w.call(who, "GET", "/api/v1/stores/acme/prod/collections/"+collection+"/records", "").Code
	}
	w.log.fail = errors.New("the log is full")
	if got := read("owner", "users"); got != 500 {
		t.Errorf("without an entry: %d", got)
	}
	w.log.fail = nil
	for _, collection := range []string{"users", "Users", "nowhere"} {
		read("owner", collection)
	}
	read(acme.ID, "users")
	w.clock.pass(time.Minute)
	read("owner", "users")
	w.wantActions("tenant.create:ok", "data.read:ok", "data.read:ok", "data.read:ok")
	last := w.log.events[3]
	if last.Target != "users" || last.Store != acme.ID+"/prod" || last.Detail["repeated"] != "1" || w.log.actors[2] != "person:"+acme.ID {
		t.Errorf("got %+v by %v", last, w.log.actors)
	}
}

func TestOwnerOfATenantAddsEnvironments(t *testing.T) {
	for _, r := range newWorld(t).Routes() {
		if r.Method == "POST" && r.Path == "/api/v1/tenants/{slug}/environments" && (r.Permission.ApplianceOnly() || r.Scope == nil) {
			t.Errorf("asks for %s", r.Permission)
		}
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	for _, slug := range []string{"beta", "acme", "gone", "delta"} {
		w.create(slug)
		w.clock.pass(time.Minute)
	}
	_, err := w.Create(t.Context(), "gamma", "100% Acme_Sons")
	w.must(err)
	_, err = w.Delete(t.Context(), "delta", false)
	w.must(err)
	_, err = w.Delete(t.Context(), "gone", true)
	w.must(err)
	all := api.Reach{All: true}
	acme, _ := w.Get(t.Context(), "acme")
	for name, c := range map[string]struct {
		l     Listing
		want  string
		total int
	}{
		"default":   {Listing{Reach: all}, "acme beta delta gamma", 4},
		"reversed":  {Listing{Reach: all, Paging: api.Paging{Sort: "-slug"}}, "gamma delta beta acme", 4},
		"newest":    {Listing{Reach: all, Paging: api.Paging{Sort: "-created"}}, "gamma delta acme beta", 4},
		"name":      {Listing{Reach: all, Paging: api.Paging{Sort: "name"}}, "gamma acme beta delta", 4},
		"page":      {Listing{Reach: all, Paging: api.Paging{Page: 2, PerPage: 3}}, "gamma", 4},
		"beyond":    {Listing{Reach: all, Paging: api.Paging{Page: 9, PerPage: 3}}, "", 4},
		"text":      {Listing{Reach: all, Paging: api.Paging{Filter: "ACME"}}, "acme gamma", 2},
		"percent":   {Listing{Reach: all, Paging: api.Paging{Filter: "0% "}}, "gamma", 1},
		"underline": {Listing{Reach: all, Paging: api.Paging{Filter: "e_s"}}, "gamma", 1},
		"parked":    {Listing{Reach: all, State: Parked}, "delta", 1},
		"destroyed": {Listing{Reach: all, State: Destroyed}, "gone", 1},
		"all":       {Listing{Reach: all, State: "all"}, "acme beta delta gamma gone", 5},
		"mine":      {Listing{Reach: api.Reach{Tenants: []string{acme.ID}}}, "acme", 1},
		"nobody's":  {Listing{}, "", 0},
	} {
		if got, total := w.slugs(c.l); got != c.want || total != c.total {
			t.Errorf("%s: got %q of %d, want %q of %d", name, got, total, c.want, c.total)
		}
	}
	for _, l := range []Listing{{Reach: all, Paging: api.Paging{Sort: "slug; DROP TABLE tenants"}}, {Reach: all, State: "odd"}} {
		_, _, err := w.List(t.Context(), l)
		wantStatus(t, err, 422)
	}
}

func TestRoutes(t *testing.T) {
	w := newWorld(t)
	var acme Tenant
	answer := w.call("owner", "POST", "/api/v1/tenants", `{"slug":"acme","name":"Acme"}`)
	w.must(json.Unmarshal(answer.Body.Bytes(), &acme))
	w.create("other")
	w.imported("people", "format=csv&create=1", people)
	for _, c := range []struct {
		who, method, path, body string
		status                  int
		holds                   string
	}{
		{"owner", "GET", "/api/v1/tenants?sort=-slug&perPage=1", "", 200, `"totalItems":2`},
		{acme.ID, "GET", "/api/v1/tenants", "", 200, `"totalItems":1`},
		{"stranger", "GET", "/api/v1/tenants", "", 200, `"items":[]`},
		{acme.ID, "GET", "/api/v1/tenants/acme", "", 200, `"environments":[{"name":"prod"`},
		{acme.ID, "GET", "/api/v1/tenants/other", "", 403, ""},
		{acme.ID, "GET", "/api/v1/tenants/unknown", "", 403, ""}, // as little as of other
		{"owner", "GET", "/api/v1/tenants/unknown", "", 404, "not found"},
		{"stranger", "POST", "/api/v1/tenants", `{"slug":"mine"}`, 403, ""},
		{"owner", "POST", "/api/v1/tenants", `{"slug":"acme"}`, 409, `"code":"exists"`},
		{"owner", "POST", "/api/v1/tenants", `{"slug":"a--b"}`, 422, `"field":"slug"`},
		{"owner", "POST", "/api/v1/tenants/acme/environments", `{"name":"test"}`, 201, `"url":"http://acme.test"`},
		{"owner", "POST", "/api/v1/tenants/acme/environments", `{"name":"test"}`, 409, ""},
		{"owner", "POST", "/api/v1/tenants/acme/environments", `{"name":"stage"}`, 422, ""},
		{acme.ID, "GET", "/api/v1/stores/acme/prod", "", 200, `"records":3`},
		{acme.ID, "GET", "/api/v1/stores/acme/test", "", 200, `"environment":"test"`},
		{acme.ID, "GET", "/api/v1/stores/other/prod", "", 403, ""},
		{"owner", "GET", "/api/v1/stores/acme/dev", "", 404, ""},
		{acme.ID, "GET", "/api/v1/stores/acme/prod/collections?filter=PEO", "", 200, `"records":3,"fields":[{"name":"id","type":"text"}`},
		{acme.ID, "GET", "/api/v1/stores/acme/prod/collections/people/records?perPage=2&sort=-age&filter=age%3E40", "", 200, `"totalItems":2`},
		{acme.ID, "GET", "/api/v1/stores/acme/prod/collections/people/records?filter=(((", "", 400, `"code":"store"`},
		{acme.ID, "GET", "/api/v1/stores/acme/prod/collections/nowhere/records", "", 404, `"status":404`},
		{acme.ID, "GET", "/api/v1/stores/acme/prod/collections/_superusers/records", "", 404, ""},
		{acme.ID, "GET", "/api/v1/stores/acme/prod/collections/..%2F..%2Fsettings%3F/records", "", 404, ""},
		{acme.ID, "GET", "/api/v1/stores/acme/prod/collections/people/export?format=xml", "", 422, ""},
		{"stranger", "GET", "/api/v1/stores/acme/prod/collections/people/export", "", 403, ""},
		{"owner", "DELETE", "/api/v1/tenants/acme", `{"confirm":"other"}`, 422, `"field":"confirm"`},
		{"owner", "DELETE", "/api/v1/tenants/acme?now=perhaps", `{"confirm":"acme"}`, 422, ""},
		{acme.ID, "DELETE", "/api/v1/tenants/acme", `{"confirm":"acme"}`, 200, `"parkedUntil":"`},
		{acme.ID, "GET", "/api/v1/stores/acme/prod", "", 200, `"state":"parked"`},
		{acme.ID, "GET", "/api/v1/stores/acme/prod/collections", "", 410, "undelete"},
		{acme.ID, "GET", "/api/v1/stores/acme/prod/collections/people/export", "", 410, ""},
		{acme.ID, "POST", "/api/v1/tenants/acme/undelete", "", 200, `"state":"live"`},
		{acme.ID, "GET", "/api/v1/stores/acme/prod", "", 200, `"collections":2`},
		{"owner", "DELETE", "/api/v1/tenants/acme?now=1", `{"confirm":"acme"}`, 200, `"state":"destroyed"`},
		{"owner", "POST", "/api/v1/tenants/acme/undelete", "", 410, "destroyed"},
		{"owner", "GET", "/api/v1/stores/acme/prod/collections", "", 410, "destroyed"},
	} {
		answer := w.call(c.who, c.method, c.path, c.body)
		if answer.Code != c.status || !strings.Contains(answer.Body.String(), c.holds) {
			t.Errorf("%s %s %s: got %d %s", c.who, c.method, c.path, answer.Code, answer.Body)
		}
	}
}

func BenchmarkListTenThousand(b *testing.B) {
	w := newWorld(b)
	w.fill(10_000)
	for name, l := range map[string]Listing{
		"slug": {Paging: api.Paging{Page: 100, PerPage: 50, Sort: "slug"}}, "name": {Paging: api.Paging{Page: 1, PerPage: 50, Sort: "-name"}},
		"search": {Paging: api.Paging{Page: 1, PerPage: 50, Sort: "created", Filter: "0123"}},
	} {
		l.Reach.All = true
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if items, _, err := w.List(b.Context(), l); err != nil || len(items) == 0 {
					b.Fatal(len(items), err)
				}
			}
		})
	}
}

func BenchmarkResolve(b *testing.B) {
	w := newWorld(b)
	w.fill(10_000)
	for name, cold := range map[string]bool{"cached": false, "cold": true} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				slug := fmt.Sprintf("tenant-%05d", i%100)
				if cold {
					w.found.forget(slug)
				}
				if _, err := w.Resolve(b.Context(), slug, data.Prod); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The number of tenants is right after each change of one, and so are searches whose
// hits fill a page or do not.
func TestTotalsFollowChanges(t *testing.T) {
	w := newWorld(t)
	w.fill(120)
	want := func(total int, l Listing) {
		t.Helper()
		l.Reach.All = true
		if l.PerPage == 0 {
			l.Page, l.PerPage = 1, 50
		}
		for range 2 { // the second time from memory
			if _, got := w.slugs(l); got != total {
				t.Errorf("%+v: %d in all, want %d", l, got, total)
			}
		}
	}
	page := func(n int) api.Paging { return api.Paging{Page: n, PerPage: 50} }
	want(120, Listing{})
	want(120, Listing{Paging: page(3)})
	want(120, Listing{Paging: page(9)})
	want(10, Listing{Paging: api.Paging{Page: 1, PerPage: 10, Filter: "tenant-0003"}})
	want(0, Listing{Paging: api.Paging{Page: 1, PerPage: 10, Filter: "nobody"}})
	w.create("acme")
	want(121, Listing{})
	want(0, Listing{State: Parked})
	if _, err := w.Delete(t.Context(), "acme", false); err != nil {
		t.Fatal(err)
	}
	want(121, Listing{})
	want(1, Listing{State: Parked})
	want(120, Listing{State: Live})
	want(121, Listing{State: "all"})
	first, _ := w.slugs(Listing{Paging: api.Paging{Page: 1, PerPage: 2, Sort: "-slug"}, Reach: api.Reach{All: true}})
	if first != "tenant-00119 tenant-00118" {
		t.Error(first)
	}
}
