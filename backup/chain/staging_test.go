package chain

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"holdfast/backup"
	"holdfast/backup/backuptest"
	"holdfast/data"
)

var update = flag.Bool("update", false, "write the golden files anew: only for a new version of the format")

func goldenCodec(t testing.TB) *backup.Codec {
	t.Helper()
	c, err := backup.NewCodec("abcdefghijklmno/prod", backuptest.NewKeys("golden"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func exampleRecord() *record {
	file := backup.File{FileInfo: data.FileInfo{Name: "a/b", Modified: time.Unix(1, 0).UTC()}, Chunks: []backup.Chunk{}}
	r := &record{sums: []pageSum{{1, backup.PageSum{1}}, {7, backup.PageSum{7}}}, changes: []backup.Change{{Put: &file}}}
	r.meta = meta{
		Epoch: backup.Epoch{1}, Base: 3, Sequence: 3, Manifest: backup.Hash{4}, Time: time.Unix(2, 0).UTC(),
		Position: data.Position{Incarnation: "i", Sequence: 5}, SumKey: bytes.Repeat([]byte{6}, 32), Total: 7, Full: true, Sums: 1, Change: 1,
	}
	return r
}

func exampleStage(t testing.TB, codec *backup.Codec) (path string) {
	t.Helper()
	s, err := newStage(t.TempDir(), codec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.add("t/abcdefghijklmno/prod/manifest/0000000000000003", []byte("an object")); err != nil {
		t.Fatal(err)
	}
	p, err := s.finish(exampleRecord(), Result{Sequence: 3, Pages: 2}, time.Unix(1800000000, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.f.Close(); err != nil {
		t.Fatal(err)
	}
	return p.path
}

func golden(t testing.TB, name string, now func() []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, now(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func goldenJournal(t testing.TB) []byte {
	return golden(t, "journal.bin", func() []byte {
		b, err := sealRecord(exampleRecord(), goldenCodec(t))
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

func goldenPending(t testing.TB) []byte {
	return golden(t, "pending.bin", func() []byte {
		b, err := os.ReadFile(exampleStage(t, goldenCodec(t)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

// What an earlier build left in staging is taken up.
func TestGoldenStaging(t *testing.T) {
	rec, n, err := readRecord(bytes.NewReader(goldenJournal(t)), goldenCodec(t))
	if err != nil || n != int64(len(goldenJournal(t))) || !reflect.DeepEqual(rec, exampleRecord()) {
		t.Errorf("journal: %+v, %v", rec, err)
	}
	p, err := parseBytes(t, goldenPending(t))
	if err != nil || !reflect.DeepEqual(p.record, exampleRecord()) || p.index.Result.Pages != 2 || len(p.index.Items) != 1 {
		t.Errorf("pending: %+v, %v", p, err)
	}
}

func parseBytes(t testing.TB, b []byte) (*pending, error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "pending"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a test's
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	return parsePending(f, goldenCodec(t))
}

// However a staged file is cut or changed, it is damage, never half a snapshot.
func TestDamagedPending(t *testing.T) {
	good := goldenPending(t)
	start := int(binary.BigEndian.Uint64(good[len(good)-footerSize:]))
	for i := range good {
		if _, err := parseBytes(t, good[:i]); !unusable(err) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	for i := start; i < len(good); i++ { // the objects themselves are sealed and hashed
		b := bytes.Clone(good)
		b[i] ^= 0x40
		if _, err := parseBytes(t, b); !unusable(err) && !errors.Is(err, data.ErrNewer) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}

func TestDamagedJournal(t *testing.T) {
	good := goldenJournal(t)
	for i := range good {
		_, _, err := readRecord(bytes.NewReader(good[:i]), goldenCodec(t))
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 0x40
		if _, _, err := readRecord(bytes.NewReader(b), goldenCodec(t)); err == nil {
			t.Fatalf("byte %d changed: it was taken", i)
		}
	}
}

// A journal does not grow without end.
func TestJournalIsRewritten(t *testing.T) {
	dir := t.TempDir()
	codec := goldenCodec(t)
	j, _, err := openJournal(dir, codec)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.close() }()
	s, err := exampleRecord().apply(nil)
	if err == nil {
		err = j.append(exampleRecord(), s)
	}
	if err != nil {
		t.Fatal(err)
	}
	var most int64
	for i := range 40 {
		rec := bigRecord(s, i)
		if s, err = rec.apply(s); err != nil {
			t.Fatal(err)
		}
		if err := j.append(rec, s); err != nil {
			t.Fatal(err)
		}
		most = max(most, j.size)
	}
	if most > 3*rewriteOver {
		t.Errorf("it grew to %d bytes", most)
	}
	_, again, err := openJournal(dir, codec)
	if err != nil || !reflect.DeepEqual(again.meta, s.full().meta) && again.Sequence != s.Sequence || again.sums.Root() != s.sums.Root() {
		t.Errorf("after the rewrite: %v", err)
	}
}

// bigRecord changes enough pages that a few of them fill the journal.
func bigRecord(s *state, seed int) *record {
	r := &record{meta: s.meta}
	r.Full, r.Sequence, r.Total = false, s.Sequence+1, 40_000
	for pgno := uint32(1); pgno <= r.Total; pgno++ {
		sum := s.sums.Of(pgno, fmt.Appendf(make([]byte, 0, 64), "%d %d", seed, pgno))
		r.sums = append(r.sums, pageSum{pgno, sum})
	}
	return r
}

func FuzzJournal(f *testing.F) {
	codec := goldenCodec(f)
	good := goldenJournal(f)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := readRecord(bytes.NewReader(b), codec); err == nil && !bytes.HasPrefix(b, good) {
			t.Error("a forged record was taken")
		}
	})
}

// The plaintext parsers are reached only with the key; they hold by themselves.
func FuzzRecord(f *testing.F) {
	frames, err := exampleRecord().format()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frames[0], frames[1], frames[2])
	f.Fuzz(func(t *testing.T, head, sums, changes []byte) {
		m, err := parseMeta(head)
		if err != nil || m.Total > 1<<20 {
			return
		}
		m.Sums = 1
		rec := &record{meta: m}
		if rec.addFrame(0, sums) == nil && rec.addFrame(1, changes) == nil {
			_, _ = rec.apply(nil)
		}
	})
}

func FuzzPending(f *testing.F) {
	good := goldenPending(f)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parseBytes(t, b); err != nil && !unusable(err) && !errors.Is(err, data.ErrNewer) {
			t.Error(err)
		}
	})
}
