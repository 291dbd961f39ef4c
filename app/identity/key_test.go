package identity

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

const keysPath = "/api/v1/stores/acme/prod/keys"

func (h *house) key(store data.StoreID, n NewKey) Key {
	h.t.Helper()
	if n.Name == "" {
		n.Name = "k"
	}
	if n.Scope == "" {
		n.Scope = ScopeRead
	}
	k, err := h.CreateKey(bg, store, n)
	must(h.t, err)
	return k
}

func TestKeyFormat(t *testing.T) {
	// The golden key: a change of the format would make every key in use invalid.
	const golden = "hfk_abcdefghij01234abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN1bQ8ZA"
	id, secret, err := parseKey(golden)
	must(t, err)
	equal(t, "id", id, "abcdefghij01234")
	equal(t, "secret", secret, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN")
	equal(t, "format", formatKey(id, secret), golden)
	for _, bad := range []string{
		"", "hfk_", golden[1:], golden + "a", golden[:len(golden)-1], "HFK_" + golden[4:],
		strings.Replace(golden, "a", "b", 1), golden[:len(golden)-1] + "b", strings.Replace(golden, "0", "é", 1),
		formatKey(id, strings.Repeat("-", secretLen)),
	} {
		if _, _, err := parseKey(bad); err != ErrKeyFormat {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("hfk_abcdefghij01234abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN1bQ8ZA")
	f.Add("hfk_")
	f.Add("")
	f.Fuzz(func(t *testing.T, raw string) {
		id, secret, err := parseKey(raw)
		if err == nil && formatKey(id, secret) != raw {
			t.Fatalf("%q reads as %q %q", raw, id, secret)
		}
	})
}

func TestSecretsAreEvenAndNew(t *testing.T) {
	counts, seen := map[rune]int{}, map[string]bool{}
	for range 2000 {
		s := newSecret()
		if seen[s] || !regexp.MustCompile(`^[0-9A-Za-z]{40}$`).MatchString(s) {
			t.Fatalf("secret %q", s)
		}
		seen[s] = true
		for _, r := range s {
			counts[r]++
		}
	}
	for r, n := range counts { // 80,000 draws of 62: 1,290 each, deviation 36
		if n < 1290-6*36 || n > 1290+6*36 {
			t.Errorf("%c came %d times", r, n)
		}
	}
}

func TestKeyFromRequest(t *testing.T) {
	for _, c := range []struct{ header, value, want string }{
		{"Authorization", "Bearer hfk_x", "hfk_x"},
		{"Authorization", "bearer hfk_x", "hfk_x"},
		{"Authorization", "hfk_x", "hfk_x"},
		{"X-API-Key", "hfk_x", "hfk_x"},
		{"X-API-Key", "whatever", "whatever"},
		{"Authorization", "eyJhbGciOi", ""},
		{"Authorization", "Bearer eyJhbGciOi", ""},
		{"Authorization", "Basic hfk_x", ""},
		{"Cookie", "hfk_x", ""},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set(c.header, c.value)
		equal(t, c.header+": "+c.value, KeyFromRequest(r), c.want)
	}
}

func TestResolveKey(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{Scope: ScopeWrite, Collections: []string{"packages"}})
	got, err := h.ResolveKey(bg, k.Key, acme, "192.0.2.1:4444")
	must(t, err)
	equal(t, "id", got.ID, k.ID)
	equal(t, "scope", got.Scope, ScopeWrite)
	equal(t, "collections", strings.Join(got.Collections, ","), "id-packages")
	equal(t, "actor", got.Actor().String(), "key:"+k.ID)
	everything, err := h.ResolveKey(bg, h.key(acme, NewKey{}).Key, acme, "192.0.2.1:4444")
	must(t, err)
	equal(t, "all collections", everything.Collections == nil, true)
}

func TestKeyHoldsIdsAndShowsNames(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{Collections: []string{"A", "id-b"}})
	equal(t, "made", strings.Join(k.Collections, ","), "a,b")
	got, err := h.ResolveKey(bg, k.Key, acme, "192.0.2.1:4444")
	must(t, err)
	equal(t, "reach", strings.Join(got.Collections, ","), "id-a,id-b")
	must(t, h.config.DB.Update(bg, func(tx *sqlx.Tx) error { // as before names were kept
		_, err := tx.Exec(`UPDATE api_keys SET names = '[]', collections = '["old"]'`)
		return err
	}))
	page, err := h.listKeys(bg, acme.String(), api.Paging{Page: 1, PerPage: 10})
	must(t, err)
	equal(t, "an old key", strings.Join(page.Items[0].Collections, ","), "old")
}

func TestEntryTellsHowFarAKeyReaches(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{Collections: []string{"a", "b"}, Life: time.Hour})
	equal(t, "collections", h.log.detail["collections"], `["a","b"]`)
	equal(t, "expires", h.log.detail["expires"], k.Expires.Format(time.RFC3339))
	h.key(acme, NewKey{})
	equal(t, "without a limit", h.log.detail["collections"], "all")
}

