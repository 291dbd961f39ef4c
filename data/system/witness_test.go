package system

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/data"
)

// memoryWitness keeps the testimony, and the folder at each change of it.
type memoryWitness struct {
	now  []byte
	told func(before, after []byte) // may be nil
}

func (w *memoryWitness) Load(context.Context) ([]byte, error) { return w.now, nil }

func (w *memoryWitness) Store(_ context.Context, b []byte) error {
	if w.told != nil {
		w.told(w.now, b)
	}
	w.now = b
	return nil
}

func newWitnessed(t testing.TB) (*DB, Config, *memoryWitness) {
	t.Helper()
	w := &memoryWitness{}
	c := Config{Dir: filepath.Join(t.TempDir(), "data"), Keys: newTestKey(), Version: "1.0.0", Witness: w}
	d := openTest(t, c)
	must(t, d.Migrate(bg, "test", notes))
	return d, c, w
}

// laid is a folder with these files, and a witness that knows this.
func laid(t testing.TB, c Config, files map[string][]byte, testimony []byte) Config {
	t.Helper()
	c.Dir, c.Witness = t.TempDir(), &memoryWitness{now: testimony}
	must(t, os.Chmod(c.Dir, 0o700))
	for name, b := range files {
		must(t, os.WriteFile(filepath.Join(c.Dir, name), b, 0o600))
	}
	return c
}

func opens(c Config) error {
	d, err := Open(bg, c)
	if err != nil {
		return err
	}
	return d.Close()
}

// moments are what a folder and its witness were at several times.
type moment struct {
	files     map[string][]byte
	testimony []byte
}

func momentOf(t testing.TB, c Config, w *memoryWitness) moment {
	t.Helper()
	return moment{folder(t, c.Dir), bytes.Clone(w.now)}
}

