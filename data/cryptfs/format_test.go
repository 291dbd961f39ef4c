package cryptfs

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"holdfast/data"
)

var update = flag.Bool("update", false, "write the golden files anew")

const goldenDir = "testdata/golden"

// goldenKey is what the golden files are sealed with, generation 1.
const goldenSeed = "golden"

// TestGolden reads a database, a log that still has to be recovered and a sealed
// file which an earlier build wrote.
func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	dir, keys := t.TempDir(), newRing(goldenSeed)
	if err := os.CopyFS(dir, os.DirFS(goldenDir)); err != nil {
		t.Fatal(err)
	}
	c := connect(t, mount(t, dir, keys), "data.db")
	want(t, c, "PRAGMA integrity_check", "ok")
	want(t, c, "SELECT group_concat(x) FROM t", "in the database,in the log")
	got, err := read(openFiles(t, filepath.Join(dir, "files"), keys), "col/rec/golden.txt")
	if err != nil || string(got) != "golden" {
		t.Fatalf("%q %v", got, err)
	}
}

func writeGolden(t *testing.T) {
	dir, keys := t.TempDir(), newRing(goldenSeed)
	fs := mount(t, dir, keys)
	fs.boot = [16]byte{} // of no system
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES('in the database'); PRAGMA wal_checkpoint(TRUNCATE)")
	run(t, c, "INSERT INTO t VALUES('in the log')")
	put(t, openFiles(t, filepath.Join(dir, "files"), keys), "col/rec/golden.txt", []byte("golden"))
	if err := errors.Join(os.RemoveAll(goldenDir), os.Remove(filepath.Join(dir, "data.db-shm")), os.CopyFS(goldenDir, os.DirFS(dir))); err != nil {
		t.Fatal(err)
	}
}

// TestSpecification opens the golden bytes by the README alone.
func TestSpecification(t *testing.T) {
	key := newRing(goldenSeed).key(1)
	db, wal := slurp(t, goldenDir+"/data.db"), slurp(t, goldenDir+"/data.db-wal")

	page := spell(t, key, nil, "holdfast/cryptfs/v1|db|acme/prod|data.db", db[:4096], 4064, "P", make([]byte, 8), 1)
	if !bytes.HasPrefix(page, []byte("SQLite format 3\x00")) || page[20] != 32 {
		t.Fatalf("page 1: %q", page[:32])
	}
	info := "holdfast/cryptfs/v1|wal|acme/prod|data.db"
	head := spell(t, key, nil, info, wal[:64], 32, "W", make([]byte, 8), 0)
	if binary.BigEndian.Uint32(head)&^1 != 0x377f0682 || binary.BigEndian.Uint32(head[8:]) != 4096 {
		t.Fatalf("log header: %x", head)
	}
	salt, frame := head[16:24], wal[64:64+64+4096]
	if !bytes.Equal(frame[40:48], salt) {
		t.Fatalf("salt in clear %x, of the log %x", frame[40:48], salt)
	}
	fh := spell(t, key, nil, info, frame[:64], 24, "H", salt, 1)
	if !bytes.Equal(fh[8:16], salt) {
		t.Fatalf("frame header: %x", fh)
	}
	spell(t, key, nil, info, frame[64:], 4064, "F", salt, 1)

	mark, newest := slurp(t, goldenDir+"/data.db-mark"), []byte{}
	for slot := range uint32(2) {
		got := spell(t, key, nil, "holdfast/cryptfs/v1|mark|acme/prod|data.db", mark[slot*4096:][:96], 64, "M", make([]byte, 8), slot)
		if bytes.Compare(got[:8], newest) > 0 {
			newest = got
		}
	}
	synced := binary.BigEndian.Uint32(newest[24:])
	if !bytes.Equal(newest[8:16], salt) || int(synced) != (len(wal)-64)/4160 || newest[48] != 1 {
		t.Fatalf("mark: %x", newest)
	}
}

// spell opens one unit: n bytes of ciphertext, the tag, and the trailer (nonce
// 12, generation 3, version 1) at the end.
func spell(t *testing.T, key [32]byte, salt []byte, info string, unit []byte, n int, kind string, logSalt []byte, number uint32) []byte {
	t.Helper()
	trailer := unit[len(unit)-16:]
	if !bytes.Equal(trailer[12:], []byte{0, 0, 1, 1}) {
		t.Fatalf("generation and version %x", trailer[12:])
	}
	ad := slices.Concat([]byte(kind), []byte{1, 0, 0, 1}, logSalt, binary.BigEndian.AppendUint32(nil, number))
	plain, err := gcm(t, key, salt, info).Open(nil, trailer[:12], unit[:n+16], ad)
	if err != nil {
		t.Fatalf("unit %s %d: %v", kind, number, err)
	}
	return plain
}

