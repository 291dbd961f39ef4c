package app_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDayInClear lets a day of mixed work go by on one server: records, uploads,
// imports, snapshots, new keys, an erasure, a restore, tenants that come and go.
// Nothing that was written is found in clear in any file, the temporary folder,
// files without a name and the log included.
func TestDayInClear(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := newServer(t)
	s.bin = moved
	s.env = append(s.env, "HOLDFAST_CLOCK="+s.clock())
	temp := watchFolder(t, filepath.Join(s.dir, "tmp"))
	scan := newScanner(s.dir)
	s.start()
	stop := scan.keepScanning(t, s.cmd.Process.Pid)
	s.must("target", "add", "local", "file://"+filepath.Join(s.dir, "snapshots"))
	s.must("keys", "copies", "add", "local")
	s.must("tenant", "create", "acme", "--name", canary("tenant"))
	d := day{s: s, outside: t.TempDir(), admin: s.tenant("acme", s.newKey("acme", "admin"))}
	makePapers(d.admin)
	for hour := range 24 {
		s.pass(time.Duration(hour) * time.Hour)
		d.hour(t, hour)
	}
	s.must("audit", "verify", "--tenant", "acme")

	stop()
	scan.once(t)
	s.stop()
	scan.once(t)
	if scan.files == 0 || scan.control(t) == 0 {
		t.Fatal("the scan finds nothing at all, not even what is there")
	}
	for _, name := range temp() {
		t.Errorf("a file was made in the temporary folder: %s", name)
	}
	if out := s.out.String(); strings.Contains(out, canaryMark) {
		t.Errorf("the log holds a canary: ...%.200s", out[strings.Index(out, canaryMark):])
	}
}

// day is what is done each hour, and what only at some.
type day struct {
	s       *server
	outside string
	admin   *rest
	erased  string
}

func (d *day) hour(t *testing.T, hour int) {
	t.Helper()
	for i := range 5 {
		r, err := d.admin.upload("papers", map[string]string{"title": canary("record")}, "file", fmt.Sprintf("%s%d-%d.txt", canary("name"), hour, i), []byte(strings.Repeat(canary("content"), 3000)))
		if err != nil || r.status != http.StatusOK {
			t.Fatalf("hour %d: %v %v", hour, r, err)
		}
		d.erased = recordID(r)
	}
	d.s.must("snapshot", "now", "acme")
	if do := map[int]func(*testing.T){3: d.imports, 6: d.newKeys, 9: d.erases, 12: d.restores, 15: d.disposes, 18: d.newKeys, 21: d.scrubs}[hour]; do != nil {
		do(t)
	}
}

func (d *day) imports(t *testing.T) {
	file := filepath.Join(d.outside, "rows.jsonl")
	writeRows(t, file, 400)
	d.s.must("import", "acme", "rows", file, "--create")
}

// newKeys rotates all there is: the tenant's keys, the appliance's, the root.
func (d *day) newKeys(*testing.T) {
	d.s.must("keys", "rotate", "acme")
	d.s.must("keys", "rotate", "system")
	d.s.must("keys", "rotate", "root")
}

func (d *day) erases(*testing.T) { d.s.must("erase", "acme", "papers", d.erased) }

func (d *day) restores(*testing.T) { d.s.must("restore", "acme", "--as", "again") }

func (d *day) disposes(*testing.T) {
	d.s.must("tenant", "delete", "again", "--yes", "--now")
	d.s.must("disposal", "list")
}

func (d *day) scrubs(*testing.T) { d.s.must("scrub", "acme") }
