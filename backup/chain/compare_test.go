//go:build unix

package chain_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"holdfast/backup"
	"holdfast/backup/backuptest"
	"holdfast/backup/chain"
	"holdfast/backup/objects/gateway"
	"holdfast/backup/restore"
	"holdfast/data"
)

// TestCompare makes the table of backup/README.md: the same SQLite database
// shipped to the same S3 server by this package, Litestream and restic, one after
// the other at each step. It runs where HOLDFAST_COMPARE_MIB says how large the
// database is; of the programs, those take part that are in PATH.
func TestCompare(t *testing.T) {
	mib, err := strconv.Atoi(os.Getenv("HOLDFAST_COMPARE_MIB"))
	if err != nil || mib < 1 {
		t.Skip("HOLDFAST_COMPARE_MIB is not set")
	}
	c := newComparison(t, mib)
	c.step("first full", func() {})
	for _, n := range []int{1, 100, 10_000} {
		c.step(fmt.Sprint(n, " pages"), func() { c.update(n) })
	}
	c.restores()
	t.Logf("%d MiB, one run\n\n%s", mib, c.table.String())
}

// contender is one of the programs.
type contender interface {
	name() string
	backup() (took, processor time.Duration)
	restore(to string) (took, processor time.Duration)
	stored() int64
}

type comparison struct {
	t     *testing.T
	db    *sqlite3.Conn
	live  string // database that is written to
	still string // folder with a copy of it that nobody writes to
	rows  int
	rnd   *rand.Rand
	all   []contender
	table strings.Builder
}

func newComparison(t *testing.T, mib int) *comparison {
	c := &comparison{t: t, live: t.TempDir() + "/live.db", still: t.TempDir(), rows: mib * 256, rnd: rand.New(rand.NewPCG(1, 2))}
	db, err := sqlite3.Open(c.live)
	c.must(err)
	t.Cleanup(func() { _ = db.Close() })
	c.db = db
	c.must(db.Exec("PRAGMA journal_mode=wal; PRAGMA synchronous=normal; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT)"))
	c.must(db.Exec("BEGIN"))
	for id := range c.rows {
		c.write("INSERT INTO t(body, id) VALUES(?, ?)", id+1)
	}
	c.must(db.Exec("COMMIT"))
	c.must(db.Exec("PRAGMA wal_checkpoint(TRUNCATE)"))
	c.all = []contender{newOurs(c)}
	if path, err := exec.LookPath("litestream"); err == nil {
		c.all = append(c.all, newLitestream(c, path))
	}
	if path, err := exec.LookPath("restic"); err == nil {
		c.all = append(c.all, newRestic(c, path))
	}
	c.table.WriteString("| | " + c.names() + " |\n|---" + strings.Repeat("|---", len(c.all)) + "|\n")
	return c
}

func (c *comparison) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *comparison) names() string {
	var names []string
	for _, x := range c.all {
		names = append(names, x.name())
	}
	return strings.Join(names, " | ")
}

// write puts a body of about a page that compresses as records do.
func (c *comparison) write(sql string, id int) {
	s, _, err := c.db.Prepare(sql)
	c.must(err)
	defer s.Close() //nolint:errcheck // Step tells
	body := ""
	for len(body) < 3400 {
		body += fmt.Sprintf(`{"id":"%015x","name":"record of %d","amount":%d,"note":"%x"}`, c.rnd.Uint64()>>4, id, c.rnd.IntN(1e6), c.rnd.Uint64())
	}
	c.must(s.BindText(1, body))
	c.must(s.BindInt(2, id))
	s.Step()
	c.must(s.Err())
}

func (c *comparison) update(n int) {
	c.must(c.db.Exec("BEGIN"))
	for range n {
		c.write("UPDATE t SET body=? WHERE id=?", 1+c.rnd.IntN(c.rows))
	}
	c.must(c.db.Exec("COMMIT"))
}

