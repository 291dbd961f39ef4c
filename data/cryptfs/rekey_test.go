package cryptfs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
)

func rekey(t testing.TB, fs *FS) {
	t.Helper()
	if err := fs.Rekey(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
}

func wantGenerations(t testing.TB, fs *FS, want ...uint32) {
	t.Helper()
	got, err := fs.Generations(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("generations %v, want %v", got, want)
	}
}

// filled makes a table of some hundred pages.
func filled(t testing.TB, fs *FS, database string) *sqlite3.Conn {
	t.Helper()
	c := connect(t, fs, database)
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t(x)")
	run(t, c, "INSERT INTO t(x) SELECT hex(randomblob(200)) FROM generate_series(1,1500)")
	return c
}

func TestRekey(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	fs := mount(t, dir, keys)
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	c := filled(t, fs, "data.db")
	run(t, filled(t, fs, "auxiliary.db"), "PRAGMA wal_checkpoint(TRUNCATE)")
	run(t, c, "PRAGMA wal_checkpoint(TRUNCATE)")
	ship(t, copied, tap)
	sum := content(t, c)
	wantGenerations(t, fs, 1)
	keys.rotate()
	run(t, c, "UPDATE t SET x='new' WHERE id=700")
	ship(t, copied, tap)
	wantGenerations(t, fs, 1, 2)

	last, total := int64(0), int64(0)
	err := fs.Rekey(context.Background(), func(d, n int64) { last, total = d, n })
	if err != nil || last != total || last < 200 {
		t.Fatalf("%v, %d of %d pages", err, last, total)
	}
	wantGenerations(t, fs, 2)
	if tap.Dirty() != 0 {
		t.Fatalf("%d pages are dirty, though nothing changed", tap.Dirty())
	}
	run(t, c, "UPDATE t SET x=(SELECT x FROM t WHERE id=1) WHERE id=700")
	if content(t, c) == sum {
		t.Fatal("the content is that of before")
	}
	keys.drop(1)
	fresh := connect(t, fs, "data.db")
	want(t, fresh, "PRAGMA integrity_check", "ok")
	ship(t, copied, tap)
	if content(t, copied.open(t)) != content(t, fresh) {
		t.Fatal("the replica differs")
	}
	if exists(filepath.Join(dir, "data.db"+rekeySuffix)) {
		t.Fatal("the journal is left")
	}
	rekey(t, fs) // nothing to do
}

// TestRekeyUnderLoad seals anew while writers, readers, checkpoints and snapshots
// go on, and another rotation comes in the middle.
func TestRekeyUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	r, keys := seeded(t), newRing("a")
	fs := mount(t, t.TempDir(), keys)
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	setup := filled(t, fs, "data.db")
	run(t, setup, "CREATE TABLE pair(a INTEGER, b INTEGER); INSERT INTO pair VALUES(0,0)")
	var stop atomic.Bool
	var wg sync.WaitGroup
	background := func(work func(*sqlite3.Conn, *rand.Rand) error) {
		c, r := connect(t, fs, "data.db"), rand.New(rand.NewPCG(r.Uint64(), 3))
		run(t, c, "PRAGMA cache_size=8; PRAGMA wal_autocheckpoint=40")
		wg.Go(func() {
			for !stop.Load() {
				if err := work(c, r); err != nil && !errors.Is(err, sqlite3.BUSY) {
					t.Error(err)
					return
				}
			}
		})
	}
	background(func(c *sqlite3.Conn, r *rand.Rand) error {
		return c.Exec("BEGIN IMMEDIATE; UPDATE pair SET a=a+1; " + spill(r) + " UPDATE pair SET b=b+1; COMMIT")
	})
	background(func(c *sqlite3.Conn, _ *rand.Rand) error {
		got, err := ask(c, "SELECT (SELECT a=b FROM pair) AND (SELECT count(*)=count(x) FROM t)")
		if err == nil && got != "1" {
			err = fmt.Errorf("read %q", got)
		}
		return err
	})
	background(func(c *sqlite3.Conn, r *rand.Rand) error {
		return c.Exec([]string{"PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM"}[r.IntN(3)])
	})
	for range times(2) {
		keys.rotate()
		if err := fs.Rekey(context.Background(), nil); err != nil {
			t.Error(err)
			break
		}
		if _, err := copied.take(context.Background(), tap); err != nil {
			t.Error(err)
		}
		want(t, copied.open(t), "SELECT a=b FROM pair", "1")
	}
	stop.Store(true)
	wg.Wait()
	if fs.Fault() != nil {
		t.Fatal(fs.Fault())
	}
	rekey(t, fs)
	wantGenerations(t, fs, keys.newest)
	want(t, setup, "PRAGMA integrity_check", "ok")
	ship(t, copied, tap)
	if content(t, copied.open(t)) != content(t, setup) {
		t.Fatal("the replica differs")
	}
}

