package cryptfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
)

// shipped stands for the chain: the checksum of each page that was handed out.
type shipped map[uint32][32]byte

func (s shipped) ship(t testing.TB, tap *Tap, label string) {
	t.Helper()
	_, err := tap.Snapshot(context.Background(), func(pgno uint32, page []byte) error {
		s[pgno] = sha256.Sum256(page)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tap.Rebase(label)
}

func (s shipped) check(pgno uint32, page []byte) error {
	if s[pgno] != sha256.Sum256(page) {
		return errors.New("another checksum")
	}
	return nil
}

// scrubbed gives the findings of a scrub and how it ended.
func scrubbed(t testing.TB, fs *FS, base *Base, check func(uint32, []byte) error) (findings []Finding, last Progress) {
	t.Helper()
	before, _ := fs.Failures()
	err := fs.Scrub(context.Background(), "data.db", base, check, func(p Progress) {
		if p.Finding != nil {
			findings = append(findings, *p.Finding)
		}
		last = p
	})
	if err != nil {
		t.Fatal(err)
	}
	if after, _ := fs.Failures(); after != before {
		t.Fatal("what a scrub finds is no failure of a statement")
	}
	return findings, last
}

func wantFinding(t testing.TB, findings []Finding, file string, page uint32, reason string) {
	t.Helper()
	if len(findings) != 1 || findings[0].File != file || findings[0].Page != page || !strings.Contains(findings[0].Reason, reason) {
		t.Fatalf("findings %+v, want %s page %d: %s", findings, file, page, reason)
	}
}

// TestScrubFindsStalePages puts an older copy of a page in its place: authentic,
// but not what was shipped. Pages that changed since are not compared.
func TestScrubFindsStalePages(t *testing.T) {
	dir, keys, sums := t.TempDir(), newRing("a"), shipped{}
	fs := mount(t, dir, keys)
	tap := openTap(t, fs, "data.db")
	c := filled(t, fs, "data.db")
	if tap.Base() != nil {
		t.Fatal("a base before the first snapshot")
	}
	run(t, c, "PRAGMA wal_checkpoint(TRUNCATE)")
	path := filepath.Join(fs.Dir, "data.db")
	old := slurp(t, path)
	run(t, c, "UPDATE t SET x=x||'.'; PRAGMA wal_checkpoint(TRUNCATE)")
	sums.ship(t, tap, "one")
	run(t, c, "UPDATE t SET x='changed' WHERE id=3; PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET x='in the log' WHERE id=900")
	base := tap.Base()
	defer base.Release()
	findings, last := scrubbed(t, fs, base, sums.check)
	if len(findings) != 0 || base.Label() != "one" || last.Compared < last.Done*9/10 || last.Compared >= last.Done {
		t.Fatalf("%+v, %+v, %s", findings, last, base.Label())
	}
	stale := uint32(0)
	for page := uint32(20); stale == 0; page++ {
		if !base.Changed(page) {
			stale = page
		}
	}
	putPage(t, path, stale, old)
	findings, _ = scrubbed(t, fs, base, sums.check)
	wantFinding(t, findings, path, stale, "older copy")
	if findings, _ := scrubbed(t, fs, nil, nil); len(findings) != 0 {
		t.Fatalf("without checksums: %+v", findings)
	}
}

// putPage overwrites one page with its image in another copy of the file.
func putPage(t testing.TB, path string, page uint32, from []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(from[pagePosition(page):][:data.PageSize], pagePosition(page)); err != nil {
		t.Fatal(err)
	}
}

// TestScrubWhileClosed: a page that was put back while the database was closed is
// found too, for the base outlives a clean close, and not a crash.
func TestScrubWhileClosed(t *testing.T) {
	dir, keys, sums := t.TempDir(), newRing("a"), shipped{}
	fs := mount(t, dir, keys)
	tap := openTap(t, fs, "data.db")
	c := filled(t, fs, "data.db")
	path := filepath.Join(fs.Dir, "data.db")
	run(t, c, "PRAGMA wal_checkpoint(TRUNCATE)")
	old := slurp(t, path)
	run(t, c, "UPDATE t SET x=x||'.'")
	sums.ship(t, tap, "one")
	run(t, c, "UPDATE t SET x='changed' WHERE id=3")
	crashed := copyAll(t, dir)
	c.Close()
	tap.Close()
	putPage(t, path, 40, old)
	tap = openTap(t, fs, "data.db")
	base := tap.Base()
	if base == nil || exists(path+BaseSuffix) {
		t.Fatal("the base is lost, or its file is left")
	}
	findings, _ := scrubbed(t, fs, base, sums.check)
	wantFinding(t, findings, path, 40, "older copy")
	base.Release()
	if openTap(t, mount(t, crashed, keys), "data.db").Base() != nil {
		t.Fatal("a base after a crash")
	}
}

func TestScrubFindsFlips(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	path := sample(t, dir, keys)
	good := slurp(t, path)
	for i := range 20 {
		at := data.PageSize + rand.IntN(len(good)-data.PageSize) // without page 1 it does not open
		overwrite(t, path, flip(good, at))
		fs := mount(t, dir, keys)
		if i%2 == 0 {
			openTap(t, fs, "data.db")
		}
		findings, _ := scrubbed(t, fs, nil, nil)
		wantFinding(t, findings, path, uint32(at/data.PageSize)+1, "authenticate")
	}
	overwrite(t, path, good)
	fs := mount(t, dir, keys)
	openTap(t, fs, "data.db")
	c := connect(t, fs, "data.db")
	run(t, c, "PRAGMA wal_autocheckpoint=0")
	run(t, c, "BEGIN; SELECT 1 FROM t") // keeps the log from being used up
	w := connect(t, fs, "data.db")
	run(t, w, "PRAGMA wal_autocheckpoint=0; UPDATE t SET x='!' WHERE id<50")
	log := slurp(t, path+walSuffix)
	for range 20 {
		frame := 1 + rand.IntN((len(log)-slotSize)/frameSize)
		bad := flip(log, int(framePosition(uint32(frame)))+[]int{8, 70, 4000, 4150}[rand.IntN(4)])
		rewriteFile(t, path+walSuffix, bad)
		findings, _ := scrubbed(t, fs, nil, nil)
		wantFinding(t, findings, path+walSuffix, uint32(frame), "authenticate")
	}
	rewriteFile(t, path+walSuffix, log)
	if findings, last := scrubbed(t, fs, nil, nil); len(findings) != 0 || last.Done != last.Total {
		t.Fatalf("%+v %+v", findings, last)
	}
}

// rewriteFile overwrites a file that is open.
func rewriteFile(t testing.TB, path string, content []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
}

// TestScrubUnderLoad finds nothing while writers, checkpoints, snapshots and a
// re-key go on.
func TestScrubUnderLoad(t *testing.T) {
	r, keys, sums := seeded(t), newRing("a"), shipped{}
	fs := mount(t, t.TempDir(), keys)
	tap := openTap(t, fs, "data.db")
	run(t, filled(t, fs, "data.db"), "CREATE TABLE big AS SELECT randomblob(3000) AS x FROM generate_series(1,300)")
	sums.ship(t, tap, "0")
	var stop atomic.Bool
	var wg sync.WaitGroup
	for i := range 2 {
		c, r := connect(t, fs, "data.db"), rand.New(rand.NewPCG(r.Uint64(), 4))
		run(t, c, "PRAGMA wal_autocheckpoint=40")
		wg.Go(func() {
			for !stop.Load() {
				sql := "BEGIN IMMEDIATE; " + spill(r) + " COMMIT"
				if i == 1 {
					sql = []string{"PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM"}[min(r.IntN(12), 2)*r.IntN(2)]
				}
				if err := c.Exec(sql); err != nil && !errors.Is(err, sqlite3.BUSY) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for !stop.Load() {
			keys.rotate()
			if err := fs.Rekey(context.Background(), nil); err != nil {
				t.Error(err)
			}
		}
	})
	compared := int64(0)
	for n := range times(4) {
		base := tap.Base()
		known := shipped{}
		for page, sum := range sums {
			known[page] = sum
		}
		sums.ship(t, tap, fmt.Sprint(n+1)) // meanwhile another base begins
		findings, last := scrubbed(t, fs, base, known.check)
		base.Release()
		compared += last.Compared
		if len(findings) > 0 {
			t.Errorf("%+v", findings)
		}
	}
	stop.Store(true)
	wg.Wait()
	if compared == 0 || fs.Fault() != nil {
		t.Fatal(compared, fs.Fault())
	}
}

func TestFilesScrub(t *testing.T) {
	ctx, dir, keys := context.Background(), t.TempDir(), newRing("a")
	f := openFiles(t, dir, keys)
	tree := map[string]data.FileInfo{}
	for _, name := range []string{"c/r/1", "c/r/2", "c/r/3"} {
		info, err := f.Put(ctx, data.FileInfo{Name: name}, strings.NewReader(strings.Repeat(name, 50000)))
		if err != nil {
			t.Fatal(err)
		}
		tree[name] = info
	}
	check := func(info data.FileInfo) error {
		if want := tree[info.Name]; want.ETag != info.ETag {
			return errors.New("another etag")
		}
		return nil
	}
	scrub := func() (findings []Finding, last Progress) {
		t.Helper()
		err := f.Scrub(ctx, check, func(p Progress) {
			if last = p; p.Finding != nil {
				findings = append(findings, *p.Finding)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return findings, last
	}
	if findings, last := scrub(); len(findings) != 0 || last.Done != 4 || last.Total != 4 || last.Compared != 3 {
		t.Fatalf("%+v %+v", findings, last)
	}
	path := f.path("c/r/2")
	old := slurp(t, path)
	for range 20 {
		overwrite(t, path, flip(old, rand.IntN(len(old))))
		findings, _ := scrub()
		wantFinding(t, findings, path, 0, "")
	}
	overwrite(t, path, old)
	info, err := f.Put(ctx, data.FileInfo{Name: "c/r/2"}, bytes.NewReader([]byte("newer")))
	if err != nil {
		t.Fatal(err)
	}
	tree["c/r/2"] = info
	overwrite(t, path, old)
	findings, _ := scrub()
	wantFinding(t, findings, path, 0, "older copy")
}

func FuzzBase(f *testing.F) {
	f.Add(baseFile{100, []baseEntry{{"", "label", []uint64{1, 2}}, {"one", "one/7", nil}}}.format())
	f.Add([]byte{0, 0, 0, 9, 0, 1, 0, 0, 0, 1, 'x', 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := parseBase(b)
		if err == nil && !slices.Equal(file.format(), b) || err != nil && !errors.Is(err, errBase) {
			t.Fatalf("%x: %+v, %v", b, file, err)
		}
	})
}

const goldenBase = "testdata/base"

// TestGoldenBase reads a base which an earlier build wrote.
func TestGoldenBase(t *testing.T) {
	keys := newRing(goldenSeed)
	if *update {
		fs := mount(t, t.TempDir(), keys)
		tap := openTap(t, fs, "data.db")
		c := connect(t, fs, "data.db")
		run(t, c, "CREATE TABLE t(x); INSERT INTO t SELECT randomblob(3000) FROM generate_series(1,80)")
		shipped{}.ship(t, tap, "golden/7")
		run(t, c, "UPDATE t SET x='changed' WHERE rowid=80")
		c.Close()
		tap.Close()
		if err := os.MkdirAll(goldenBase, 0o700); err != nil {
			t.Fatal(err)
		}
		overwrite(t, goldenBase+"/data.db-base", slurp(t, filepath.Join(fs.Dir, "data.db-base")))
	}
	fs := mount(t, t.TempDir(), keys)
	overwrite(t, filepath.Join(fs.Dir, "data.db-base"), slurp(t, goldenBase+"/data.db-base"))
	f, err := fs.database(filepath.Join(fs.Dir, "data.db")).readBase()
	if err != nil || f.pages < 80 || len(f.bases) != 1 || f.bases[0].label != "golden/7" || f.bases[0].follower != "" {
		t.Fatalf("%+v, %v", f, err)
	}
	changed := f.bases[0].changed
	if (&pageSet{words: changed}).has(3) || !slices.ContainsFunc(changed, func(w uint64) bool { return w != 0 }) {
		t.Fatalf("%+v", f)
	}
}
