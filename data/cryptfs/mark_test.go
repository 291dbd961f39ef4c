package cryptfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"holdfast/data"
	"holdfast/data/cryptfs/faultfs"
)

// fiveCommits leaves a folder as a killed process does: a log with five commits,
// each of one row, and gives at which frame each ends.
func fiveCommits(t testing.TB, keys data.KeySource, d Durability) (dir string, ends []uint32) {
	t.Helper()
	live := t.TempDir()
	fs := mountConfig(t, Config{Dir: live, Identity: "acme/prod", Keys: keys, Durability: d})
	c := connect(t, fs, "data.db")
	run(t, c, "PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t(x); PRAGMA wal_checkpoint(TRUNCATE)")
	for range 5 {
		run(t, c, "INSERT INTO t(x) VALUES(hex(randomblob(3000)))")
		ends = append(ends, fs.database(filepath.Join(fs.Dir, "data.db")).track.written().frame)
	}
	return copyTo(t, live), ends
}

// wantCut expects that a database does not open because its log, or its mark, was
// cut, and that the error names file and frame.
func wantCut(t testing.TB, what, dir string, keys data.KeySource, suffix string, number uint32) {
	t.Helper()
	fs, err := damaged(t, dir, keys)
	fault := fs.Fault()
	var pe *PageError
	if err == nil || !errors.Is(fault, ErrCutLog) || !errors.Is(fault, data.ErrTampered) || !errors.As(fault, &pe) {
		t.Errorf("%s: opened: %v, fault %v", what, err, fault)
		return
	}
	if pe.File != filepath.Join(dir, "data.db"+suffix) || pe.Page != number {
		t.Errorf("%s: names %s, %d; want %s, %d", what, pe.File, pe.Page, suffix, number)
	}
	if !strings.Contains(fault.Error(), "snapshot") {
		t.Errorf("no way out: %v", fault)
	}
}

// TestCutLog cuts the log in, before and after each frame: never does a commit
// vanish unsaid, and who accepts the loss has all commits before the cut.
func TestCutLog(t *testing.T) {
	keys := newRing("a")
	dir, ends := fiveCommits(t, keys, Full)
	path := filepath.Join(dir, "data.db-wal")
	whole := slurp(t, path)
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for frame := uint32(1); frame <= ends[4]; frame++ {
		for _, in := range []int64{0, 40, slotSize + 2000} {
			cut := copyTo(t, dir)
			if err := os.Truncate(filepath.Join(cut, "data.db-wal"), framePosition(frame)+in); err != nil {
				t.Fatal(err)
			}
			wantCut(t, fmt.Sprintf("frame %d, %d bytes in", frame, in), cut, keys, walSuffix, frame)
			left := 0
			for left < 5 && ends[left] < frame {
				left++
			}
			if in == 0 && frame%3 == 1 {
				accept(t, cut, keys, left)
			}
		}
	}
	overwrite(t, path, append(whole, 0)) // more is no less
	want(t, connect(t, mount(t, dir, keys), "data.db"), "SELECT count(*) FROM t", "5")
}

// accept opens with the loss accepted, and then as usual.
func accept(t testing.TB, dir string, keys data.KeySource, rows int) {
	t.Helper()
	for _, accepted := range []bool{true, false} {
		fs := mountConfig(t, Config{Dir: dir, Identity: "acme/prod", Keys: keys, AcceptCutLog: accepted})
		c := connect(t, fs, "data.db")
		want(t, c, "SELECT count(*) FROM t", strconv.Itoa(rows))
		want(t, c, "PRAGMA integrity_check", "ok")
		if said := fs.Fault() != nil; said != accepted {
			t.Fatalf("fault %v", fs.Fault())
		}
		run(t, c, "PRAGMA wal_autocheckpoint=0; UPDATE t SET x='after'")
		crashed := copyTo(t, dir)
		want(t, connect(t, mount(t, crashed, keys), "data.db"), "SELECT count(*) FROM t WHERE x='after'", strconv.Itoa(rows))
		c.Close()
	}
}