// TestPutBack puts older copies in the place of the database, or of its witness.
func TestPutBack(t *testing.T) {
	d, c, w := newWitnessed(t)
	must(t, insert(d, "a", strings.Repeat("x", 9000)))
	killedOld := momentOf(t, c, w)
	must(t, d.Close())
	closedOld := momentOf(t, c, w)
	d = openTest(t, c)
	must(t, insert(d, "b", "later"))
	must(t, d.Attest(bg))
	must(t, insert(d, "c", "later still"))
	must(t, d.Attest(bg))
	killed := momentOf(t, c, w)
	must(t, d.Close())
	closed := momentOf(t, c, w)

	page := maps.Clone(closed.files)
	page[Database] = bytes.Clone(page[Database])
	for at := 0; bytes.Equal(page[Database], closed.files[Database]); at += data.PageSize {
		copy(page[Database][at:], closedOld.files[Database][at:at+data.PageSize])
	}
	log := maps.Clone(closed.files)
	log[Database+"-wal"] = killedOld.files[Database+"-wal"]

	for name, m := range map[string]moment{
		"closed, of before":            {closedOld.files, closed.testimony},
		"closed, of before a crash":    {closedOld.files, killed.testimony},
		"killed, of before":            {killedOld.files, closed.testimony},
		"killed, of before a crash":    {killedOld.files, killed.testimony},
		"one page":                     {page, closed.testimony},
		"a log where there was none":   {log, closed.testimony},
		"none at all":                  {nil, closed.testimony},
		"the witness, of before":       {closed.files, closedOld.testimony},
		"the witness, after a crash":   {killed.files, killedOld.testimony},
		"the witness knows of nothing": {closed.files, nil},
	} {
		err := opens(laid(t, c, m.files, m.testimony))
		if !errors.Is(err, ErrPutBack) || !errors.Is(err, data.ErrTampered) || !strings.Contains(err.Error(), "restore --all") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, m := range map[string]moment{"closed": closed, "killed": killed} {
		if err := opens(laid(t, c, m.files, m.testimony)); err != nil {
			t.Errorf("%s, and nothing was put back: %v", name, err)
		}
	}
}

// TestPutBackIsAccepted goes on with an older copy when it is told to, and knows it
// afterwards.
func TestPutBackIsAccepted(t *testing.T) {
	d, c, w := newWitnessed(t)
	old := momentOf(t, c, w)
	for range 3 {
		must(t, insert(d, NewID(), "later"))
		must(t, d.Attest(bg))
	}
	must(t, d.Close())
	c = laid(t, c, old.files, w.now)
	wantErr(t, opens(c), ErrPutBack)
	accepting := c
	accepting.AcceptPutBack = true
	d = openTest(t, accepting)
	wantErr(t, d.Lost(), ErrPutBack)
	if n := count(t, d); n != 0 {
		t.Fatalf("%d rows", n)
	}
	must(t, d.Close())
	d = openTest(t, c)
	must(t, d.Lost())
	must(t, d.Close())
}

// TestKilledAroundTestimony: whenever the process is killed before or after the witness
// is told something, the database opens again.
func TestKilledAroundTestimony(t *testing.T) {
	var cuts []moment
	w := &memoryWitness{}
	c := Config{Dir: filepath.Join(t.TempDir(), "data"), Keys: newTestKey(), Witness: w}
	w.told = func(before, after []byte) {
		files := folder(t, c.Dir)
		cuts = append(cuts, moment{files, bytes.Clone(before)}, moment{files, bytes.Clone(after)})
	}
	for range 3 {
		d := openTest(t, c)
		must(t, d.Migrate(bg, "test", notes))
		must(t, insert(d, NewID(), "x"))
		must(t, d.Attest(bg))
		must(t, d.Close())
	}
	if len(cuts) < 20 {
		t.Fatalf("%d cuts", len(cuts))
	}
	for i, m := range cuts {
		if err := opens(laid(t, c, m.files, m.testimony)); err != nil {
			t.Errorf("cut %d: %v", i, err)
		}
	}
}

// TestAttestIsQuiet: who follows commits is not told of it, and where nothing was
// committed nothing is written.
func TestAttestIsQuiet(t *testing.T) {
	w, told := &memoryWitness{}, 0
	c := Config{Dir: filepath.Join(t.TempDir(), "data"), Keys: newTestKey(), Witness: w, OnCommit: func() { told++ }}
	d := openTest(t, c)
	must(t, d.Migrate(bg, "test", notes))
	must(t, d.Attest(bg))
	before, now := told, w.now
	must(t, d.Attest(bg))
	if told != before || !bytes.Equal(w.now, now) {
		t.Error("attested without a commit")
	}
	must(t, insert(d, "a", "x"))
	must(t, d.Attest(bg))
	if told != before+1 || bytes.Equal(w.now, now) {
		t.Errorf("told of %d commits, want 1", told-before)
	}
}

const goldenTestimony = "01010000000000000007000000000000200000000000000000000000000000000000000000000000000000000000000000ff"

func TestTestimonyFormat(t *testing.T) {
	want := testimony{turn: 7, closed: true, image: image{size: 8192}}
	want.image.sum[31] = 0xff
	if got := hex.EncodeToString(want.format()); got != goldenTestimony {
		t.Errorf("format %s", got)
	}
	b, err := hex.DecodeString(goldenTestimony)
	must(t, err)
	if got, err := parseTestimony(b); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	b[0] = 2
	_, err = parseTestimony(b)
	wantErr(t, err, data.ErrNewer)
	for _, bad := range [][]byte{{1}, make([]byte, testimonySize), append(want.format(), 0), testimony{image: want.image, turn: 1}.format(), testimony{}.format()} {
		_, err := parseTestimony(bad)
		wantErr(t, err, data.ErrTampered)
	}
}

func FuzzTestimony(f *testing.F) {
	b, _ := hex.DecodeString(goldenTestimony)
	f.Add(b)
	f.Add(testimony{turn: 1}.format())
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseTestimony(b)
		if err == nil && len(b) > 0 && !bytes.Equal(got.format(), b) {
			t.Errorf("%x became %x", b, got.format())
		}
	})
}
