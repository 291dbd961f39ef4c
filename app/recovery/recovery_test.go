package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/backup/objects/gateway"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/store"
)

func TestSnapshotAndRestore(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 300)
	w.folder("local")
	base := w.ship("acme")
	if base.Seq != 1 || base.Pages == 0 || base.Bytes == 0 || base.Files != 1 || base.Targets[0].Kind != "base" {
		t.Fatalf("base: %+v", base)
	}
	w.add("acme", "second", 1)
	if next := w.ship("acme"); next.Seq != 2 || next.Targets[0].Kind != "segment" || next.Pages >= base.Pages/2 {
		t.Fatalf("segment: %+v after %+v", next, base)
	}
	if same := w.ship("acme"); same.Seq != 2 || !same.Targets[0].Unchanged {
		t.Fatalf("unchanged: %+v", same)
	}
	var got Restored
	w.done("/stores/acme/prod/restores", `{"as":"copy"}`, &got)
	if got.Slug != "copy" || got.Records != 301 || got.RTOSeconds <= 0 || got.Seq != 2 || got.Files != 1 || got.Target != "local" {
		t.Fatalf("restored: %+v", got)
	}
	if w.content("copy") != w.content("acme") {
		t.Error("the copy differs")
	}
	if e := w.log.last(); e.Action != "snapshot.restore" || e.Outcome != api.OK || e.Store != w.tenants["acme"].id.String() || e.Detail["as"] != "copy" {
		t.Errorf("recorded %+v", e)
	}
	w.newLife()
	w.add("copy", "third", 2) // it lives
	w.ship("copy")
}

// newLife checks that the copy is a life of its own.
func (w *world) newLife() {
	w.t.Helper()
	var old, fresh data.Position
	w.with("acme", func(s *store.Store) { old, _ = s.Position(w.t.Context()) })
	w.with("copy", func(s *store.Store) { fresh, _ = s.Position(w.t.Context()) })
	if old.Incarnation == fresh.Incarnation || fresh.Incarnation == "" {
		w.t.Errorf("incarnations %q and %q", old.Incarnation, fresh.Incarnation)
	}
}

func TestAgainstS3(t *testing.T) {
	w := newWorld(t)
	server := gateway.Start(t)
	w.tenant("acme", 50)
	body := fmt.Sprintf(`{"name":"s3","url":%q,"accessKey":%q,"secretKey":%q}`, server.URL("x"), server.Credentials.AccessKey, server.Credentials.SecretKey)
	w.call("POST", "/targets", body, 201, nil)
	w.call("POST", "/targets/s3/test", "", 200, nil)
	w.ship("acme")
	w.add("acme", "more", 5)
	w.ship("acme")
	var v Verified
	w.done("/stores/acme/prod/snapshots/verify", "", &v)
	if !v.OK || v.Snapshots != 2 || v.Objects == 0 {
		t.Fatalf("verified %+v", v)
	}
	var got Restored
	w.done("/stores/acme/prod/restores", `{"as":"copy"}`, &got)
	if w.content("copy") != w.content("acme") {
		t.Error("the copy differs")
	}
	wrong := strings.Replace(strings.Replace(body, server.Credentials.SecretKey, "wrong", 1), `"s3"`, `"wrong"`, 1)
	w.call("POST", "/targets", wrong, 201, nil)
	if text := w.call("POST", "/targets/wrong/test", "", 502, nil); !strings.Contains(text, "credentials") {
		t.Errorf("wrong credentials: %s", text)
	}
	w.failed("/stores/acme/prod/snapshots", `{"target":"wrong"}`, "target-failed")
}