// step changes the database and has each one back it up. Litestream follows the
// live database; the others see a copy whose log is folded in.
func (c *comparison) step(name string, change func()) {
	cells := make([]string, len(c.all))
	for _, x := range c.all {
		if l, ok := x.(*litestream); ok {
			l.before()
		}
	}
	change()
	for i, x := range c.all {
		if _, ok := x.(*litestream); ok {
			cells[i] = c.cell(x)
		}
	}
	c.copy()
	for i, x := range c.all {
		if _, ok := x.(*litestream); !ok {
			cells[i] = c.cell(x)
		}
	}
	fmt.Fprintf(&c.table, "| %s | %s |\n", name, strings.Join(cells, " | "))
}

func (c *comparison) cell(x contender) string {
	before := x.stored()
	took, processor := x.backup()
	cell := fmt.Sprintf("%s (processor %s), %s", round(took), round(processor), size(x.stored()-before))
	c.t.Log(x.name(), cell)
	return cell
}

func round(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func size(n int64) string {
	if n < 10<<20 {
		return fmt.Sprintf("%.1f KB", float64(n)/1000)
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}

// copy makes the still copy: database and log, folded.
func (c *comparison) copy() {
	to := filepath.Join(c.still, "data.db")
	for _, suffix := range []string{"", "-wal"} {
		in, err := os.Open(c.live + suffix)
		c.must(err)
		out, err := os.Create(to + suffix)
		c.must(err)
		_, err = io.Copy(out, in)
		c.must(errors.Join(err, in.Close(), out.Close()))
	}
	db, err := sqlite3.Open(to)
	c.must(err)
	c.must(db.Exec("PRAGMA wal_checkpoint(TRUNCATE)"))
	c.must(errors.Join(db.Exec("PRAGMA journal_mode=delete"), db.Close()))
}

func (c *comparison) restores() {
	var cells []string
	want := c.count(filepath.Join(c.still, "data.db"))
	for _, x := range c.all {
		to := c.t.TempDir()
		took, processor := x.restore(to)
		var found string
		c.must(filepath.WalkDir(to, func(path string, _ os.DirEntry, err error) error {
			if strings.HasSuffix(path, ".db") {
				found = path
			}
			return err
		}))
		if got := c.count(found); got != want {
			c.t.Errorf("%s restored another database: %s, %s", x.name(), got, want)
		}
		cells = append(cells, fmt.Sprintf("%s (processor %s)", round(took), round(processor)))
		c.must(os.RemoveAll(to))
	}
	fmt.Fprintf(&c.table, "| restore | %s |\n", strings.Join(cells, " | "))
}

// count is a fingerprint of the database's content.
func (c *comparison) count(path string) (out string) {
	db, err := sqlite3.Open(path)
	c.must(err)
	defer db.Close() //nolint:errcheck // only read
	s, _, err := db.Prepare("SELECT count(*) || ' ' || sum(length(body)) || ' ' || (SELECT body FROM t WHERE id = 7) FROM t")
	c.must(err)
	defer s.Close() //nolint:errcheck // only read
	if s.Step() {
		out = s.ColumnText(0)
	}
	c.must(s.Err())
	return out
}

// run runs a program and tells what it took.
func (c *comparison) run(env []string, name string, args ...string) (took, processor time.Duration) {
	c.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("%s %v: %v\n%s", name, args, err, out.String())
	}
	return time.Since(start), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// stored is the size of what lies under a prefix.
func stored(c *comparison, target backup.ObjectStore) (n int64) {
	for after := ""; ; {
		list, err := target.List(c.t.Context(), "", after, 1000)
		c.must(err)
		for _, o := range list {
			n, after = n+o.Size, o.Name
		}
		if len(list) < 1000 {
			return n
		}
	}
}

// ours ships the copy's pages.
type ours struct {
	c      *comparison
	target backup.ObjectStore
	keys   *backuptest.Keys
	chain  *chain.Chain
	pages  *filePages
}

func newOurs(c *comparison) *ours {
	s := gateway.Start(c.t)
	o := &ours{c: c, target: openTarget(c.t, s.URL("ours"), s.Credentials), keys: backuptest.NewKeys("compare"), pages: &filePages{path: filepath.Join(c.still, "data.db")}}
	ch, err := chain.New(chain.Config{Target: o.target, Store: store, Keys: o.keys, Staging: c.t.TempDir()})
	c.must(err)
	c.t.Cleanup(func() { _ = ch.Close() })
	o.chain = ch
	return o
}

func (o *ours) name() string  { return "Holdfast" }
func (o *ours) stored() int64 { return stored(o.c, o.target) }

func (o *ours) backup() (took, processor time.Duration) {
	o.c.must(o.pages.look())
	return o.timed(func() {
		_, err := o.chain.Ship(o.c.t.Context(), o.pages, nil, data.Position{})
		o.c.must(err)
	})
}

func (o *ours) timed(fn func()) (took, processor time.Duration) {
	start, before := time.Now(), usage()
	fn()
	return time.Since(start), usage() - before
}

func usage() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (o *ours) restore(to string) (took, processor time.Duration) {
	return o.timed(func() {
		conf := restore.Config{Source: o.target, Store: store, Keys: o.keys, Scratch: o.c.t.TempDir()}
		_, err := restore.Run(o.c.t.Context(), conf, fileSink(to+"/out.db"))
		o.c.must(err)
	})
}

// filePages is a source over a file. What changed is known before anyone asks, as
// with the tap under SQLite.
type filePages struct {
	path  string
	sums  [][sha256.Size]byte
	dirty []uint32
}

func (p *filePages) look() error {
	f, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	page := make([]byte, data.PageSize)
	for i := 0; ; i++ {
		if _, err := io.ReadFull(f, page); errors.Is(err, io.EOF) {
			p.sums = p.sums[:i]
			return nil
		} else if err != nil {
			return err
		}
		sum := sha256.Sum256(page)
		if i == len(p.sums) {
			p.sums = append(p.sums, [sha256.Size]byte{})
		}
		if p.sums[i] != sum {
			p.sums[i], p.dirty = sum, append(p.dirty, uint32(i+1))
		}
	}
}

func (p *filePages) Snapshot(ctx context.Context, fn func(uint32, []byte) error) (data.Commit, error) {
	f, err := os.Open(p.path)
	if err != nil {
		return data.Commit{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	page := make([]byte, data.PageSize)
	slices.Sort(p.dirty)
	for _, pgno := range slices.Compact(p.dirty) {
		if _, err := f.ReadAt(page, int64(pgno-1)*data.PageSize); err != nil {
			return data.Commit{}, err
		}
		if err := fn(pgno, page); err != nil {
			return data.Commit{}, err
		}
	}
	p.dirty = nil
	return data.Commit{DatabasePages: uint32(len(p.sums))}, ctx.Err()
}

func (p *filePages) MarkAll() {
	for i := range p.sums {
		p.dirty = append(p.dirty, uint32(i+1))
	}
}
func (p *filePages) Dirty() int { return len(p.dirty) }

// fileSink writes a database in clear, as the others do, and syncs it.
type fileSink string

func (s fileSink) Pages(_ context.Context, total uint32, next func(uint32, []byte) error) error {
	f, err := os.Create(string(s))
	if err != nil {
		return err
	}
	buf := make([]byte, 0, 1<<20)
	page := make([]byte, data.PageSize)
	for pgno := uint32(1); pgno <= total && err == nil; pgno++ {
		if err = next(pgno, page); err == nil {
			buf = append(buf, page...)
		}
		if len(buf) == cap(buf) || pgno == total {
			_, werr := f.Write(buf)
			err, buf = errors.Join(err, werr), buf[:0]
		}
	}
	return errors.Join(err, f.Sync(), f.Close())
}

func (s fileSink) File(_ context.Context, _ data.FileInfo, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// restic backs the copy up, encrypted as it always is.
type restic struct {
	c      *comparison
	path   string
	env    []string
	target backup.ObjectStore
}

func newRestic(c *comparison, path string) *restic {
	s := gateway.Start(c.t)
	r := &restic{c: c, path: path, target: openTarget(c.t, s.URL("restic"), s.Credentials)}
	r.env = []string{
		"AWS_ACCESS_KEY_ID=" + s.Credentials.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.Credentials.SecretKey, "RESTIC_PASSWORD=compare",
		"RESTIC_REPOSITORY=s3:http://" + s.Addr + "/holdfast-test/restic", "RESTIC_CACHE_DIR=" + c.t.TempDir(),
	}
	c.run(r.env, r.path, "init", "--repository-version", "2")
	return r
}

func (r *restic) name() string  { return "restic" }
func (r *restic) stored() int64 { return stored(r.c, r.target) }

func (r *restic) backup() (took, processor time.Duration) {
	return r.c.run(r.env, r.path, "backup", r.c.still)
}

func (r *restic) restore(to string) (took, processor time.Duration) {
	return r.c.run(r.env, r.path, "restore", "latest", "--target", to)
}

// noBundle: with a bundle of certificates in the environment it refuses to start.
const noBundle = "AWS_CA_BUNDLE="

// litestream follows the live database in a process of its own.
type litestream struct {
	c      *comparison
	path   string
	conf   string
	target backup.ObjectStore
	cmd    *exec.Cmd
	known  int64
}

func newLitestream(c *comparison, path string) *litestream {
	s := gateway.Start(c.t)
	l := &litestream{c: c, path: path, conf: c.t.TempDir() + "/litestream.yml", target: openTarget(c.t, s.URL("litestream"), s.Credentials)}
	conf := fmt.Sprintf(`access-key-id: %s
secret-access-key: %s
dbs:
  - path: %s
    monitor-interval: 10ms
    replica:
      type: s3
      bucket: holdfast-test
      path: litestream
      endpoint: http://%s
      region: us-east-1
      force-path-style: true
      sync-interval: 10ms
`, s.Credentials.AccessKey, s.Credentials.SecretKey, c.live, s.Addr)
	c.must(os.WriteFile(l.conf, []byte(conf), 0o600))
	return l
}

func (l *litestream) name() string  { return "Litestream" }
func (l *litestream) stored() int64 { return l.known }

// before settles what is under way, so that the next change is measured alone.
func (l *litestream) before() {
	if l.cmd != nil {
		l.settle(-1)
	}
}

func (l *litestream) start() {
	l.cmd = exec.Command(l.path, "replicate", "-config", l.conf)
	l.cmd.Env = append(os.Environ(), noBundle)
	log, err := os.Create(filepath.Join(filepath.Dir(l.conf), "log"))
	l.c.must(err)
	l.cmd.Stdout, l.cmd.Stderr = log, log
	l.c.must(l.cmd.Start())
	l.c.t.Cleanup(func() {
		_ = l.cmd.Process.Kill()
		_ = l.cmd.Wait()
	})
}

// backup waits until the target has grown and then rests; the rest is not counted.
func (l *litestream) backup() (took, processor time.Duration) {
	start, before := time.Now(), time.Duration(0)
	if l.cmd == nil {
		l.start()
	} else {
		before = l.processor()
	}
	end := l.settle(l.known)
	return end.Sub(start), l.processor() - before
}

// settle waits for more than what was stored, then for two seconds without more.
func (l *litestream) settle(known int64) (last time.Time) {
	last = time.Now()
	deadline := last.Add(3 * time.Minute)
	grown := l.known != known
	for time.Now().Before(deadline) {
		if n := stored(l.c, l.target); n != l.known {
			l.known, last, grown = n, time.Now(), true
		}
		if grown && time.Since(last) > 2*time.Second {
			return last
		}
		time.Sleep(5 * time.Millisecond)
	}
	l.c.t.Fatal("Litestream does not come to rest")
	return last
}

// processor is what the process has used, from the kernel's table.
func (l *litestream) processor() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", l.cmd.Process.Pid))
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if err != nil || len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

func (l *litestream) restore(to string) (took, processor time.Duration) {
	_ = l.cmd.Process.Signal(os.Interrupt)
	_ = l.cmd.Wait()
	return l.c.run([]string{noBundle}, l.path, "restore", "-config", l.conf, "-o", to+"/out.db", l.c.live)
}