// TestFlippedLog flips bits anywhere in the log before it is recovered.
func TestFlippedLog(t *testing.T) {
	keys := newRing("a")
	dir, _ := fiveCommits(t, keys, Full)
	path := filepath.Join(dir, "data.db-wal")
	good := slurp(t, path)
	for i := range 100 {
		at := rand.IntN(len(good))
		if i < slotSize { // each byte of a frame's header, then of the log's
			at = int(framePosition(3)) + i
		} else if i < slotSize+16 {
			at = i - slotSize
		}
		overwrite(t, path, flip(good, at))
		if fs, err := damaged(t, dir, keys); err == nil || !errors.Is(fs.Fault(), ErrCutLog) {
			t.Errorf("byte %d: %v, fault %v", at, err, fs.Fault())
		}
	}
	overwrite(t, path, good)
	if _, err := damaged(t, dir, keys); err != nil {
		t.Fatal(err)
	}
}

func TestFlippedMark(t *testing.T) {
	keys := newRing("a")
	dir, _ := fiveCommits(t, keys, Full)
	path := filepath.Join(dir, "data.db-mark")
	good := slurp(t, path)
	if len(good) != markFileSize {
		t.Fatalf("%d bytes", len(good))
	}
	for slot := range 2 {
		for i := range markSlotSize {
			overwrite(t, path, flip(good, slot*data.PageSize+i))
			wantCut(t, "flipped", dir, keys, markSuffix, uint32(slot))
		}
	}
	for _, size := range []int{0, 10, data.PageSize, markFileSize - 1} {
		overwrite(t, path, good[:size])
		number := uint32(1)
		if size < markSlotSize {
			number = 0
		}
		wantCut(t, fmt.Sprint("cut to ", size), dir, keys, markSuffix, number)
	}
	swapped := bytes.Clone(good)
	copy(swapped, good[data.PageSize:])
	copy(swapped[data.PageSize:], good[:markSlotSize])
	overwrite(t, path, swapped)
	wantCut(t, "swapped", dir, keys, markSuffix, 0)
	overwrite(t, path, good)
	if _, err := damaged(t, dir, keys); err != nil {
		t.Fatal(err)
	}
}

// TestRemoved: neither log nor mark nor the database itself can be taken away.
func TestRemoved(t *testing.T) {
	keys := newRing("a")
	dir, ends := fiveCommits(t, keys, Full)
	without := func(suffix string) string {
		copied := copyTo(t, dir)
		if err := os.Remove(filepath.Join(copied, "data.db"+suffix)); err != nil {
			t.Fatal(err)
		}
		return copied
	}
	cut := without(walSuffix)
	wantCut(t, "no log", cut, keys, walSuffix, 1)
	accept(t, cut, keys, 0)
	cut = without(markSuffix)
	wantCut(t, "no mark", cut, keys, markSuffix, 0)
	accept(t, cut, keys, len(ends))
	cut = without("")
	if fs, err := damaged(t, cut, keys); err == nil || !errors.Is(fs.Fault(), data.ErrTampered) {
		t.Fatalf("no database: %v, %v", err, fs.Fault())
	}
	if err := os.Remove(filepath.Join(cut, "data.db-wal")); err != nil {
		t.Fatal(err)
	}
	if fs, err := damaged(t, cut, keys); err == nil || !errors.Is(fs.Fault(), data.ErrTampered) {
		t.Fatalf("no database and no log: %v, %v", err, fs.Fault())
	}
}

// TestForeignMark: the mark of another identity, database or folder is none.
func TestForeignMark(t *testing.T) {
	keys := newRing("a")
	dir, _ := fiveCommits(t, keys, Full)
	path := filepath.Join(dir, "data.db-mark")
	for what, c := range map[string]Config{
		"another identity": {Identity: "acme/test", Keys: keys},
		"another key":      {Identity: "acme/prod", Keys: newRing("b")},
	} {
		c.Dir = t.TempDir()
		connect(t, mountConfig(t, c), "data.db")
		overwrite(t, path, slurp(t, filepath.Join(c.Dir, "data.db-mark")))
		wantCut(t, what, dir, keys, markSuffix, 0)
	}
	other, _ := fiveCommits(t, keys, Full) // same identity, another folder
	overwrite(t, path, slurp(t, filepath.Join(other, "data.db-mark")))
	wantCut(t, "another folder", dir, keys, walSuffix, 1)
}