// A deleted tenant can be restored while its keys are parked, and never again
// after they are destroyed.
func TestParkedAndDestroyed(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 20)
	w.folder("local")
	w.ship("acme")
	content := w.content("acme")
	acme := w.tenants["acme"]
	w.must(w.pool.Evict(t.Context(), acme.id))
	w.must(w.ring.Park(keys.Owner(acme.id.String())))
	acme.closed = data.ErrParked
	w.call("POST", "/stores/acme/prod/snapshots", "", 410, nil)
	w.call("GET", "/stores/acme/prod/snapshots", "", 200, nil)
	w.call("GET", "/stores/acme/prod/snapshots/status", "", 200, nil)
	var v Verified
	if w.done("/stores/acme/prod/snapshots/verify", "", &v); !v.OK {
		t.Fatalf("verify: %+v", v)
	}
	w.done("/stores/acme/prod/restores", `{"as":"copy"}`, &Restored{})
	if w.content("copy") != content {
		t.Error("the copy differs")
	}
	w.must(w.ring.Destroy(keys.Owner(acme.id.String())))
	acme.closed = data.ErrDestroyed
	for _, path := range []string{"snapshots", "snapshots/verify"} {
		w.call("POST", "/stores/acme/prod/"+path, "", 410, nil)
	}
	if text := w.call("POST", "/stores/acme/prod/restores", `{"as":"third"}`, 410, nil); !strings.Contains(text, "destroyed") {
		t.Errorf("it does not say why: %s", text)
	}
	w.must(w.Forget(t.Context(), acme.id))
	if left, _ := filepath.Glob(filepath.Join(w.dir, "staging", acme.id.Tenant, "*", "*")); len(left) > 0 {
		t.Errorf("staging is left: %v", left)
	}
}

// Two targets share one tap: what one of them got is not lost for the other.
func TestTwoTargets(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 20)
	w.folder("one")
	w.ship("acme")
	w.folder("two")
	if s := w.ship("acme"); len(s.Targets) != 2 || !s.Targets[0].Unchanged || s.Targets[1].Kind != "base" {
		t.Fatalf("%+v", s)
	}
	w.add("acme", "more", 3)
	if s := w.ship("acme"); s.Targets[0].Pages != s.Targets[1].Pages || s.Targets[1].Kind != "segment" {
		t.Fatalf("%+v", s)
	}
	w.add("acme", "again", 3)
	w.done("/stores/acme/prod/snapshots", `{"target":"two"}`, &Shipped{})
	for i, name := range []string{"one", "two", ""} {
		if name == "one" {
			w.ship("acme")
		}
		var got Restored
		w.done("/stores/acme/prod/restores", fmt.Sprintf(`{"as":"copy%d","target":%q}`, i, name), &got)
		if w.content(got.Slug) != w.content("acme") {
			t.Errorf("the copy from %q differs", name)
		}
	}
}

// A store that was closed and opened again has its whole database marked; only
// what changed is shipped.
func TestAfterRestart(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 2000)
	w.folder("local")
	base := w.ship("acme")
	w.add("acme", "more", 1)
	w.must(w.pool.Evict(t.Context(), w.tenants["acme"].id))
	w.open()
	if s := w.ship("acme"); s.Targets[0].Kind != "segment" || s.Pages >= base.Pages/2 || s.Seq != 2 {
		t.Fatalf("%+v after a base of %d pages", s, base.Pages)
	}
	w.must(w.Sweep(t.Context(), time.Now().Add(time.Hour)))
	w.add("acme", "more", 1)
	if s := w.ship("acme"); s.Seq != 3 {
		t.Fatalf("%+v", s)
	}
	var v Verified
	if w.done("/stores/acme/prod/snapshots/verify", "", &v); !v.OK {
		t.Fatalf("%+v", v)
	}
}

// A damaged chain is named by verify, and a restore leaves nothing behind.
func TestDamagedChain(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 20)
	dir := w.folder("local")
	w.ship("acme")
	name := flipLargest(t, dir)
	var v Verified
	w.done("/stores/acme/prod/snapshots/verify", "", &v)
	if v.OK || len(v.Problems) == 0 || !strings.Contains(v.Problems[0], name) {
		t.Fatalf("verify: %+v, want %s named", v, name)
	}
	p := w.failed("/stores/acme/prod/restores", `{"as":"copy"}`, "damaged")
	if !strings.Contains(p.Detail, name) {
		t.Errorf("it does not name the object: %s", p.Detail)
	}
	if _, there := w.tenants["copy"]; there {
		t.Error("half a restore is there")
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, "stores", ".scratch-*")); len(left) > 0 {
		t.Errorf("scratch is left: %v", left)
	}
}

