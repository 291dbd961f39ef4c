package app_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The crash tests end the server without warning while something is under way,
// start it again and ask for everything that had been acknowledged. -short runs
// one cycle, -holdfast.cycles 20 as many as a release wants.

func crashes() int {
	if testing.Short() {
		return 1
	}
	return *cycles
}

// acked is what the server has acknowledged: id -> what belongs to it.
type acked struct {
	mu sync.Mutex
	m  map[string]string
}

func (a *acked) add(id, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m == nil {
		a.m = map[string]string{}
	}
	a.m[id] = value
}

func (a *acked) copy() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := make(map[string]string, len(a.m))
	for k, v := range a.m {
		m[k] = v
	}
	return m
}

// killDuring runs work in n goroutines until the server dies under it; work
// returns false when the server no longer answers.
func (s *server) killDuring(n int, work func(worker, i int) bool) {
	s.t.Helper()
	var wg sync.WaitGroup
	for worker := range n {
		wg.Go(func() {
			for i := 0; s.alive() && work(worker, i); i++ {
			}
		})
	}
	time.Sleep(time.Duration(150+rand.IntN(500)) * time.Millisecond)
	s.kill()
	wg.Wait()
}

// alive says whether the server runs; a command without one would open the data
// folder itself.
func (s *server) alive() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// settle restarts after a crash and checks what must hold whatever was under
// way: sound databases, logs that agree with the change feeds.
func (s *server) settle(tenants ...string) {
	s.t.Helper()
	s.start()
	for _, tenant := range tenants {
		s.auditHolds("--tenant", tenant)
	}
	s.auditHolds()
	if code := s.stop(); code != 0 {
		s.t.Errorf("exit code %d after SIGTERM:\n%s", code, s.out.tail(1500))
	}
	s.checkIntegrity()
	s.start()
}

func (s *server) auditHolds(args ...string) {
	s.t.Helper()
	if d := s.cli(append([]string{"audit", "verify", "--json"}, args...)...); d.code != 0 {
		s.t.Errorf("audit verify %s: %s%s", strings.Join(args, " "), d.stdout, d.stderr)
	}
}

func TestKillDuringCreates(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	admin := s.filled("acme", 10)
	operator := s.operator("auditor@example.com")
	var done acked
	for cycle := range crashes() {
		s.killDuring(4, func(worker, i int) bool {
			name := fmt.Sprintf("c%d-w%d-%d", cycle, worker, i)
			r, err := admin.send("POST", "/api/collections/items/records", map[string]any{"name": name, "n": i})
			if err == nil && r.status == 200 {
				done.add(recordID(r), name)
			}
			return err == nil
		})
		s.settle("acme")
		for id, name := range done.copy() {
			r := admin.call("GET", "/api/collections/items/records/"+id, nil)
			if r.status != 200 || !strings.Contains(string(r.body), name) {
				t.Errorf("acknowledged record %s (%s) is gone: %v", id, name, r)
			}
		}
		t.Logf("cycle %d: %d acknowledged so far, all there", cycle, len(done.copy()))
	}
	oneLeafEach(t, operator, done.copy())
}

// leaf is an entry of a store's log that follows its change feed.
type leaf struct {
	Action, Target string
	Position       *struct {
		Incarnation string
		Sequence    int64
	}
}

// oneLeafEach reads the whole log: each acknowledged create has exactly one
// entry, and the positions are 1, 2, 3 without a gap or a double.
func oneLeafEach(t *testing.T, operator *rest, created map[string]string) {
	t.Helper()
	entries, sequences := map[string]int{}, map[int64]int{}
	for p := 1; ; p++ {
		items := get[struct{ Items []leaf }](operator, fmt.Sprintf("/api/v1/stores/acme/prod/audit?perPage=200&page=%d", p)).Items
		for _, l := range items {
			if l.Position != nil && l.Position.Sequence > 0 { // 0 opens a life of the store
				sequences[l.Position.Sequence]++
			}
			if l.Action == "record.create" {
				entries[l.Target[strings.LastIndex(l.Target, "/")+1:]]++
			}
		}
		if len(items) == 0 {
			break
		}
	}
	for id := range created {
		if entries[id] != 1 {
			t.Errorf("record %s has %d entries in the log", id, entries[id])
		}
	}
	for sequence, n := range sequences {
		if n != 1 || sequence > int64(len(sequences)) {
			t.Errorf("sequence %d has %d entries in the log of %d changes", sequence, n, len(sequences))
		}
	}
}

