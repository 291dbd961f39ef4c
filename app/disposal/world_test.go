package disposal

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/objects"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/store"
	"holdfast/data/system"
)

// world is the room over a real keyring, system database and stores. The tenants
// and the audit log are fakes: what is asked of them is looked at.
type world struct {
	*Service
	t       *testing.T
	dir     string
	ring    *keys.Ring
	db      *system.DB
	pool    *store.Pool
	targets []Target
	now     time.Time

	mu     sync.Mutex
	events []api.Event
	fail   map[string]error // by action
	buried []string
	back   map[string]bool // tenants that Bury finds
	held   []Copy
	barred data.StoreID // where nobody may erase
}

var acme = data.StoreID{Tenant: "acme00000000000", Environment: data.Prod}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "data"), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), fail: map[string]error{}, back: map[string]bool{}}
	w.must(os.Mkdir(w.dir, 0o700))
	root, err := keys.CreateSlots(filepath.Join(w.dir, "keys", "root.slots"), keys.KeyFile(filepath.Join(t.TempDir(), "key")))
	w.must(err)
	w.ring, err = keys.CreateRing(filepath.Join(w.dir, "keys"), root)
	w.must(err)
	w.must(w.ring.Add(keys.System, keys.Pages, keys.AuditSigning, keys.Segments))
	w.must(w.ring.Add(keys.Owner(acme.String()), keys.Pages, keys.Files, keys.Personal))
	w.open()
	return w
}

// twin is the same host with a data folder of before: its own database, the same
// keyring.
func (w *world) twin() *world {
	o := &world{t: w.t, dir: filepath.Join(w.t.TempDir(), "data"), ring: w.ring, now: w.now, targets: w.targets, fail: map[string]error{}, back: map[string]bool{}}
	w.must(os.Mkdir(o.dir, 0o700))
	o.open()
	return o
}

func (w *world) open() {
	var err error
	w.db, err = system.Open(w.t.Context(), system.Config{Dir: w.dir, Keys: w.ring.Source(keys.System, keys.Pages)})
	w.must(err)
	w.t.Cleanup(func() { _ = w.db.Close() })
	w.pool, err = store.New(store.Config{Dir: filepath.Join(w.dir, "stores"), Keys: storeKeys{w.ring}})
	w.must(err)
	w.t.Cleanup(func() { _ = w.pool.Close() })
	w.Service, err = New(w.t.Context(), Config{
		DB: w.db, Recorder: recorder{w}, Access: directory{w}, Auditor: recorder{w}, Stores: w.pool, Tenants: directory{w},
		Signing: w.ring.Source(keys.System, keys.AuditSigning), Sealing: w.ring.Source(keys.System, keys.Segments),
		Personal: func(id data.StoreID) data.KeySource { return w.ring.Archive(keys.Owner(id.String()), keys.Personal) },
		Keys:     w.keysOf,
		Targets:  func(context.Context) ([]Target, error) { return w.targets, nil },
		Held:     func(context.Context, data.StoreID) ([]Copy, error) { return w.held, w.fail["held"] },
		Clock:    func() time.Time { return w.now },
	})
	w.must(err)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

type storeKeys struct{ ring *keys.Ring }

func (k storeKeys) Pages(id data.StoreID) data.KeySource {
	return k.ring.Source(keys.Owner(id.String()), keys.Pages)
}

func (k storeKeys) Files(id data.StoreID) data.KeySource {
	return k.ring.Source(keys.Owner(id.String()), keys.Files)
}

func (w *world) keysOf(id data.StoreID) (out []Key) {
	for _, e := range w.ring.Entries() {
		if string(e.Owner) == id.String() {
			out = append(out, Key{string(e.Purpose), e.Generation, e.Fingerprint, e.Created, e.Changed, e.State == keys.Destroyed})
		}
	}
	return out
}

// target adds a store in memory.
func (w *world) target(name string) backup.ObjectStore {
	m := objects.NewMemory()
	w.targets = append(w.targets, Target{ID: name, Name: name, Open: func() (backup.ObjectStore, error) { return m, nil }})
	return m
}

// recorder is the audit log.
type recorder struct{ *world }

func (r recorder) Record(_ context.Context, e api.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fail[e.Action]; err != nil {
		return err
	}
	r.events = append(r.events, e)
	return nil
}

func (r recorder) Recorded(_ context.Context, action, text string) (bool, error) {
	return r.count(action, text) > 0, nil
}

func (w *world) count(action, text string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Action == action && (e.Target == text || e.Detail["id"] == text) {
			n++
		}
	}
	return n
}

func (r recorder) SignNote(_ context.Context, text string) (string, string, error) {
	if err := r.fail["sign"]; err != nil {
		return "", "", err
	}
	skey, vkey := testSigner("holdfast/test")
	signed, err := note.Sign(&note.Note{Text: text}, skey)
	return strings.TrimPrefix(string(signed), text+"\n"), vkey, err
}

// signerOf signs under a name, as the audit room does.
type signerOf struct {
	*signer
	name string
	hash uint32
}

func (s signerOf) Name() string    { return s.name }
func (s signerOf) KeyHash() uint32 { return s.hash }

func testSigner(name string) (note.Signer, string) {
	key, err := newSigner(sha256.Sum256([]byte(name)))
	if err != nil {
		panic(err)
	}
	vkey, err := note.NewEd25519VerifierKey(name, key.key.Public().(ed25519.PublicKey))
	if err != nil {
		panic(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		panic(err)
	}
	return signerOf{key, name, v.KeyHash()}, vkey
}

type directory struct{ *world }

func (d directory) Store(context.Context, string, string) (data.StoreID, error)  { return acme, nil }
func (d directory) Anyhow(context.Context, string, string) (data.StoreID, error) { return acme, nil }

func (d directory) Name(_ context.Context, id data.StoreID) string {
	return strings.TrimRight(id.Tenant, "0") + "/" + id.Environment
}

func (d directory) Authorize(_ context.Context, _ data.Actor, _ api.Permission, s api.Scope) error {
	if s == api.StoreScope(d.barred) {
		return api.ErrForbidden
	}
	return nil
}

func (d directory) Bury(ctx context.Context, tenant string, stores []data.StoreID) (bool, error) {
	if !d.back[tenant] {
		return false, nil
	}
	d.buried = append(d.buried, tenant)
	d.back[tenant] = false
	for _, id := range stores {
		if err := d.ring.Destroy(keys.Owner(id.String())); err != nil && !errors.Is(err, data.ErrNotFound) {
			return true, err
		}
	}
	return true, d.Finish(ctx, tenant, "acme", Revoked{})
}

func (w *world) order() Order {
	return Order{Tenant: acme.Tenant, Slug: "acme", Stores: []StoreSize{{acme, 3, 4096}}, Asked: Step{"person:p", w.now},
		By: data.Actor{Kind: data.System}}
}

// destroy carries a destruction out to its end.
func (w *world) destroy() Certified {
	w.t.Helper()
	w.must(w.Begin(w.t.Context(), w.order()))
	w.must(w.ring.Destroy(keys.Owner(acme.String())))
	w.must(w.Finish(w.t.Context(), acme.Tenant, "acme", Revoked{APIKeys: 2, Grants: 1}))
	return w.only()
}

// only is the one disposal there is.
func (w *world) only() Certified {
	w.t.Helper()
	page, err := w.List(w.t.Context(), api.Paging{Page: 1, PerPage: 10})
	w.must(err)
	if len(page.Items) != 1 {
		w.t.Fatalf("%d disposals", len(page.Items))
	}
	c, err := w.Get(w.t.Context(), page.Items[0].ID)
	w.must(err)
	return c
}
