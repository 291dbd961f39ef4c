package tenant

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
)

// imported runs an import over REST to its end.
func (w *world) imported(collection, query, file string) (api.Operation, Imported) {
	w.t.Helper()
	answer := w.call("owner", "POST", "/api/v1/stores/acme/prod/collections/"+collection+"/import?"+query, file)
	if answer.Code != 202 {
		w.t.Fatalf("%s: %d %s", query, answer.Code, answer.Body)
	}
	var op api.Operation
	w.must(json.Unmarshal(answer.Body.Bytes(), &op))
	op, err := w.ops.Wait(w.t.Context(), op.ID)
	w.must(err)
	var result Imported
	if op.Result != nil {
		w.must(json.Unmarshal(op.Result, &result))
	}
	return op, result
}

func (w *world) exported(collection string, f Format) string {
	w.t.Helper()
	answer := w.call("owner", "GET", fmt.Sprintf("/api/v1/stores/acme/prod/collections/%s/export?format=%s", collection, f), "")
	if answer.Code != 200 {
		w.t.Fatalf("export: %d %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

func (w *world) wantCounts(got Imported, read, created, updated, failed int) {
	w.t.Helper()
	if got.Read != read || got.Created != created || got.Updated != updated || got.Failed != failed {
		w.t.Errorf("got %+v, want %d read, %d created, %d updated, %d failed", got, read, created, updated, failed)
	}
}

const people = `name,age,born,note
Grace Hopper,85,1906-12-09,"Ünïcode, with a comma"
Ada Lovelace,36,1815-12-10,"two
lines"
Katherine Johnson,101,1918-08-26,
`

func TestImportCreatesWhatItInfers(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	op, got := w.imported("people", "format=csv&create=1", people)
	if op.State != api.Done || op.Kind != "import" || op.Target != "acme/prod/people" || op.Actor != "person:owner" || got.Collection != "people" {
		t.Fatalf("got %+v, %v", op, op.Error)
	}
	w.wantCounts(got, 3, 3, 0, 0)
	if fmt.Sprint(got.Inferred) != "[{name text} {age number} {born date} {note text}]" {
		t.Errorf("got %v", got.Inferred)
	}
	out := w.exported("people", JSONL)
	for _, want := range []string{`"name":"Grace Hopper"`, `"age":85`, `"note":"Ünïcode, with a comma"`, `"note":"two\nlines"`, `"born":"1815-12-10 00:00:00.000Z"`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not in %s", want, out)
		}
	}
	w.wantActions("tenant.create:ok", "data.import:ok", "data.import:ok", "data.export:ok")
	if left, err := w.config.Staging.List(t.Context(), "", "", 9); err != nil || len(left) != 0 {
		t.Errorf("staging holds %v, %v", left, err)
	}
}

func TestImportReportsBadRows(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	w.imported("people", "format=csv&create=1", people)
	bad := "name,age\nRosalind Franklin,37\nNobody,not a number\nshort\nEmmy Noether,53\n"
	_, got := w.imported("people", "format=csv", bad)
	w.wantCounts(got, 4, 2, 0, 2)
	if got.Errors[0].Line != 3 || got.Errors[0].Reason != `age: "not a number" is not a number` || got.Errors[1].Line != 4 {
		t.Errorf("got %+v", got.Errors)
	}
	before := w.exported("people", JSONL)
	op, _ := w.imported("people", "format=csv&strict=1", bad)
	if op.State != api.OpFailed || op.Error.Status != 422 || !strings.HasPrefix(op.Error.Detail, "line 3: age") {
		t.Errorf("got %s %v", op.State, op.Error)
	}
	if after := w.exported("people", JSONL); after != before {
		t.Error("a strict import left something")
	}
}

func TestStrictImportThatFailsMakesNoCollection(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	rows := strings.Repeat("{\"a\":1}\n", sampleRows+1)
	for _, bad := range []string{"{\"a\":\n", "{\"a\":\"x\"}\n"} {
		op, _ := w.imported("things", "format=jsonl&create=1&strict=1", rows+bad)
		if op.State != api.OpFailed || !strings.HasPrefix(op.Error.Detail, "line 1002: ") {
			t.Errorf("got %s %v", op.State, op.Error)
		}
		answer := w.call("owner", "GET", "/api/v1/stores/acme/prod/collections/things/records", "")
		if answer.Code != 404 {
			t.Errorf("got %d %s", answer.Code, answer.Body)
		}
	}
}

func TestImportUpdatesByKey(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	w.imported("people", "format=csv&create=1", people)
	_, got := w.imported("people", "format=csv&key=name", "name,age\nGrace Hopper,86\nLise Meitner,89\n")
	w.wantCounts(got, 2, 1, 1, 0)
	if out := w.exported("people", JSONL); !strings.Contains(out, `"age":86`) || strings.Count(out, "Grace") != 1 {
		t.Errorf("got %s", out)
	}
	_, got = w.imported("fresh", "format=csv&create=1&key=id", "id,a\n1,x\n2,y\n1,z\n")
	w.wantCounts(got, 3, 2, 1, 0)
}

func TestImportByKeyHasAnIndex(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	file := "name,age\nGrace Hopper,86\nLise Meitner,89\n"
	for range 2 {
		w.imported("people", "format=csv&create=1&key=name", file)
	}
	id, err := w.Store(t.Context(), "acme", data.Prod)
	w.must(err)
	var c struct{ Indexes []string }
	w.must(w.Service.open(t.Context(), id, func(st *store.Store) error {
		run := &importRun{Import: Import{Collection: "people"}, store: st}
		return run.ask(t.Context(), "GET", nil, &c)
	}))
	if len(c.Indexes) != 1 || !leads(c.Indexes[0], "name") {
		t.Errorf("got %q", c.Indexes)
	}
	for index, want := range map[string]bool{
		"CREATE UNIQUE INDEX `i` ON `c` (`name`, `age`)": true, "create index i on c(name)": true, "CREATE INDEX i ON c (\n[name] )": true,
		"CREATE INDEX i ON c (age, name)": false, "CREATE INDEX i ON c (name) WHERE name != ''": false, "CREATE INDEX i ON c (lower(name))": false, "": false,
	} {
		if leads(index, "name") != want {
			t.Errorf("%q: want %v", index, want)
		}
	}
}

func TestMalformedFileNamesTheLine(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	w.imported("people", "format=csv&create=1", people)
	op, _ := w.imported("people", "format=csv", "name,age\nFine,1\n\"never closed,2\n")
	if op.State != api.OpFailed || op.Error.Status != 422 || !strings.HasPrefix(op.Error.Detail, "line 3: ") || !strings.Contains(op.Error.Detail, "1 were created") {
		t.Errorf("got %s %v", op.State, op.Error)
	}
	op, _ = w.imported("people", "format=json", `{"a":1}`)
	if op.State != api.OpFailed || !strings.HasPrefix(op.Error.Detail, "line 1: want a JSON array") {
		t.Errorf("got %s %v", op.State, op.Error)
	}
	op, _ = w.imported("people", "format=csv", "name,shoe\nx,42\n")
	if op.State != api.OpFailed || !strings.Contains(op.Error.Detail, `"shoe"`) {
		t.Errorf("got %s %v", op.State, op.Error)
	}
	op, got := w.imported("empty", "format=jsonl&create=1", "")
	if op.State != api.Done || got.Read != 0 {
		t.Errorf("got %s %v", op.State, op.Error)
	}
}

func TestImportIsRefusedBeforeTheUpload(t *testing.T) {
	w := newWorld(t)
	acme := w.create("acme")
	w.imported("people", "format=csv&create=1", people)
	for _, c := range []struct {
		who, store, collection, query string
		status                        int
	}{
		{"owner", "nobody/prod", "people", "format=csv", 404}, {"owner", "acme/test", "people", "format=csv", 404},
		{"owner", "acme/prod", "nowhere", "format=csv", 404}, {"owner", "acme/prod", "people", "format=xml", 422},
		{"owner", "acme/prod", "people", "", 422}, {"owner", "acme/prod", "people", "format=csv&key=no_such_field", 422},
		{"owner", "acme/prod", "people", "format=csv&strict=maybe", 422}, {"owner", "acme/prod", "_superusers", "format=csv", 403},
		{"owner", "acme/prod", "a%2F..%2Fb", "format=csv&create=1", 422}, {"stranger", "acme/prod", "people", "format=csv", 403},
		{acme.ID, "acme/prod", "people", "format=csv", 202},
	} {
		answer := w.call(c.who, "POST", "/api/v1/stores/"+c.store+"/collections/"+c.collection+"/import?"+c.query, people)
		if answer.Code != c.status {
			t.Errorf("%+v: got %d %s", c, answer.Code, answer.Body)
		}
	}
	w.must(w.ops.Close())
	if left, err := w.config.Staging.List(t.Context(), "", "", 9); err != nil || len(left) != 0 {
		t.Errorf("staging holds %v, %v", left, err)
	}
}

// TestExportImportsBack takes records of every kind of value out in each format, into
// another collection of the same fields, and wants the same records.
func TestExportImportsBack(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	rows := `{"text":"a\r\nb\n\"c\", =1+1","n":-0.25,"yes":true,"at":"2024-01-02T03:04:05.678Z","any":{"x":[1,"2",null]},"mail":"a@example.com"}
{"text":"","n":12345678901234,"yes":false,"at":"","any":"12","mail":""}
{"text":"007 \u0000x","n":1,"yes":true,"at":"","any":null,"mail":"b@example.com"}
{"text":"  spaced\t","n":0,"yes":true,"at":"2024-02-29","any":1.5,"big":12345678901234567890,"mail":"c@example.com"}
{"text":"𝄞 ﬁn\\u2028","n":1e3,"yes":false,"at":"","any":[],"mail":"d@example.com"}
`
	_, got := w.imported("one", "format=jsonl&create=1", rows)
	w.wantCounts(got, 5, 4, 0, 1)
	if got.Errors[0].Reason != "text: holds a zero byte" {
		t.Errorf("got %+v", got.Errors)
	}
	want := w.exported("one", JSONL)
	if strings.Count(want, "\n") != 4 || !strings.Contains(want, "12345678901234567890") {
		t.Fatalf("got %s", want)
	}
	for i, f := range formats {
		name := fmt.Sprintf("two%d", i)
		w.imported(name, "format=jsonl&create=1", rows) // for the fields
		w.drop(name)
		op, got := w.imported(name, "format="+string(f), w.exported("one", f))
		if op.State != api.Done {
			t.Fatalf("%s: %v", f, op.Error)
		}
		w.wantCounts(got, 4, 4, 0, 0)
		if again := w.exported(name, JSONL); again != want {
			t.Errorf("%s:\n%s\n%s", f, again, want)
		}
		if again := w.exported(name, f); again != w.exported("one", f) {
			t.Errorf("%s differs", f)
		}
	}
}

// drop deletes the records of a collection.
func (w *world) drop(collection string) {
	w.t.Helper()
	id, err := w.Store(w.t.Context(), "acme", data.Prod)
	w.must(err)
	w.must(w.Service.open(w.t.Context(), id, func(st *store.Store) error {
		ctx := store.WithReach(w.t.Context(), store.Reach{Scope: store.Admin})
		answer := &answer{header: map[string][]string{}}
		in := inner(requestTo(ctx, collection))
		in.Method, in.URL.Path, in.URL.RawQuery = "DELETE", "/api/collections/"+collection+"/truncate", ""
		st.ServeHTTP(answer, in.WithContext(ctx))
		if answer.status >= 400 {
			return answer.problem()
		}
		return nil
	}))
}

func TestExportAll(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	w.imported("one", "format=jsonl&create=1", "{\"a\":1}\n{\"a\":2}\n")
	w.imported("two", "format=jsonl&create=1", "{\"b\":\"x\"}\n")
	answer := w.call("owner", "GET", "/api/v1/stores/acme/prod/export", "")
	lines := strings.Split(strings.TrimSpace(answer.Body.String()), "\n")
	if answer.Code != 200 || len(lines) != 3 || !strings.Contains(lines[0], `"@collection":"one"`) || !strings.Contains(lines[2], `"@collection":"two"`) {
		t.Fatalf("got %d %s", answer.Code, answer.Body)
	}
	w.drop("two")
	op, got := w.imported("two", "format=jsonl", answer.Body.String())
	if op.State != api.Done {
		t.Fatal(op.Error)
	}
	w.wantCounts(got, 1, 1, 0, 0)
	empty := w.exported("users", JSON)
	if strings.TrimSpace(empty) != "[]" {
		t.Errorf("got %q", empty)
	}
}

// TestCancelledImportStops asks an import to stop after its first rows.
func TestCancelledImportKeepsWhatItDid(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	file := strings.Repeat("{\"a\":1}\n", 20_000)
	answer := w.call("owner", "POST", "/api/v1/stores/acme/prod/collections/many/import?format=jsonl&create=1", file)
	var op api.Operation
	w.must(json.Unmarshal(answer.Body.Bytes(), &op))
	w.must(w.ops.Cancel(t.Context(), op.ID))
	op, err := w.ops.Wait(t.Context(), op.ID)
	w.must(err)
	if op.State != api.Cancelled && op.State != api.Done {
		t.Errorf("got %s %v", op.State, op.Error)
	}
	if left, err := w.config.Staging.List(t.Context(), "", "", 9); err != nil || len(left) != 0 {
		t.Errorf("staging holds %v, %v", left, err)
	}
}

func TestStagedUploadsAreNotReadable(t *testing.T) {
	w := newWorld(t)
	canary := bytes.Repeat([]byte("the canary sings "), 10_000)
	r := requestTo(context.Background(), "x")
	r.Body = readCloser{bytes.NewReader(canary)}
	staged, err := w.stage(r)
	w.must(err)
	if staged.Size != int64(len(canary)) {
		t.Errorf("got %d bytes", staged.Size)
	}
	noneHolds(t, w.dir, "canary sings")
	w.shut()
	w.open() // the import that it was for is no more
	if left, err := w.config.Staging.List(t.Context(), "", "", 9); err != nil || len(left) != 0 {
		t.Errorf("staging holds %v, %v", left, err)
	}
}