func recordID(r reply) string {
	var record struct{ ID string }
	_ = json.Unmarshal(r.body, &record)
	return record.ID
}

func TestKillDuringUploads(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("tenant", "create", "acme")
	admin := s.tenant("acme", s.newKey("acme", "admin"))
	makePapers(admin)
	var done acked
	for cycle := range crashes() {
		s.killDuring(3, func(worker, i int) bool {
			title := fmt.Sprintf("c%d-w%d-%d", cycle, worker, i)
			r, err := admin.upload("papers", map[string]string{"title": title}, "file", title+".bin", noise(title))
			var p paper
			if err == nil && r.status == 200 && json.Unmarshal(r.body, &p) == nil {
				done.add(p.path(), title)
			}
			return err == nil
		})
		s.settle("acme")
		for path, title := range done.copy() {
			if r := admin.call("GET", path, nil); r.status != 200 || !bytes.Equal(r.body, noise(title)) {
				t.Errorf("acknowledged file %s: status %d, %d bytes", path, r.status, len(r.body))
			}
		}
		t.Logf("cycle %d: %d files acknowledged so far, all there", cycle, len(done.copy()))
	}
}

// noise is 200 to 500 KB that a name determines.
func noise(name string) []byte {
	seed := sha256.Sum256([]byte(name))
	b := make([]byte, 200_000+int(seed[0])*1000)
	_, _ = rand.NewChaCha8(seed).Read(b)
	return b
}

func TestKillDuringImport(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	total := 6_000
	file := filepath.Join(t.TempDir(), "items.jsonl")
	writeItems(t, file, total)
	for cycle := range crashes() {
		slug := fmt.Sprintf("acme%d", cycle)
		s.must("tenant", "create", slug)
		admin := s.tenant(slug, s.newKey(slug, "admin"))
		s.killDuringImport(slug, file)
		s.settle(slug)
		list := admin.call("GET", records("items", "perPage", "1"), nil) // 404 where it was killed before the first row
		var p page
		_ = json.Unmarshal(list.body, &p)
		again := answer[struct{ Created, Updated, Failed int }](s, "import", slug, "items", file, "--create", "--key", "n")
		if got := get[page](admin, records("items", "perPage", "1")).TotalItems; got != total || again.Failed != 0 {
			t.Errorf("%d records after the import was run again with --key, want %d (%+v)", got, total, again)
		}
		t.Logf("cycle %d: killed with %d rows there; finished with %+v", cycle, p.TotalItems, again)
	}
}

// killDuringImport kills the server while the import is under way; afterwards its
// operation must not look as if it went on.
func (s *server) killDuringImport(tenant, file string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := s.command(ctx, "import", tenant, "items", file, "--create")
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.awaitRunningImport()
	time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
	s.kill()
	if cmd.Wait() == nil {
		s.t.Log("the import was done before the kill")
	}
	for line := range strings.Lines(s.cli("operation", "list", "--json").stdout) {
		if strings.Contains(line, `"state":"running"`) {
			s.t.Errorf("nothing runs after a crash, and yet: %s", line)
		}
	}
}

func (s *server) awaitRunningImport() {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		for line := range strings.Lines(s.cli("operation", "list", "--json").stdout) {
			if strings.Contains(line, `"import"`) && strings.Contains(line, `"running"`) {
				return
			}
		}
	}
	s.t.Log("the import was never seen running")
}