// flipLargest changes a bit in the largest object and returns its name.
func flipLargest(t *testing.T, dir string) (name string) {
	t.Helper()
	var size int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil && info.Size() > size {
				name, size = path, info.Size()
			}
		}
		return err
	})
	b, readErr := os.ReadFile(name)
	if err = errors.Join(err, readErr); err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	name, _ = filepath.Rel(dir, name)
	return filepath.ToSlash(name)
}

// A chain whose end was cut off is noticed: this host knows what it shipped.
func TestCutChain(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 20)
	dir := w.folder("local")
	w.ship("acme")
	w.add("acme", "more", 1)
	w.ship("acme")
	last, _ := filepath.Glob(filepath.Join(dir, "t", "*", "prod", "manifest", "*2"))
	w.must(os.Remove(last[0]))
	var v Verified
	if w.done("/stores/acme/prod/snapshots/verify", "", &v); v.OK || !strings.Contains(v.Problems[0], "manifest/0000000000000002") {
		t.Fatalf("verify: %+v", v)
	}
	w.failed("/stores/acme/prod/restores", `{"as":"copy"}`, "no-snapshot")
}

func TestTargets(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 1)
	if text := w.call("POST", "/stores/acme/prod/snapshots", "", 409, nil); !strings.Contains(text, "target add") {
		t.Errorf("no target: %s", text)
	}
	for _, bad := range []string{
		`{"name":"Bad Name","url":"file:///x"}`, `{"name":"x","url":"ftp://x/y"}`, `{"name":"x","url":"nonsense"}`, `{"name":"x","url":"mem:"}`,
		`{"name":"x","url":"s3://b/p"}`, `{"name":"x","url":"s3://b/p","secretKey":"s"}`, `{"name":"x","url":"s3://b/p?endpoint=nonsense","accessKey":"a","secretKey":"s"}`, `{}`,
	} {
		w.call("POST", "/targets", bad, 422, nil)
	}
	w.folder("local")
	w.call("POST", "/targets", `{"name":"local","url":"file:///elsewhere"}`, 409, nil)
	w.call("POST", "/targets", `{"name":"far","url":"s3://bucket/p?endpoint=http://127.0.0.1:1","accessKey":"AKIDEXAMPLE","secretKey":"the-secret"}`, 201, nil)
	var page api.Page[Target]
	text := w.call("GET", "/targets", "", 200, &page)
	if page.Total != 2 || !page.Items[0].Credentials || page.Items[1].Credentials {
		t.Errorf("targets: %s", text)
	}
	w.secretNowhere("the-secret", text)
	w.call("POST", "/targets/nosuch/test", "", 404, nil)
	w.call("DELETE", "/targets/nosuch", "", 404, nil)
	w.ship1("acme", "local")
	w.call("DELETE", "/targets/local", "", 204, nil)
	w.call("GET", "/stores/acme/prod/snapshots", "", 200, &struct{}{})
	w.call("POST", "/stores/acme/prod/snapshots", `{"target":"local"}`, 404, nil)
	if e := w.log.last(); e.Action != "target.delete" || e.Target != "local" {
		t.Errorf("recorded %+v", e)
	}
}

func (w *world) ship1(slug, target string) {
	w.t.Helper()
	w.done("/stores/"+slug+"/prod/snapshots", fmt.Sprintf(`{"target":%q}`, target), &Shipped{})
}

// secretNowhere looks for a credential in an answer and in every file.
func (w *world) secretNowhere(secret, answer string) {
	w.t.Helper()
	if strings.Contains(answer, secret) {
		w.t.Error("the API shows the secret")
	}
	w.must(filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), secret) {
			w.t.Errorf("%s holds the secret in clear", path)
		}
		return err
	}))
}