func refusedAs(t *testing.T, h *house, raw string, store data.StoreID, code string) {
	t.Helper()
	_, err := h.ResolveKey(bg, raw, store, "192.0.2.1:4444")
	wantErr(t, err, api.ErrUnauthenticated)
	equal(t, "status", api.AsProblem(err).Status, 401)
	equal(t, "code", api.AsProblem(err).Code, code)
}

func TestKeyIsNothingElsewhere(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{})
	refusedAs(t, h, k.Key, beta, "key-invalid")
	refusedAs(t, h, k.Key, data.StoreID{Tenant: acme.Tenant, Environment: "test"}, "key-invalid")
	refusedAs(t, h, k.Key, data.StoreID{}, "key-invalid")
	must(t, h.RevokeKey(bg, acme, k.ID))
	refusedAs(t, h, k.Key, beta, "key-invalid") // nor does beta learn that it was one
}

func TestWrongSecretIsNothing(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{})
	refusedAs(t, h, formatKey(k.ID, newSecret()), acme, "key-invalid")
	refusedAs(t, h, formatKey("unknownunknown0", newSecret()), acme, "key-invalid")
	refusedAs(t, h, "nonsense", acme, "key-invalid")
	must(t, h.RevokeKey(bg, acme, k.ID))
	refusedAs(t, h, formatKey(k.ID, newSecret()), acme, "key-invalid")
}

func TestRevocationIsImmediateInSpiteOfTheCache(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{})
	_, err := h.ResolveKey(bg, k.Key, acme, "192.0.2.1:4444")
	must(t, err)
	wantErr(t, h.RevokeKey(bg, beta, k.ID), data.ErrNotFound)
	must(t, h.RevokeKey(bg, acme, k.ID))
	refusedAs(t, h, k.Key, acme, "key-revoked")
	equal(t, "recorded", h.log.last(), "host:1000 key.revoke t-acme/prod ok")
	wantErr(t, h.RevokeKey(bg, acme, k.ID), data.ErrNotFound)
}

func TestRevocationIsToldOn(t *testing.T) {
	h := newHouse(t)
	var told []string
	h.config.Revoked = func(id data.StoreID, key data.Actor) { told = append(told, id.String()+" "+key.String()) }
	h.open()
	k := h.key(acme, NewKey{})
	wantErr(t, h.RevokeKey(bg, beta, k.ID), data.ErrNotFound)
	must(t, h.RevokeKey(bg, acme, k.ID))
	equal(t, "told", strings.Join(told, ","), "t-acme/prod key:"+k.ID)
}

func TestReadOvertakenByRevocationIsNotCached(t *testing.T) {
	c := newKeyCache()
	now := time.Now()
	_, epoch, _ := c.get("a", now)
	c.forget("a") // between the read of the table and the put
	c.put(cachedKey{row: keyRow{ID: "a"}, read: now}, epoch)
	if _, _, ok := c.get("a", now); ok {
		t.Fatal("a stale key was kept")
	}
}

func TestKeyExpires(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{Life: time.Hour})
	_, err := h.ResolveKey(bg, k.Key, acme, "192.0.2.1:4444")
	must(t, err)
	h.clock.add(time.Hour)
	refusedAs(t, h, k.Key, acme, "key-expired")
	equal(t, "default life", h.key(acme, NewKey{}).Expires.Sub(h.now()), DefaultKeyLife)
}

func TestKeyIsStoredHashed(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{})
	_, secret, err := parseKey(k.Key)
	must(t, err)
	var row struct {
		Hash []byte `db:"hash"`
		Hint string `db:"hint"`
	}
	must(t, h.config.DB.View(bg, func(tx *sqlx.Tx) error {
		return tx.Get(&row, `SELECT hash, hint FROM api_keys WHERE id = ?`, k.ID)
	}))
	if strings.Contains(string(row.Hash), secret) || len(row.Hash) != 32 {
		t.Fatal("not a hash")
	}
	equal(t, "hint", row.Hint, k.Key[:8]+"…")
}

func TestLastUsedIsKept(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{})
	list := func() Key {
		page, err := h.listKeys(bg, acme.String(), api.Paging{Page: 1, PerPage: 10})
		must(t, err)
		return page.Items[0]
	}
	equal(t, "before", list().LastUsed == nil, true)
	_, err := h.ResolveKey(bg, k.Key, acme, "192.0.2.1:4444")
	must(t, err)
	used := h.now()
	equal(t, "at once", list().LastUsed.Equal(used), true)
	must(t, h.Close())
	h.open()
	equal(t, "after a restart", list().LastUsed.Equal(used), true)
}

