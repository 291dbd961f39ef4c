package cryptfs

import (
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// powerDisk is what would be left after a power cut: per file what was synced, and
// the writes since, of which any may reach the disk, in part and in any order.
type powerDisk struct {
	mu     sync.Mutex
	rand   *rand.Rand
	synced map[string][]byte
	since  map[string][]write
	steps  int // until the next cut
	onCut  func(left map[string][]byte)
}

type write struct {
	off  int64
	data []byte // nil: the file ends at off
}

func (w write) apply(b []byte) []byte {
	if w.data == nil {
		return append(b[:min(len(b), int(w.off))], make([]byte, max(0, int(w.off)-len(b)))...)
	}
	if end := int(w.off) + len(w.data); end > len(b) {
		b = append(b, make([]byte, end-len(b))...)
	}
	copy(b[w.off:], w.data)
	return b
}

// step counts an operation, and now and then cuts the power before it.
func (d *powerDisk) step(name string, w *write) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.steps--; d.steps == 0 {
		d.steps = 1 + d.rand.IntN(150)
		left := map[string][]byte{}
		for name, b := range d.synced {
			left[name] = d.survive(slices.Clone(b), d.since[name])
		}
		d.onCut(left)
	}
	if w != nil {
		d.since[name] = append(d.since[name], *w)
	}
}

func (d *powerDisk) survive(b []byte, writes []write) []byte {
	for _, w := range writes {
		switch d.rand.IntN(3) {
		case 0:
			b = w.apply(b)
		case 1: // torn between sectors
			if sectors := len(w.data) / 512; sectors > 0 {
				w.data = w.data[:512*d.rand.IntN(sectors)]
				b = w.apply(b)
			}
		}
	}
	return b
}

func (d *powerDisk) sync(name string, f vfs.File) {
	size, _ := f.Size()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		panic(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.synced[name], d.since[name] = b, nil
}

type cutVFS struct {
	vfs.VFS
	disk *powerDisk
}

func (v cutVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil {
		return f, flags, err
	}
	return &cutFile{f, v.disk, filepath.Base(name.String())}, flags, nil
}

func (v cutVFS) Delete(name string, syncDir bool) error {
	v.disk.step("", nil)
	v.disk.mu.Lock()
	delete(v.disk.synced, filepath.Base(name))
	delete(v.disk.since, filepath.Base(name))
	v.disk.mu.Unlock()
	return v.VFS.Delete(name, syncDir)
}

type cutFile struct {
	vfs.File
	disk *powerDisk
	name string
}

func (f *cutFile) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }

func (f *cutFile) WriteAt(p []byte, off int64) (int, error) {
	f.disk.step(f.name, &write{off, slices.Clone(p)})
	return f.File.WriteAt(p, off)
}

func (f *cutFile) Truncate(size int64) error {
	f.disk.step(f.name, &write{off: size})
	return f.File.Truncate(size)
}

func (f *cutFile) Sync(flags vfs.SyncFlag) error {
	f.disk.step(f.name, nil)
	if err := f.File.Sync(flags); err != nil {
		return err
	}
	f.disk.sync(f.name, f.File)
	return nil
}

// TestPowerCut cuts the power at many points: whatever is left opens, is whole
// and has every acknowledged row.
func TestPowerCut(t *testing.T) {
	r, keys, acknowledged, cuts := seeded(t), newRing("a"), 0, 0
	d := &powerDisk{rand: r, synced: map[string][]byte{}, since: map[string][]write{}}
	fs, err := mountOn(cutVFS{vfs.Find("os"), d}, Config{Dir: t.TempDir(), Identity: "acme/prod", Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE TABLE n(i INTEGER); PRAGMA wal_checkpoint(TRUNCATE); PRAGMA cache_size=8; PRAGMA wal_autocheckpoint=20")
	d.steps, d.onCut = 1, func(left map[string][]byte) {
		cuts++
		checkAfterCut(t, left, keys, acknowledged)
	}
	for range times(20) {
		run(t, c, "%s", act(c, r))
		run(t, c, "DELETE FROM t WHERE id < (SELECT max(id)-60 FROM t)")
		run(t, c, "INSERT INTO n VALUES(%d)", acknowledged)
		acknowledged++
	}
	t.Logf("%d power cuts", cuts)
	if cuts < 10 {
		t.Errorf("only %d power cuts", cuts)
	}
}

func checkAfterCut(t *testing.T, left map[string][]byte, keys *ring, acknowledged int) {
	t.Helper()
	dir := t.TempDir()
	for name, b := range left {
		overwrite(t, filepath.Join(dir, name), b)
	}
	fs, err := Mount(Config{Dir: dir, Identity: "acme/prod", Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, fs, "data.db")
	want(t, c, "PRAGMA integrity_check", "ok")
	got, err := ask(c, "SELECT count(*) FROM n")
	if n, _ := strconv.Atoi(got); err != nil || n < acknowledged {
		t.Fatalf("%s rows of %d, %v", got, acknowledged, err)
	}
	if err := fs.Fault(); err != nil {
		t.Fatal(err)
	}
	run(t, c, "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
	authenticate(t, fs, "data.db")
	c.Close()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
}
