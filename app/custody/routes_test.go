package custody

import (
	"net/http"
	"strings"
	"testing"

	"holdfast/app/api"
	"holdfast/data/keys"
)

// Every route asks for the permission that fits what it does, and for no tenant's.
func TestPermissions(t *testing.T) {
	w := newWorld(t)
	for _, r := range w.Routes() {
		want := api.CustodyManage
		if r.Method == http.MethodGet {
			want = api.CustodyRead
		}
		if r.Permission != want || r.Scope != nil || !r.Permission.ApplianceOnly() {
			t.Errorf("%s %s asks for %s", r.Method, r.Path, r.Permission)
		}
		w.deny = want
		path := strings.NewReplacer("{id}", "x", "{target}", "x").Replace(r.Path)
		if rec := w.send(r.Method, path, ""); rec.Code != http.StatusForbidden {
			t.Errorf("%s %s without the permission: %d", r.Method, path, rec.Code)
		}
	}
}

func TestOverREST(t *testing.T) {
	w := newWorld(t)
	w.target("far", newFaulty())
	added := decode[Added](t, w.send("POST", "/api/v1/keys/slots", `{"kind":"shares","need":2,"of":3}`), 201)
	if len(added.Shares) != 3 {
		t.Fatalf("added %+v", added)
	}
	made := w.send("POST", "/api/v1/keys/recovery", "")
	recovery := decode[NewRecovery](t, made, 201)
	if made.Header().Get("Cache-Control") != "no-store" {
		t.Error("a secret may be cached")
	}
	body := `{"recoveryKey":"` + recovery.RecoveryKey + `"}`
	if p := decode[Proven](t, w.send("POST", "/api/v1/keys/slots/"+recovery.ID+"/proof", body), 200); len(p.Removed) != 1 {
		t.Errorf("proof %+v", p)
	}
	if c := decode[CopyTarget](t, w.send("POST", "/api/v1/keys/copies", `{"target":"far"}`), 201); c.State != "current" {
		t.Errorf("copies %+v", c)
	}
	for _, call := range []string{"now", "purge"} {
		if s := decode[CopyState](t, w.send("POST", "/api/v1/keys/copies/"+call, ""), 200); s.HorizonSeconds != 7*24*3600 || len(s.Targets) != 1 {
			t.Errorf("%s: %+v", call, s)
		}
	}
	page := decode[api.Page[Entry]](t, w.send("GET", "/api/v1/keys/entries?owner=acme&purpose=pages", ""), 200)
	if page.Total != 1 || page.Items[0].Name != "acme/prod" || page.Items[0].Owner != string(acme) || page.Items[0].State != "live" {
		t.Errorf("entries %+v", page)
	}
	op := decode[api.Operation](t, w.send("POST", "/api/v1/keys/rotate", `{"owner":"acme","purpose":"pages"}`), 202)
	w.finished(op, nil)
	if rec := w.send("DELETE", "/api/v1/keys/copies/far", ""); rec.Code != 204 {
		t.Errorf("remove copies: %d %s", rec.Code, rec.Body)
	}
	if rec := w.send("DELETE", "/api/v1/keys/slots/"+added.ID, ""); rec.Code != 204 {
		t.Errorf("remove slot: %d %s", rec.Code, rec.Body)
	}
	root := decode[NewRoot](t, w.send("POST", "/api/v1/keys/root/rotate", `{}`), 200)
	st := decode[Status](t, w.send("GET", "/api/v1/keys", ""), 200)
	if st.Root != root.ID || len(st.Slots) != 2 || st.Ring.States[keys.Retired] != 1 {
		t.Errorf("status %+v", st)
	}
	if got, want := w.log.actions(), "slot.create slot.create slot.prove slot.delete keycopy.add keycopy.purge key.rotate keycopy.remove slot.delete root.rotate"; got != want {
		t.Errorf("log\n%s, want\n%s", got, want)
	}
}

// What is refused tells nothing of what was given.
func TestRefusalsOverREST(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/slots", `{"kind":"moon"}`, 422},
		{"POST", "/slots", `{"kind":"passphrase","passphrase":"hunter2"}`, 422},
		{"POST", "/slots", `{"kind":"key-file","file":"/tmp/x"}`, 403},
		{"POST", "/slots", `{"kind":"age","identity":"AGE-SECRET-KEY-1HUNTER2"}`, 422},
		{"POST", "/slots", `{"what":"hunter2"}`, 422},
		{"DELETE", "/slots/none", ``, 404},
		{"POST", "/slots/none/proof", `{"recoveryKey":"hunter2"}`, 404},
		{"POST", "/slots/none/proof", `{}`, 422},
		{"POST", "/rotate", `{}`, 422},
		{"POST", "/rotate", `{"owner":"nobody"}`, 404},
		{"POST", "/copies", `{"target":"nowhere"}`, 404},
		{"DELETE", "/copies/nowhere", ``, 404},
		{"GET", "/entries?owner=nobody", ``, 404},
		{"GET", "/entries?page=x", ``, 422},
	} {
		rec := w.send(c.method, "/api/v1/keys"+c.path, c.body)
		if rec.Code != c.status {
			t.Errorf("%s %s %s: %d, want %d: %s", c.method, c.path, c.body, rec.Code, c.status, rec.Body)
		}
		if strings.Contains(strings.ToLower(rec.Body.String()+w.text.String()), "hunter2") {
			t.Errorf("%s %s repeats a secret: %s", c.method, c.path, rec.Body)
		}
	}
}