func TestKeysOverREST(t *testing.T) {
	h := newHouse(t)
	h.ownerOf("ada@example.com", acme.Tenant)
	b := h.browser().signIn("ada@example.com")
	made := decode[Key](t, b.want(201, "POST", keysPath, `{"name":"ci","scope":"write","collections":["a","b"],"expires":"30d"}`))
	equal(t, "life", made.Expires.Sub(made.Created), 30*24*time.Hour)
	equal(t, "state", made.State, "active")
	_, err := h.ResolveKey(bg, made.Key, acme, "192.0.2.1:4444")
	must(t, err)
	w := b.want(200, "GET", keysPath, "")
	if strings.Contains(w.Body.String(), made.Key) {
		t.Fatal("the list shows the key")
	}
	list := decode[api.Page[Key]](t, w)
	equal(t, "listed", list.Total == 1 && list.Items[0].ID == made.ID && list.Items[0].Key == "", true)
	b.want(204, "DELETE", keysPath+"/"+made.ID, "")
	equal(t, "state after", decode[api.Page[Key]](t, b.want(200, "GET", keysPath, "")).Items[0].State, "revoked")
	b.want(404, "DELETE", keysPath+"/"+made.ID, "")
	b.want(404, "GET", "/api/v1/stores/nobody/prod/keys", "")
	b.want(404, "GET", "/api/v1/stores/acme/dev/keys", "")
}

func TestKeyRequestsThatAreWrong(t *testing.T) {
	h := newHouse(t)
	h.ownerOf("ada@example.com", acme.Tenant)
	b := h.browser().signIn("ada@example.com")
	for body, field := range map[string]string{
		`{"scope":"read"}`:                                  "name",
		`{"name":"x"}`:                                      "scope",
		`{"name":"x","scope":"root"}`:                       "scope",
		`{"name":"x","scope":"read","collections":[]}`:      "collections",
		`{"name":"x","scope":"read","collections":[""]}`:    "collections",
		`{"name":"x","scope":"read","collections":["c"]}`:   "collections",
		`{"name":"x","scope":"read","expires":"never"}`:     "expires",
		`{"name":"x","scope":"read","expires":"-1d"}`:       "expires",
		`{"name":"x","scope":"read","expires":"d"}`:         "expires",
		`{"name":"x","scope":"read","expires":"99999999d"}`: "expires",
		`{"name":"x","scope":"read","expires":"é"}`:         "expires",
		`{"name":"x","scope":"read","id":"mine"}`:           "id",
	} {
		p := decode[api.Problem](t, b.want(422, "POST", keysPath, body))
		if p.Errors[0].Field != field {
			t.Errorf("%s: %+v", body, p.Errors)
		}
	}
}

func TestMemberManagesOnlyOwnKeys(t *testing.T) {
	h := newHouse(t)
	h.member("mia@example.com", acme.Tenant)
	theirs := h.key(beta, NewKey{})
	b := h.browser().signIn("mia@example.com")
	b.want(201, "POST", keysPath, `{"name":"ci","scope":"read"}`)
	b.want(403, "GET", "/api/v1/stores/beta/prod/keys", "")
	b.want(403, "POST", "/api/v1/stores/beta/prod/keys", `{"name":"ci","scope":"read"}`)
	b.want(403, "GET", "/api/v1/stores/nobody/prod/keys", "") // as if it were there
	b.want(404, "DELETE", keysPath+"/"+theirs.ID, "")
	_, err := h.ResolveKey(bg, theirs.Key, beta, "192.0.2.1:4444")
	must(t, err)
}

func TestKeysDoNotOpenTheBaseHost(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	k := h.key(acme, NewKey{Scope: ScopeAdmin})
	for _, header := range [][2]string{{"Authorization", "Bearer " + k.Key}, {"Authorization", k.Key}, {"X-API-Key", k.Key}} {
		w := h.browser().want(401, "GET", keysPath, "", header[0], header[1])
		equal(t, "code", codeOf(t, w), "key-here")
	}
	h.browser().signIn("ada@example.com").want(401, "GET", keysPath, "", "X-API-Key", k.Key)
}

func TestKeyThatCannotBeRecordedIsNotMade(t *testing.T) {
	h := newHouse(t)
	h.log.fail = errNoLog
	if _, err := h.CreateKey(bg, acme, NewKey{Name: "x", Scope: ScopeRead}); err == nil {
		t.Fatal("made")
	}
	page, err := h.listKeys(bg, acme.String(), api.Paging{Page: 1, PerPage: 10})
	must(t, err)
	equal(t, "keys", page.Total, 0)
}

var errNoLog = api.Errorf(500, "no-log", "no log")

func BenchmarkResolveKey(b *testing.B) {
	h := newHouse(b)
	k := h.key(acme, NewKey{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.ResolveKey(bg, k.Key, acme, "192.0.2.1:4444"); err != nil {
			b.Fatal(err)
		}
	}
}