func gcm(t *testing.T, key [32]byte, salt []byte, info string) cipher.AEAD {
	t.Helper()
	sub, err := hkdf.Key(sha256.New, key[:], salt, info, 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(sub)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// TestFileSpecification does the same for a sealed file.
func TestFileSpecification(t *testing.T) {
	var path string
	for _, p := range onDisk(t, goldenDir+"/files") {
		path = p
	}
	b := slurp(t, path)
	if string(b[:4]) != "HFSF" || !bytes.Equal(b[4:8], []byte{1, 0, 0, 1}) {
		t.Fatalf("prefix %x", b[:8])
	}
	n := int(binary.BigEndian.Uint32(b[40:]))
	aead := gcm(t, newRing(goldenSeed).key(1), b[8:40], "holdfast/cryptfs/v1|file|acme/prod")
	info, err := aead.Open(nil, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, b[44:44+n+16], b[:44])
	if err != nil || n%256 != 0 || !strings.Contains(string(info), `"name":"col/rec/golden.txt"`) {
		t.Fatalf("info %q %v", info, err)
	}
	content, err := aead.Open(nil, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, b[44+n+16:], nil)
	if err != nil || string(content) != "golden" {
		t.Fatalf("content %q %v", content, err)
	}
	if rel, _ := filepath.Rel(goldenDir+"/files", path); strings.Count(rel, "/") != 2 || len(rel) != 3*40+2 {
		t.Fatalf("path %s", rel)
	}
}

func FuzzPrefix(f *testing.F) {
	f.Add(prefix{generation: 1, info: 256}.format())
	f.Add([]byte("HFSF\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePrefix(b)
		if err != nil {
			if !errors.Is(err, errNotSealed) && !errors.Is(err, data.ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(p.format(), b) {
			t.Fatalf("%x became %x", b, p.format())
		}
	})
}

// FuzzFileInfo: what is sealed comes back, whatever the names are.
func FuzzFileInfo(f *testing.F) {
	f.Add("c/r/f", "text/plain", "key", "value", int64(5))
	f.Fuzz(func(t *testing.T, name, kind, key, value string, size int64) {
		for _, s := range []string{name, kind, key, value} {
			if !utf8.ValidString(s) {
				return // no name; in metadata, JSON has no form for it
			}
		}
		info := data.FileInfo{Name: name, Size: size & (1<<62 - 1), ContentType: kind, ETag: emptyETag, Metadata: map[string]string{key: value}}
		n, err := infoLength(data.FileInfo{Name: name, ContentType: kind, Metadata: info.Metadata})
		if err != nil {
			return // too long
		}
		p, aead := prefix{generation: 1, info: n}, gcm(t, [32]byte{}, nil, "fuzz")
		sealed, err := sealInfo(aead, p, info)
		if err != nil {
			t.Fatal(err)
		}
		got, err := openInfo(aead, p, sealed)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, info) {
			t.Fatalf("%+v became %+v", info, got)
		}
	})
}

// FuzzDatabase opens a database whose files were changed: what can be read of it
// is one of the states it was in, or an error.
func FuzzDatabase(f *testing.F) {
	f.Add(true, uint32(0), []byte{1})
	f.Add(true, uint32(16), []byte{0xff})
	f.Add(true, uint32(64+40), []byte{1})
	f.Add(true, uint32(64+64+4), []byte{1})
	f.Add(false, uint32(20), []byte{1})
	f.Add(false, uint32(4096+100), []byte("changed"))
	db, err := os.ReadFile(goldenDir + "/data.db")
	if err != nil {
		f.Fatal(err)
	}
	wal, err := os.ReadFile(goldenDir + "/data.db-wal")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, inLog bool, at uint32, change []byte) {
		a, b := slices.Clone(db), slices.Clone(wal)
		target := a
		if inLog {
			target = b
		}
		off := int(at) % len(target)
		for i, x := range change[:min(len(change), len(target)-off)] {
			target[off+i] ^= x
		}
		dir := t.TempDir()
		overwrite(t, filepath.Join(dir, "data.db"), a)
		overwrite(t, filepath.Join(dir, "data.db-wal"), b)
		readChanged(t, mount(t, dir, newRing(goldenSeed)))
	})
}

func readChanged(t *testing.T, fs *FS) {
	c, err := fs.connect(context.Background(), "data.db")
	if err != nil {
		return
	}
	defer c.Close()
	text, err := ask(c, "SELECT group_concat(x) FROM t")
	if err == nil && text != "in the database,in the log" && text != "in the database" {
		t.Fatalf("read %q", text)
	}
}
