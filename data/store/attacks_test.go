package store

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/subscriptions"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// What a tenant's admin may try on the store that the admin rules.

func base(name, id string) map[string]any {
	return map[string]any{"name": name, "id": id, "type": "base", "fields": []any{map[string]any{"name": "title", "type": "text"}}}
}

// reopened lets go of the store, closes it and opens it anew.
func reopened(t *testing.T, p *Pool, s *Store) *Store {
	t.Helper()
	s.Release()
	if err := p.Evict(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	return held(t, p)
}

func held(t *testing.T, p *Pool) *Store {
	t.Helper()
	s, err := p.Acquire(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestIdsThatDifferInCaseKeepTheirTriggers(t *testing.T) {
	p := newPool(t)
	if err := p.Create(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	s := held(t, p)
	defer func() { s.Release() }()
	admin := adminOf(s)
	admin.must(t, 200, "POST", "/api/collections", base("secrets", "pbc_secrets"))
	admin.must(t, 200, "POST", "/api/collections", base("shadow", "PBC_SECRETS"))
	for _, reserved := range []map[string]any{
		base("one", "_Collections"), base("two", "_Params"), base("_hf_c", "x1"), base("three", "_HF_own_params"), base("_Changes", "x2"),
	} {
		admin.must(t, 400, "POST", "/api/collections", reserved)
	}
	_, at := feed(t, s, data.Position{})
	for range 2 { // the second time after it was opened anew
		admin.create(t, "secrets", map[string]any{"title": "a"})
		admin.create(t, "shadow", map[string]any{"title": "b"})
		var lines []string
		if lines, at = feed(t, s, at); len(lines) != 2 {
			t.Fatalf("two writes left %q", lines)
		}
		s = reopened(t, p, s)
		admin = adminOf(s)
	}
}

func TestViewsReadNoSecrets(t *testing.T) {
	s := newStore(t)
	admin := adminOf(s)
	view := func(query string) map[string]any {
		return map[string]any{"name": "v", "type": "view", "viewQuery": query}
	}
	for _, query := range []string{
		"SELECT id, name as nm, options as op FROM _collections",
		"SELECT id, email as em, tokenKey as tk FROM _superusers",
		"SELECT id, tokenKey as tk FROM users", "SELECT id, password as pw FROM users",
		"SELECT id, value as v FROM _params", "SELECT id, collectionRef as c FROM _OTPS",
		"WITH _hf_own_params_u AS (SELECT id, options as op FROM _collections) SELECT id, op FROM _hf_own_params_u",
		"SELECT i.id as id, (SELECT group_concat(options) FROM _collections) as op FROM items i",
		"SELECT seq as id, actor as a FROM _changes", "SELECT id, reason as r FROM _incarnations",
		"SELECT (ROW_NUMBER() OVER()) as id, sql as s FROM sqlite_schema",
		"SELECT (ROW_NUMBER() OVER()) as id, name as s FROM pragma_table_info('items')",
		"SELECT id, hf_actor() as a FROM items",
	} {
		if r := admin.do("POST", "/api/collections", view(query)); r.code != 400 {
			t.Errorf("%s: %d %s", query, r.code, r.body)
		}
	}
	admin.must(t, 200, "POST", "/api/collections", view("SELECT id, title as name FROM items"))
	for _, query := range []string{"SELECT id, tokenKey as tk FROM users", "SELECT id, value as v FROM _params"} {
		admin.must(t, 400, "PATCH", "/api/collections/v", map[string]any{"viewQuery": query})
		admin.must(t, 400, "PUT", "/api/collections/import", map[string]any{"collections": []any{view(query)}})
	}
	admin.must(t, 404, "POST", "/api/collections/meta/dry-run-view", map[string]any{"query": "SELECT id, value as v FROM _params"})
	admin.must(t, 200, "GET", "/api/collections/v/records", nil)
}

func TestForgedSuperuserTokenIsRefused(t *testing.T) {
	s := newStore(t)
	studio := studioOf(t, s, "p1")
	studio.must(t, 200, "GET", "/api/collections", nil)
	record, err := s.app.FindAuthRecordByEmail(core.CollectionNameSuperusers, shadowEmail(data.Actor{Kind: data.Person, ID: "p1"}))
	if err != nil {
		t.Fatal(err)
	}
	forged := guest(s)
	if forged.token, err = record.NewStaticAuthToken(24 * time.Hour); err != nil { // as who has the secret can
		t.Fatal(err)
	}
	forged.must(t, 401, "GET", "/api/collections", nil)
	forged.token = "Bearer " + forged.token
	forged.must(t, 401, "POST", "/api/collections/items/records", map[string]any{"title": "x"})
	studio.token = "bearer " + studio.token
	studio.must(t, 200, "GET", "/api/collections", nil)
}

func TestFileHostsAnswerOnlyTheirStore(t *testing.T) {
	p := newPool(t)
	other := data.StoreID{Tenant: acme.Tenant, Environment: data.Test}
	for _, host := range []string{
		"prod." + acme.Tenant + "." + p.label, "x.prod." + acme.Tenant + "." + p.label,
		p.filesPass(other) + ".prod." + acme.Tenant + "." + p.label,
	} {
		res, err := http.Get("http://" + host + filesDomain + "/files/x")
		if err == nil {
			res.Body.Close()
		}
		if !errors.Is(err, ErrReach) && !errors.Is(err, ErrClosed) { // a name without a pass has no pool either
			t.Errorf("%s answered: %v", host, err)
		}
	}
}

func TestDamagedPageIsNoShorterList(t *testing.T) {
	p := newPool(t)
	if err := p.Create(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	s := held(t, p)
	addItems(t, s)
	g := guest(s)
	for range 40 {
		g.create(t, "items", map[string]any{"title": "t", "body": strings.Repeat("x", 4000)})
	}
	s.Release()
	if err := p.Evict(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	flipNearEnd(t, filepath.Join(p.path(acme), dataFile))
	s = held(t, p)
	defer s.Release()
	g = guest(s)
	r := g.must(t, 500, "GET", "/api/collections/items/records?perPage=500&sort=title", nil)
	if !bytes.Contains(r.body, []byte("did not authenticate")) {
		t.Errorf("%s", r.body)
	}
	err := s.Export(t.Context(), "items", func(map[string]any) error { return nil })
	var fault *cryptfs.PageError
	if !errors.As(err, &fault) || !errors.Is(err, data.ErrTampered) {
		t.Errorf("export: %v", err)
	}
}

// flipNearEnd changes a byte of a page near the end: of the records, not of the schema.
func flipNearEnd(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-20*data.PageSize+100] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKeysCannotAskForSecrets(t *testing.T) {
	s := newStore(t)
	reader := keyCaller(s, "r", Reach{Scope: Read})
	for _, q := range []string{
		"filter=password~%22a%22", "filter=tokenKey%3E%22A%22", "filter=(TOKENKEY%3E'A')", "sort=-tokenKey", "sort=password",
		"filter=id!%3D''%20%26%26%20password:length%3E1", "filter=id!%3D''%20//'%0A%26%26%20password~'x'%20//'",
	} {
		if r := reader.do("GET", "/api/collections/users/records?"+q, nil); r.code != 403 {
			t.Errorf("%s: %d %s", q, r.code, r.body)
		}
	}
	reader.must(t, 200, "GET", "/api/collections/items/records?filter=title!%3D'password'", nil)
}

func TestRulesAndImportsLeaveSystemCollectionsAlone(t *testing.T) {
	s := newStore(t)
	admin := adminOf(s)
	admin.must(t, 400, "PATCH", "/api/collections/items", map[string]any{"listRule": `@collection._superusers.tokenKey > "A"`})
	superusers := collection(t, s, "_superusers")
	for _, c := range []map[string]any{
		{"name": "_superusers", "type": "auth"}, {"id": superusers.Id, "name": "mine", "type": "auth"}, {"name": "_SUPERUSERS", "type": "auth"},
	} {
		admin.must(t, 403, "PUT", "/api/collections/import", map[string]any{"collections": []any{c}})
	}
}

func TestSuperuserAddressesStayForced(t *testing.T) {
	s := newStore(t)
	admin := adminOf(s)
	admin.must(t, 200, "PATCH", "/api/settings", map[string]any{"superuserIPs": []string{"203.0.113.9"}})
	admin.must(t, 200, "GET", "/api/collections", nil)
}

func TestStoresShareTheBodyBudget(t *testing.T) {
	s := newStore(t)
	g := guest(s)
	g.must(t, 413, "POST", "/api/collections/users/auth-with-password", map[string]any{"identity": strings.Repeat("x", smallBody)})
	s.bodies.take(s.bodies.most - 100)
	defer s.bodies.give(s.bodies.most - 100)
	g.must(t, 503, "POST", "/api/collections/items/records", map[string]any{"title": strings.Repeat("x", 100)})
	if used := s.pool.bodies.used.Load(); used != 0 {
		t.Errorf("a refused body kept %d bytes of the pool's budget", used)
	}
}

func TestExpiredKeyHearsNothing(t *testing.T) {
	now := time.Now()
	s := newStore(t, func(c *Config) { c.Clock = func() time.Time { return now } })
	client := subscriptions.NewDefaultClient()
	s.app.SubscriptionsBroker().Register(client)
	client.Set(clientReach, Reach{Scope: Read, Until: now.Add(time.Minute)})
	heard := 0
	event := &core.RealtimeMessageEvent{Client: client, Message: &subscriptions.Message{Name: "items/*"}}
	event.RequestEvent = &core.RequestEvent{App: s.app}
	for range 2 {
		if err := s.app.OnRealtimeMessageSend().Trigger(event, func(*core.RealtimeMessageEvent) error { heard++; return nil }); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
	}
	if heard != 1 || s.app.SubscriptionsBroker().TotalClients() != 0 {
		t.Errorf("heard %d messages; %d clients are left", heard, s.app.SubscriptionsBroker().TotalClients())
	}
}

func TestFetchedAnswersAreBounded(t *testing.T) {
	endless := &http.Response{Body: io.NopCloser(zeros{})}
	d := &dispatcher{public: roundTrip(func(*http.Request) (*http.Response, error) { return endless, nil })}
	req, _ := http.NewRequest("GET", "https://example.com", nil)
	res, err := d.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); !errors.Is(err, errFetched) || n != maxFetched {
		t.Errorf("%d bytes, %v", n, err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A key for items learns nothing of hidden by setting relations to it: the answer
// is the same whether the record is there or not.
func TestRelationsTellNothingOfHiddenRecords(t *testing.T) {
	s := newStore(t)
	item, hidden := addHidden(t, s)
	const missing = "missing00000000"
	key := keyCaller(s, "k", Reach{Scope: Write, Collections: []string{"items"}})
	records := "/api/collections/items/records"
	batch := func(id string) map[string]any {
		return map[string]any{"requests": []any{map[string]any{"method": "PUT", "url": records, "body": map[string]any{"title": "x", "link": id}}}}
	}
	guest(s).must(t, 200, "PATCH", records+"/"+item, map[string]any{"link": ""})
	for _, try := range []func(id string) reply{
		func(id string) reply { return key.do("POST", records, map[string]any{"link": id}) },
		func(id string) reply { return key.do("POST", records, map[string]any{"link": id, "kind": "none"}) },
		func(id string) reply { return key.do("PATCH", records+"/"+item, map[string]any{"link": id}) },
		func(id string) reply { return key.do("PATCH", records+"/"+item, map[string]any{"link+": id}) },
		func(id string) reply { return key.do("PATCH", records+"/"+item, map[string]any{"link": []string{id}}) },
		func(id string) reply { return key.do("POST", "/api/batch", batch(id)) },
		func(id string) reply { return importRowAs(t, s, key, map[string]any{"link": id}) },
	} {
		there, not := try(hidden), try(missing)
		if there.code != 400 || there.code != not.code || string(there.body) != string(not.body) {
			t.Errorf("existing: %d %s; missing: %d %s", there.code, there.body, not.code, not.body)
		}
	}
	key.must(t, 200, "POST", records, map[string]any{"title": "no link"})
	guest(s).must(t, 200, "PATCH", records+"/"+item, map[string]any{"link": hidden})
	key.must(t, 200, "PATCH", records+"/"+item, map[string]any{"title": "y", "link": hidden})
	key.must(t, 200, "PATCH", records+"/"+item, map[string]any{"link-": hidden})
	keyCaller(s, "all", Reach{Scope: Write}).must(t, 200, "PATCH", records+"/"+item, map[string]any{"link": hidden})
}

// importRowAs imports one row as a key, and gives its failure as a reply.
func importRowAs(t *testing.T, s *Store, c caller, row map[string]any) reply {
	t.Helper()
	rows := []map[string]any{row}
	result, err := s.Import(c.ctx, "items", ImportOptions{}, func() (map[string]any, int, error) {
		if len(rows) == 0 {
			return nil, 0, io.EOF
		}
		row, rows = rows[0], nil
		return row, 1, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Errors) == 0 {
		return reply{code: 200}
	}
	return reply{code: 400, body: []byte(result.Errors[0].Reason)}
}

// Nor by deleting: where a record out of reach could refuse, the schema does.
func TestDeletionTellsNothingOfHiddenRecords(t *testing.T) {
	notUnderRace(t)
	for name, hide := range map[string]func(hidden *core.Collection, f *core.RelationField){
		"required": func(_ *core.Collection, f *core.RelationField) { f.Required = true },
		"unique":   func(c *core.Collection, f *core.RelationField) { c.AddIndex("idx_h", true, "item", "") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			hidden := core.NewBaseCollection("hidden")
			open(hidden)
			field := &core.RelationField{Name: "item", CollectionId: collection(t, s, "notes").Id, MaxSelect: 1}
			hidden.Fields.Add(field)
			hide(hidden, field)
			save(t, s, hidden)
			g := guest(s)
			wanted, free := g.create(t, "notes", map[string]any{"text": "a"}), g.create(t, "notes", map[string]any{"text": "b"})
			item := g.create(t, "items", map[string]any{"title": "t"})
			g.must(t, 200, "PATCH", "/api/collections/notes/records/"+wanted, map[string]any{"item": item})
			g.create(t, "hidden", map[string]any{"item": wanted})
			key := keyCaller(s, "k", Reach{Scope: Write, Collections: []string{"notes", "items"}})
			for _, path := range []string{"notes/records/" + wanted, "notes/records/" + free, "items/records/" + item} { // the item by cascade
				r := key.must(t, 403, "DELETE", "/api/collections/"+path, nil)
				if !bytes.Contains(r.body, []byte("outside the API key's reach")) {
					t.Errorf("%s: %s", path, r.body)
				}
			}
			keyCaller(s, "all", Reach{Scope: Write}).must(t, 204, "DELETE", "/api/collections/notes/records/"+free, nil)
		})
	}
	s := newStore(t) // a relation that lets go refuses nothing
	item, _ := addHidden(t, s)
	keyCaller(s, "k", Reach{Scope: Write, Collections: []string{"items"}}).must(t, 204, "DELETE", "/api/collections/items/records/"+item, nil)
}

// A key keeps to ids: a collection that takes over a name is another one.
func TestReachIsOfIdsNotOfNames(t *testing.T) {
	s := newStore(t)
	ctx := WithReach(t.Context(), Reach{Scope: Read, Collections: []string{"items"}})
	caller{s: s, ctx: ctx}.must(t, 404, "GET", "/api/collections/items/records", nil)
}

func TestRefusedListsSayWhatIsWrong(t *testing.T) {
	s := newStore(t)
	addHidden(t, s)
	all, some := keyCaller(s, "all", Reach{Scope: Read}), keyCaller(s, "k", Reach{Scope: Read, Collections: []string{"items"}})
	for query, want := range map[string]string{
		"filter=(title='a'":                              "The filter cannot be read: ",
		"filter=title+=+":                                "The filter cannot be read: ",
		"filter=nothere='a'":                             "The filter's nothere is no field",
		"filter=title='a'%26%26'b'=nothere":              "The filter's nothere is no field",
		"filter=title~nope(1)":                           "The filter cannot be read: ",
		"sort=nothere":                                   "The list cannot be sorted by nothere.",
		"sort=title,a,b,c,d,e,f,g,h,i,j":                 "The filter or sort is too long",
		"filter=" + strings.Repeat("x", 4000) + "%3D'a'": "The filter or sort is too long",
	} {
		for _, c := range []caller{guest(s), all, some} {
			if r := c.must(t, 400, "GET", "/api/collections/items/records?"+query, nil); !bytes.Contains(r.body, []byte(want)) {
				t.Errorf("%s: %s", query, r.body)
			}
		}
	}
	for _, like := range []string{"filter=%s.word='a'", "filter=@collection.%s.word?='a'", "filter=%s_via_item.word?='a'"} {
		there := some.do("GET", "/api/collections/items/records?"+strings.ReplaceAll(like, "%s", "hidden"), nil)
		not := some.do("GET", "/api/collections/items/records?"+strings.ReplaceAll(like, "%s", "nowhere"), nil)
		if got := strings.ReplaceAll(string(there.body), "hidden", "nowhere"); got != string(not.body) {
			t.Errorf("%s: %s and %s", like, got, not.body)
		}
	}
}

// The answer to a change of settings shows no more than the settings themselves.
func TestSettingsKeepTheFilesPass(t *testing.T) {
	s := newStore(t)
	admin := adminOf(s)
	for _, r := range []reply{
		admin.must(t, 200, "PATCH", "/api/settings", map[string]any{"meta": map[string]any{"appName": "changed"}}),
		admin.must(t, 200, "GET", "/api/settings", nil),
	} {
		if bytes.Contains(r.body, []byte(s.pool.filesPass(s.id))) || bytes.Contains(r.body, []byte(filesDomain)) {
			t.Errorf("the answer tells the file host: %s", r.body)
		}
		if !bytes.Contains(r.body, []byte(`"appName":"changed"`)) {
			t.Errorf("not the settings as they are: %s", r.body)
		}
	}
	admin.must(t, 400, "PATCH", "/api/settings", map[string]any{"meta": map[string]any{"appName": ""}})
}

// A view without end holds nobody up: neither who asks for it nor who lists collections.
func TestEndlessViewsAreEnded(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for queries to be ended")
	}
	s := newStore(t, func(c *Config) { c.QueryTimeout = 2 * time.Second }) // opening has queries too, on a busy machine
	admin := adminOf(s)
	view := func(most string) map[string]any {
		return map[string]any{"name": "endless", "type": "view", "listRule": "", "viewRule": "",
			"viewQuery": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " + most + ") SELECT i AS id, count(*) AS total FROM n"}
	}
	admin.must(t, 400, "POST", "/api/collections", view("100000000000"))
	admin.must(t, 200, "POST", "/api/collections", view("(SELECT count(*) FROM items) * 100000000000"))
	guest(s).create(t, "items", map[string]any{"title": "from here on it has no end"})
	for _, path := range []string{"/api/collections/endless/records", "/api/collections/endless/records/1"} {
		if r := guest(s).must(t, 400, "GET", path, nil); !bytes.Contains(r.body, []byte("took too long")) {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	if all, err := s.Collections(t.Context()); err != nil || len(all) == 0 {
		t.Error(all, err)
	}
	guest(s).create(t, "items", map[string]any{"title": "others go on"})
}
