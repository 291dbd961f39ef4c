package recovery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/app/api"
	"holdfast/data/store"
)

func (w *world) restores(slug string) []Restore {
	w.t.Helper()
	var page api.Page[Restore]
	w.call("GET", "/stores/"+slug+"/prod/restores", "", 200, &page)
	return page.Items
}

func TestRestoreInPlaceUndoAndConfirm(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 30)
	w.folder("local")
	first := w.ship("acme")
	then := w.content("acme")
	w.add("acme", "later", 7)
	w.with("acme", func(s *store.Store) { w.must(w.put(s, "a/b/later.txt", "later")) })
	w.ship("acme")
	now := w.content("acme")
	at := fmt.Sprintf(`{"in_place":true,"sequence":%d`, first.Seq)

	var dry Restored
	w.done("/stores/acme/prod/restores", at+`,"dry_run":true}`, &dry)
	if p := dry.Plan; p == nil || p.Undone != 7 || p.Collections[len(p.Collections)-1].Removed != 7 || p.Files.Removed != 1 || p.NeedBytes == 0 || !p.Enough {
		t.Fatalf("plan: %+v", dry.Plan)
	}
	if w.content("acme") != now {
		t.Fatal("a dry run changed something")
	}
	var got Restored
	w.done("/stores/acme/prod/restores", at+`}`, &got)
	if got.Undone != 7 || got.Records != 30 || !got.InPlace || got.Slug != "acme" || w.content("acme") != then {
		t.Fatalf("in place: %+v", got)
	}
	if e := w.log.last(); e.Action != "snapshot.restore" || e.Detail["undone changes"] != "7" {
		t.Errorf("recorded %+v", e)
	}
	w.call("POST", "/stores/acme/prod/restores", at+`}`, 409, nil)
	w.add("acme", "of the restored life", 2)
	w.ship("acme") // the chain goes on
	var back Reverted
	w.done("/stores/acme/prod/restores/"+got.ID+"/undo", "", &back)
	if back.Undone < 2 || w.content("acme") != now {
		t.Fatalf("undo: %+v", back)
	}
	w.ship("acme")
	var v Verified
	if w.done("/stores/acme/prod/snapshots/verify", "", &v); !v.OK {
		t.Errorf("the chain: %+v", v)
	}
	w.done("/stores/acme/prod/restores", at+`}`, &got)
	var confirmed Restore
	w.call("POST", "/stores/acme/prod/restores/"+got.ID+"/confirm", "", 200, &confirmed)
	if confirmed.State != restoreConfirmed || w.pool.Kept(w.tenants["acme"].id) {
		t.Errorf("confirmed: %+v", confirmed)
	}
	w.call("POST", "/stores/acme/prod/restores/"+got.ID+"/undo", "", 409, nil)
	if list := w.restores("acme"); len(list) != 3 || list[0].State != restoreConfirmed || list[1].State != restoreUndone || list[2].Kind != asPlan {
		t.Errorf("list: %+v", list)
	}
}

func TestRestoreRecordsIntoTheLiving(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 30)
	w.folder("local")
	first := w.ship("acme")
	var refs []store.RecordRef
	w.with("acme", func(s *store.Store) {
		var err error
		refs, err = s.Select(t.Context(), "notes", "", "title = 'first 3'")
		w.must(err)
		_, err = s.Erase(t.Context(), refs)
		w.must(err)
	})
	w.add("acme", "later", 5)
	body := fmt.Sprintf(`{"collections":["notes"],"records":[%q],"sequence":%d`, refs[0].ID, first.Seq)
	var dry, got Restored
	w.done("/stores/acme/prod/restores", body+`,"dry_run":true}`, &dry)
	if dry.Plan.Collections[0].Added != 1 {
		t.Errorf("plan: %+v", dry.Plan)
	}
	w.done("/stores/acme/prod/restores", body+`}`, &got)
	if len(got.Taken) != 1 || got.Taken[0].Added != 1 || strings.Count(w.content("acme"), "\"title\"") != 35 {
		t.Errorf("taken: %+v", got)
	}
	w.failed("/stores/acme/prod/restores", `{"collections":["nonesuch"]}`, "not-found")
}

func TestRestoreSaysWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 3)
	w.folder("local")
	w.ship("acme")
	for body, says := range map[string]string{
		`{}`:                                    "name the new tenant",
		`{"as":"x","in_place":true}`:            "three ways",
		`{"in_place":true,"records":["a"]}`:     "one collection",
		`{"as":"x","at":"yesterday"}`:           "10m ago",
		`{"as":"x","conflict":"flip a coin"}`:   "overwrite, keep or refuse",
		`{"as":"x","at":"1m ago","sequence":1}`: "not both",
	} {
		if text := w.call("POST", "/stores/acme/prod/restores", body, 422, nil); !strings.Contains(text, says) {
			t.Errorf("%s: %s", body, text)
		}
	}
	for _, at := range []string{"2001-01-01T00:00:00Z", "2101-01-01T00:00:00Z"} {
		p := w.failed("/stores/acme/prod/restores", `{"in_place":true,"at":"`+at+`"}`, "no-snapshot")
		if !strings.Contains(p.Detail, "from 2") {
			t.Errorf("it does not say the range: %s", p.Detail)
		}
	}
	w.config.Room = func() (int64, error) { return 1 << 10, nil }
	if p := w.failed("/stores/acme/prod/restores", `{"as":"copy"}`, "no-room"); !strings.Contains(p.Detail, "0 MiB are free") {
		t.Error(p.Detail)
	}
	if left, _ := filepath.Glob(filepath.Join(w.config.Staging, "restores", "*")); len(left) > 0 {
		t.Error("left:", left)
	}
}

// A process that ends under a restore leaves its row; the next one goes on.
func TestRestoreGoesOnAfterACrash(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 10)
	w.folder("local")
	first := w.ship("acme")
	then := w.content("acme")
	w.add("acme", "later", 7)
	id := w.tenants["acme"].id
	order := Order{InPlace: true, Sequence: first.Seq}
	row, err := w.newRestore(t.Context(), ref{id: id, slug: "acme", environment: "prod"}, order, inPlace)
	w.must(err)
	w.must(w.ResumeRestores(t.Context())) // it had not begun
	w.await(row.ID, restoreKept)
	if w.content("acme") != then {
		t.Error("it is not what it was")
	}
	w.must(w.mark(t.Context(), row.ID, restoreSwapping, nil, "")) // swapped, and not written down
	w.must(w.ResumeRestores(t.Context()))
	w.await(row.ID, restoreKept)
	w.must(w.mark(t.Context(), row.ID, restoreUndoing, nil, ""))
	w.must(w.ResumeRestores(t.Context()))
	w.await(row.ID, restoreUndone)
	if strings.Count(w.content("acme"), "\"title\"") != 17 {
		t.Error("it was not undone")
	}
	if _, err := os.Stat(w.resume(row.ID)); err == nil {
		t.Error("what was fetched is left")
	}
}

// await waits for the restore's operation and wants a state.
func (w *world) await(id, state string) {
	w.t.Helper()
	row, err := w.restoreOf(w.t.Context(), w.tenants["acme"].id, id)
	w.must(err)
	if row.Operation == "" {
		page, err := w.ops.List(w.t.Context(), api.OperationFilter{Kind: "restore", Reach: api.Reach{All: true}}, api.Paging{Page: 1, PerPage: 1})
		w.must(err)
		row.Operation = page.Items[0].ID
	}
	op, err := w.ops.Wait(w.t.Context(), row.Operation)
	w.must(err)
	row, err = w.restoreOf(w.t.Context(), w.tenants["acme"].id, id)
	w.must(err)
	if row.State != state {
		w.t.Fatalf("restore is %s, not %s: %s %+v", row.State, state, row.Error, op.Error)
	}
}