// TestOldLog: an authentic log of an earlier time is not taken for the newest.
func TestOldLog(t *testing.T) {
	keys, live := newRing("a"), t.TempDir()
	c := connect(t, mount(t, live, keys), "data.db")
	run(t, c, "PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	old := slurp(t, filepath.Join(live, "data.db-wal"))
	run(t, c, "PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES(2)")
	dir := copyTo(t, live)
	overwrite(t, filepath.Join(dir, "data.db-wal"), old)
	wantCut(t, "the log before", dir, keys, walSuffix, 1)
	accept := mountConfig(t, Config{Dir: dir, Identity: "acme/prod", Keys: keys, AcceptCutLog: true})
	want(t, connect(t, accept, "data.db"), "SELECT group_concat(x) FROM t", "1")

	run(t, c, "PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES(3)")
	c.Close()
	overwrite(t, filepath.Join(live, "data.db-wal"), old)
	wantCut(t, "after it was closed", live, keys, walSuffix, 1)
}

// TestMarkByDurability: what an acknowledgement is worth, the mark holds.
func TestMarkByDurability(t *testing.T) {
	keys, restarted := newRing("a"), [16]byte{1}
	for _, test := range []struct {
		d     Durability
		boot  [16]byte
		found bool
	}{
		{Full, bootID(), true}, {Full, restarted, true},
		{Shared, bootID(), false}, {Shared, restarted, false}, // nobody asked for a sync
		{Relaxed, bootID(), true}, {Relaxed, restarted, false}, // a power cut may take it
	} {
		dir, ends := fiveCommits(t, keys, test.d)
		if err := os.Truncate(filepath.Join(dir, "data.db-wal"), framePosition(ends[4])); err != nil {
			t.Fatal(err)
		}
		fs := mount(t, dir, keys)
		fs.boot = test.boot
		c, err := fs.connect(context.Background(), "data.db")
		if (err != nil) != test.found {
			t.Errorf("%+v: %v", test, err)
		}
		if err == nil {
			want(t, c, "SELECT count(*) FROM t", "4")
			c.Close()
		}
	}
}

// TestMarkAfterSyncLog: a shared sync counts what was written before it, a log
// that was recovered included.
func TestMarkAfterSyncLog(t *testing.T) {
	keys := newRing("a")
	dir, ends := fiveCommits(t, keys, Shared)
	fs := mountConfig(t, Config{Dir: dir, Identity: "acme/prod", Keys: keys, Durability: Shared})
	c := connect(t, fs, "data.db")
	want(t, c, "SELECT count(*) FROM t", "5")
	for frames, more := range map[uint32]string{ends[4]: "SELECT 1", ends[4] + 1: "UPDATE t SET x='short' WHERE id=1"} {
		run(t, c, "PRAGMA wal_autocheckpoint=0; %s", more)
		if err := fs.SyncLog(context.Background(), "data.db"); err != nil {
			t.Fatal(err)
		}
		if got := fs.database(filepath.Join(fs.Dir, "data.db")).mark.now; more == "SELECT 1" && got.synced < frames || got.synced == 0 {
			t.Fatalf("after %s: %+v, frames %d", more, got, frames)
		}
	}
	cut := copyTo(t, dir)
	if err := os.Truncate(filepath.Join(cut, "data.db-wal"), framePosition(ends[4])); err != nil {
		t.Fatal(err)
	}
	wantCut(t, "recovered frames", cut, keys, walSuffix, ends[4])
}

// TestTornMark: after a power cut one slot may be torn, and only then.
func TestTornMark(t *testing.T) {
	keys := newRing("a")
	dir, _ := fiveCommits(t, keys, Full)
	path := filepath.Join(dir, "data.db-mark")
	good := slurp(t, path)
	for slot := range 2 {
		overwrite(t, path, flip(good, slot*data.PageSize+20))
		torn := copyTo(t, dir)
		fs := mount(t, torn, keys)
		fs.boot = [16]byte{1}
		c := connect(t, fs, "data.db")
		want(t, c, "SELECT count(*) FROM t", "5")
		run(t, c, "UPDATE t SET x='x'; UPDATE t SET x='y'")
		c.Close()
	}
}

// TestLoweredMark: where a commit comes to nothing after the mark has counted it,
// its frames are overwritten, and the mark does not ask for them.
func TestLoweredMark(t *testing.T) {
	keys, d := newRing("a"), faultfs.New()
	live := t.TempDir()
	fs := mountConfig(t, Config{Dir: live, Identity: "acme/prod", Keys: keys, Durability: Relaxed, Disk: d})
	c := connect(t, fs, "data.db")
	run(t, c, "PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	d.Follow(func(call faultfs.Call) error {
		if call.Op == faultfs.Write && call.Name == "data.db-mark" {
			return &faultfs.Torn{Bytes: call.Len, Err: syscall.EIO}
		}
		return nil
	})
	if err := c.Exec("INSERT INTO t SELECT randomblob(3000) FROM generate_series(1,20)"); err == nil {
		t.Fatal("committed without its mark")
	}
	if err := c.Exec("INSERT INTO t VALUES(2)"); err == nil {
		t.Fatal("overwritten with the mark up")
	}
	d.Follow(nil)
	run(t, c, "INSERT INTO t VALUES(3)")
	crashed := connect(t, mount(t, copyTo(t, live), keys), "data.db")
	want(t, crashed, "SELECT group_concat(x) FROM t", "1,3")
}