// A target that was removed and added again gets a chain of its own.
func TestTargetAddedAgain(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 20)
	dir := w.folder("local")
	w.ship("acme")
	w.call("DELETE", "/targets/local", "", 204, nil)
	w.call("POST", "/targets", fmt.Sprintf(`{"name":"again","url":"file://%s"}`, dir), 201, nil)
	w.done("/stores/acme/prod/restores", `{"as":"before"}`, &Restored{}) // what lies there is enough
	if s := w.ship("acme"); s.Seq != 2 || s.Targets[0].Kind != "base" {
		t.Fatalf("%+v", s)
	}
	var v Verified
	if w.done("/stores/acme/prod/snapshots/verify", "", &v); !v.OK || v.Snapshots != 2 {
		t.Fatalf("%+v", v)
	}
}

func TestListAndStatus(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 20)
	w.folder("local")
	status := func() TargetStatus {
		var s Status
		w.call("GET", "/stores/acme/prod/snapshots/status", "", 200, &s)
		return s.Targets[0]
	}
	if s := status(); s.Seq != 0 || s.DirtyPages == 0 || s.Time != nil {
		t.Errorf("never shipped: %+v", s)
	}
	w.ship("acme")
	if s := status(); s.Seq != 1 || s.DirtyPages != 0 || s.LagSeconds != 0 || s.Error != "" {
		t.Errorf("shipped: %+v", s)
	}
	w.add("acme", "more", 1)
	if s := status(); s.Seq != 1 || s.DirtyPages == 0 || s.DirtyPages > 30 {
		t.Errorf("behind: %+v", s)
	}
	w.ship("acme")
	var page api.Page[Snapshot]
	w.call("GET", "/stores/acme/prod/snapshots?perPage=1", "", 200, &page)
	if page.Total != 2 || len(page.Items) != 1 || page.Items[0].Seq != 2 || page.Items[0].Kind != "segment" || page.Items[0].Position.Sequence == 0 {
		t.Errorf("list: %+v", page)
	}
}

func TestFailureIsKept(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 5)
	dir := w.folder("local")
	w.must(os.RemoveAll(dir)) // as if its disk were not mounted
	w.failed("/stores/acme/prod/snapshots", "", "target-failed")
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made anew")
	}
	var s Status
	w.call("GET", "/stores/acme/prod/snapshots/status", "", 200, &s)
	if s.Targets[0].Error == "" {
		t.Errorf("status: %+v", s)
	}
	if e := w.log.last(); e.Action != "snapshot.create" || e.Outcome != api.Failed {
		t.Errorf("recorded %+v", e)
	}
}

func TestRestoreRefuses(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 5)
	w.tenant("other", 1)
	w.folder("local")
	w.failed("/stores/acme/prod/restores", `{"as":"copy"}`, "no-snapshot")
	w.ship("acme")
	const path = "/stores/acme/prod/restores"
	w.call("POST", path, `{}`, 422, nil)
	w.call("POST", path, `{"as":"copy","at":"yesterday"}`, 422, nil)
	w.call("POST", path, `{"as":"other"}`, 409, nil)
	w.call("POST", path, `{"as":"copy","target":"nosuch"}`, 404, nil)
	w.call("POST", "/stores/nosuch/prod/restores", `{"as":"copy"}`, 404, nil)
	p := w.failed(path, `{"as":"copy","at":"2001-01-01T00:00:00Z"}`, "no-snapshot")
	if !strings.Contains(p.Detail, "there are points from") {
		t.Errorf("it does not say the range: %s", p.Detail)
	}
	w.deny = api.TenantCreate
	w.call("POST", path, `{"as":"copy"}`, 403, nil)
	w.deny = ""
	w.log.fail = errors.New("the log is full")
	if op := w.done(path, `{"as":"copy"}`, nil); op.State != api.OpFailed {
		t.Errorf("without an audit entry: %s", op.State)
	}
}