// TestRekeyResumes: what was done stays done when ctx ends.
func TestRekeyResumes(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	c := filled(t, mount(t, dir, keys), "data.db")
	run(t, c, "PRAGMA wal_checkpoint(TRUNCATE)")
	c.Close()
	keys.rotate()
	fs, before := mount(t, dir, keys), int64(0)
	ctx, cancel := context.WithCancel(context.Background())
	err := fs.Rekey(ctx, func(done, _ int64) {
		if done > 0 {
			before = done
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || before != rekeyPages {
		t.Fatalf("%v after %d pages", err, before)
	}
	wantGenerations(t, fs, 1, 2)
	var total int64
	if err := fs.Rekey(context.Background(), func(_, n int64) { total = max(total, n) }); err != nil {
		t.Fatal(err)
	}
	if pages := length(filepath.Join(dir, "data.db"), data.PageSize); total != pages-before {
		t.Fatalf("went over %d pages again, of %d, %d being done", total, pages, before)
	}
	wantGenerations(t, fs, 2)
}

// TestRekeyDamaged leaves a page that does not authenticate, names it, and seals
// the others.
func TestRekeyDamaged(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	path := sample(t, dir, keys)
	overwrite(t, path, flip(slurp(t, path), 6*data.PageSize+9))
	keys.rotate()
	fs := mount(t, dir, keys)
	var pe *PageError
	if err := fs.Rekey(context.Background(), nil); !errors.As(err, &pe) || pe.Page != 7 {
		t.Fatal(err)
	}
	if n, _ := fs.Failures(); n != 0 {
		t.Fatal("a failure that no statement met is counted")
	}
	if _, err := fs.Generations(context.Background()); !errors.As(err, &pe) || pe.Page != 7 {
		t.Fatal(err)
	}
	for number := range length(path, data.PageSize) {
		want := uint32(2)
		if number == 6 {
			want = 1
		}
		if g := generationOf(slurp(t, path)[:(number+1)*data.PageSize]); g != want {
			t.Fatalf("page %d is under generation %d", number+1, g)
		}
	}
}

// TestTornRekey tears pages of a batch between sectors, as a power cut does, and
// opens the database: all is there. A page that is no such mixture stays an error.
func TestTornRekey(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	path := sample(t, dir, keys)
	old := slurp(t, path)
	fs := mount(t, dir, keys)
	db := fs.database(path)
	keys.rotate()
	main, err := fs.Disk.Open(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer main.Close()
	r := &rekeyer{db: db, main: main, target: 2}
	r.batch.reset()
	for number := uint32(1); number <= 20; number++ {
		if err := r.add(number); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.writeJournal(); err != nil {
		t.Fatal(err)
	}
	torn := slices.Clone(old)
	for i := range 20 { // between one sector and the next, each at another place
		copy(torn[i*data.PageSize:], r.batch.image(i)[:sectorSize*(i%9)])
	}
	overwrite(t, path, torn)
	journal := slurp(t, path+rekeySuffix)
	if fs, err := damaged(t, dir, keys); err != nil || fs.Fault() != nil {
		t.Fatal(err, fs.Fault())
	}
	if exists(path + rekeySuffix) {
		t.Fatal("the journal is left")
	}

	overwrite(t, path, flip(torn, 2*data.PageSize+100))
	overwrite(t, path+rekeySuffix, journal)
	fs, err = damaged(t, dir, keys)
	wantPageError(t, "a flipped page", fs, err, path, 3)

	overwrite(t, path, old)
	overwrite(t, path+rekeySuffix, flip(journal, rand.IntN(len(journal)))) // torn itself: it was never followed
	if _, err := damaged(t, dir, keys); err != nil {
		t.Fatal(err)
	}
}

func FuzzRekeyJournal(f *testing.F) {
	keys := newRing("fuzz")
	s := newSealer(keys, "rekey", "acme/prod", "data.db")
	var b rekeyBatch
	b.reset()
	b.add(7, make([]byte, data.PageSize))
	sealed, err := b.seal(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed, uint16(0), byte(0))
	f.Add(sealed, uint16(9), byte(1))
	f.Add([]byte{}, uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, change byte) {
		b = slices.Clone(b)
		if len(b) > 0 {
			b[int(at)%len(b)] ^= change
		}
		pages, err := parseRekeyJournal(s, b)
		if err == nil && (len(pages) != 1 || pages[0].number != 7) || err != nil && !errors.Is(err, errUnsealed) {
			t.Fatal(pages, err)
		}
	})
}

func TestSealsAreCounted(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	fs, err := Mount(Config{Dir: dir, Identity: "acme/prod", Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	c, err := fs.connect(context.Background(), "data.db")
	if err != nil {
		t.Fatal(err)
	}
	run(t, c, "CREATE TABLE t(x); INSERT INTO t SELECT randomblob(3000) FROM generate_series(1,100)")
	keys.rotate()
	run(t, c, "UPDATE t SET x=randomblob(3000) WHERE rowid<10; PRAGMA wal_checkpoint(TRUNCATE)")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	seals := sealsOfFS(t, fs)
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	if len(seals) != 4 || seals[0].Generation != 1 || seals[1].Part != "log" || seals[1].Count < 200 || seals[2].Count < 100 || seals[3].Count == 0 {
		t.Fatalf("%+v", seals)
	}
	if seals[0].Bound != 1<<32 || seals[0].Due() || !(Seals{Count: 1 << 31, Bound: 1 << 32}).Due() {
		t.Fatalf("%+v", seals)
	}
	again := mount(t, dir, keys)
	again.database(filepath.Join(again.Dir, "data.db"))
	if got := sealsOfFS(t, again); !reflect.DeepEqual(got, seals) {
		t.Fatalf("closed with %+v, opened with %+v", seals, got)
	}
}

// copyAll is the folder as a crash would leave it.
func copyAll(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func sealsOfFS(t testing.TB, fs *FS) []Seals {
	t.Helper()
	seals, err := fs.Seals()
	if err != nil {
		t.Fatal(err)
	}
	return seals
}

// TestSealsWithoutClose: a process that ends without closing is taken to have used
// up what it counted ahead.
func TestSealsWithoutClose(t *testing.T) {
	dir, keys, before := t.TempDir(), newRing("a"), int64(0)
	for range 3 {
		fs := mount(t, dir, keys)
		c := connect(t, fs, "data.db")
		run(t, c, "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t SELECT randomblob(3000) FROM generate_series(1,100)")
		used := sealsOfFS(t, fs)[1].Count
		if used < before {
			t.Fatalf("%d seals, %d before", used, before)
		}
		copied := mount(t, copyAll(t, dir), keys)
		copied.database(filepath.Join(copied.Dir, "data.db"))
		after := sealsOfFS(t, copied)[1].Count
		if after < used || after > used+sealBlock {
			t.Fatalf("%d seals after a crash, %d before", after, used)
		}
		before = used
		c.Close()
	}
}

func TestSpentKey(t *testing.T) {
	keys := newRing("a")
	fs := mount(t, t.TempDir(), keys)
	db := fs.database(filepath.Join(fs.Dir, "data.db"))
	db.tally.bound = sealBlock + 300
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x)")
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = c.Exec("INSERT INTO t VALUES(randomblob(3000))")
	}
	_, failure := fs.Failures()
	if err == nil || !errors.Is(failure, ErrSpent) {
		t.Fatalf("after %d inserts: %v, %v", n, err, failure)
	}
	want(t, c, "SELECT count(*) FROM t", itoa(n-1))
	keys.rotate()
	run(t, c, "INSERT INTO t VALUES('under a new key')")
	want(t, c, "PRAGMA integrity_check", "ok")
}

// TestDamagedSeals: one slot may be torn, then more is counted; without the other
// nothing is written.
func TestDamagedSeals(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	path := sample(t, dir, keys) + sealsSuffix
	good := slurp(t, path)
	fs := mount(t, copyAll(t, dir), keys)
	fs.database(filepath.Join(fs.Dir, "data.db"))
	count := sealsOfFS(t, fs)[1].Count
	for slot := range 2 {
		overwrite(t, path, flip(good, slot*data.PageSize+rand.IntN(data.PageSize)))
		fs := mount(t, copyAll(t, dir), keys)
		fs.database(filepath.Join(fs.Dir, "data.db"))
		if got := sealsOfFS(t, fs)[1].Count; got < count {
			t.Fatalf("slot %d: %d seals, %d before", slot, got, count)
		}
	}
	overwrite(t, path, flip(flip(good, 100), data.PageSize+100))
	fs = mount(t, dir, keys)
	if _, err := fs.Seals(); err != nil {
		t.Fatal(err) // not open yet
	}
	if _, err := damaged(t, dir, keys); err != nil {
		t.Fatal(err) // can be read
	}
	c := connect(t, fs, "data.db")
	if err := c.Exec("DELETE FROM t WHERE id=1"); err == nil {
		t.Fatal("written without a count")
	}
	if _, failure := fs.Failures(); !errors.Is(failure, data.ErrTampered) {
		t.Fatal(failure)
	}
}

const goldenSeals = "testdata/seals"

// TestGoldenSeals reads a file of counts which an earlier build wrote.
func TestGoldenSeals(t *testing.T) {
	dir, keys := t.TempDir(), newRing(goldenSeed)
	if *update {
		c := connect(t, mount(t, dir, keys), "data.db")
		run(t, c, "CREATE TABLE t(x)")
		if err := os.MkdirAll(goldenSeals, 0o700); err != nil {
			t.Fatal(err)
		}
		overwrite(t, goldenSeals+"/data.db-seals", slurp(t, filepath.Join(dir, "data.db-seals")))
	}
	keys.rotate()
	overwrite(t, filepath.Join(dir, "data.db-seals"), slurp(t, goldenSeals+"/data.db-seals"))
	fs := mount(t, dir, keys)
	fs.database(filepath.Join(fs.Dir, "data.db"))
	got := sealsOfFS(t, fs)
	if len(got) != 2 || got[0].Generation != 1 || got[0].Count != sealBlock || got[1].Count != sealBlock {
		t.Fatalf("%+v", got)
	}
}

func FuzzSeals(f *testing.F) {
	f.Add(sealsFile{serial: 1}.format())
	f.Add(sealsFile{serial: 7, counts: []sealsOf{{1, [2]int64{5, 6}}, {2, [2]int64{0, 1 << 32}}}}.format())
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := parseSeals(b)
		if err != nil {
			if !errors.Is(err, errSeals) {
				t.Fatal(err)
			}
			return
		}
		if !slices.Equal(file.format(), b) {
			t.Fatalf("%x became %x", b, file.format())
		}
	})
}

const goldenRekey = "testdata/rekey"

// TestGoldenRekeyJournal mends a page by a journal which an earlier build wrote.
func TestGoldenRekeyJournal(t *testing.T) {
	dir, keys := t.TempDir(), newRing(goldenSeed)
	keys.rotate()
	if *update {
		writeGoldenJournal(t, keys)
	}
	if err := os.CopyFS(dir, os.DirFS(goldenRekey)); err != nil {
		t.Fatal(err)
	}
	if fs, err := damaged(t, dir, keys); err != nil || fs.Fault() != nil {
		t.Fatal(err, fs.Fault())
	}
	if g := generationOf(slurp(t, filepath.Join(dir, "data.db"))[:2*data.PageSize]); g != 2 {
		t.Fatalf("page 2 is under generation %d", g)
	}
}

// writeGoldenJournal leaves a database whose page 2 is torn.
func writeGoldenJournal(t *testing.T, keys *ring) {
	dir := t.TempDir()
	old := newRing(goldenSeed)
	c := connect(t, mount(t, dir, old), "data.db")
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t(x); INSERT INTO t(x) VALUES('golden'); PRAGMA wal_checkpoint(TRUNCATE)")
	c.Close()
	fs := mount(t, dir, keys)
	path := filepath.Join(fs.Dir, "data.db")
	main, err := fs.Disk.Open(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := &rekeyer{db: fs.database(path), main: main, target: 2}
	r.batch.reset()
	if err := errors.Join(r.add(2), r.writeJournal(), main.Close()); err != nil {
		t.Fatal(err)
	}
	torn := slurp(t, path)
	copy(torn[data.PageSize:], r.batch.image(0)[:3*sectorSize])
	overwrite(t, path, torn)
	if err := errors.Join(os.RemoveAll(goldenRekey), os.Remove(path+sealsSuffix), os.CopyFS(goldenRekey, os.DirFS(dir))); err != nil {
		t.Fatal(err)
	}
}