// TestMarkOfWrittenDatabase: a restored database has a mark of its own, in place
// of what was left there.
func TestMarkOfWrittenDatabase(t *testing.T) {
	keys := newRing("a")
	source := mount(t, t.TempDir(), keys)
	tap, copied := openTap(t, source, "data.db"), newReplica()
	c := connect(t, source, "data.db")
	run(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	ship(t, copied, tap)
	dir, _ := fiveCommits(t, keys, Full)
	for _, suffix := range []string{"", walSuffix} {
		if err := os.Remove(filepath.Join(dir, "data.db"+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	err := WriteDatabase(context.Background(), Config{Dir: dir, Identity: "acme/prod", Keys: keys}, "data.db", copied.size, func(n uint32, page []byte) error {
		copy(page, copied.pages[n])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, connect(t, mount(t, dir, keys), "data.db"), "SELECT x FROM t", "1")
}

// TestMarkIsRenewed: with both slots under the new key, the old one may go.
func TestMarkIsRenewed(t *testing.T) {
	keys, dir := newRing("a"), t.TempDir()
	fs := mount(t, dir, keys)
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x)")
	keys.rotate()
	if err := fs.database(filepath.Join(fs.Dir, "data.db")).mark.renew(2); err != nil {
		t.Fatal(err)
	}
	b := slurp(t, filepath.Join(dir, "data.db-mark"))
	for slot := range 2 {
		if g := b[slot*data.PageSize+markSlotSize-2]; g != 2 {
			t.Errorf("slot %d is of generation %d", slot, g)
		}
	}
	if in := fs.database(filepath.Join(fs.Dir, "data.db")).mark.generations(); !slices.Equal(in, []uint32{2, 2}) {
		t.Errorf("generations %v", in)
	}
}

func FuzzMark(f *testing.F) {
	for _, r := range []markRecord{{serial: 1}, {serial: 2, log: [8]byte{1}, synced: 5, written: 6, born: true}, {serial: 3, written: 1}} {
		b := r.format()
		f.Add(b[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseMark(b)
		if err != nil {
			if !errors.Is(err, errMark) {
				t.Fatal(err)
			}
			return
		}
		if again := r.format(); !bytes.Equal(again[:], b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

// FuzzMarkFile opens a database whose mark is arbitrary bytes: it is refused, or
// the log is whole.
func FuzzMarkFile(f *testing.F) {
	good, err := os.ReadFile(goldenDir + "/data.db-mark")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(goldenDir)); err != nil {
			t.Fatal(err)
		}
		overwrite(t, filepath.Join(dir, "data.db-mark"), b)
		readChanged(t, mount(t, dir, newRing(goldenSeed)))
	})
}