// TestKillDuringSnapshots kills while records are written and shipped. What an
// acknowledged snapshot held can be restored.
func TestKillDuringSnapshots(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	admin := s.filled("acme", 500)
	s.must("target", "add", "local", "file://"+filepath.Join(s.dir, "snapshots"))
	s.must("snapshot", "now", "acme")
	var written, shipped acked
	for cycle := range crashes() {
		s.killDuring(3, func(worker, i int) bool {
			if worker == 0 {
				before := written.copy()
				if s.cli("snapshot", "now", "acme").code != 0 {
					return false
				}
				for id, name := range before {
					shipped.add(id, name)
				}
				return true
			}
			name := fmt.Sprintf("c%d-w%d-%d", cycle, worker, i)
			r, err := admin.send("POST", "/api/collections/items/records", map[string]any{"name": name})
			if err == nil && r.status == 200 {
				written.add(recordID(r), name)
			}
			return err == nil
		})
		s.settle("acme")
		s.must("snapshot", "verify", "acme")
		s.restoredHolds("acme", fmt.Sprintf("before%d", cycle), shipped.copy())
		s.must("snapshot", "now", "acme")
		s.must("snapshot", "verify", "acme")
		s.restoredHolds("acme", fmt.Sprintf("after%d", cycle), written.copy())
		t.Logf("cycle %d: %d written, %d in acknowledged snapshots", cycle, len(written.copy()), len(shipped.copy()))
	}
}

// restoredHolds restores a tenant under a new name and looks for records.
func (s *server) restoredHolds(tenant, as string, want map[string]string) {
	s.t.Helper()
	s.must("restore", tenant, "--as", as)
	there := s.exported(as)
	for id, name := range want {
		if !strings.Contains(there[id], name) {
			s.t.Errorf("%s lacks record %s (%s) of an acknowledged snapshot", as, id, name)
		}
	}
}

// exported is "items" of a tenant: id -> its line.
func (s *server) exported(tenant string) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(s.must("export", tenant, "items", "-o", "-")) {
		all[recordID(reply{body: []byte(line)})] = line
	}
	return all
}

// TestKillDuringRestore kills while a restore is under way: afterwards the new
// tenant is whole or not there, and the restore can be done again.
func TestKillDuringRestore(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const total = 20_000
	s.filled("acme", total)
	s.must("target", "add", "local", "file://"+filepath.Join(s.dir, "snapshots"))
	s.must("snapshot", "now", "acme")
	for cycle := range crashes() {
		as := fmt.Sprintf("copy%d", cycle)
		s.killDuringRestore("acme", as)
		s.settle("acme")
		if d := s.cli("tenant", "show", as, "--json"); d.code == 0 && strings.Contains(d.stdout, `"live"`) {
			if n := len(s.exported(as)); n != total {
				t.Errorf("cycle %d: half a restore was swapped in: %d records, want %d", cycle, n, total)
			}
			as += "-again"
		}
		if got := answer[struct{ Records int }](s, "restore", "acme", "--as", as); got.Records < total {
			t.Errorf("cycle %d: restored %d records, want %d", cycle, got.Records, total)
		}
		s.noLeftovers()
	}
}

func (s *server) killDuringRestore(tenant, as string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := s.command(ctx, "restore", tenant, "--as", as)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(time.Duration(20+rand.IntN(200)) * time.Millisecond)
	s.kill()
	if cmd.Wait() == nil {
		s.t.Log("the restore was done before the kill")
	}
}

// noLeftovers wants nothing in the stores' folder but the tenants' own.
func (s *server) noLeftovers() {
	s.t.Helper()
	known := map[string]bool{}
	for line := range strings.Lines(s.must("tenant", "list", "--json")) {
		known[recordID(reply{body: []byte(line)})] = true
	}
	entries, err := os.ReadDir(filepath.Join(s.data(), "stores"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if !known[e.Name()] && e.IsDir() {
			inside, _ := os.ReadDir(filepath.Join(s.data(), "stores", e.Name()))
			if len(inside) > 0 {
				s.t.Errorf("stores/%s belongs to no tenant and is not empty", e.Name())
			}
		}
	}
}
