package keys

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/data"
)

// With -update the golden files are made anew: only for a new format version.
var update = flag.Bool("update", false, "write the golden files")

const (
	goldenSlots = "testdata/v1.root.slots"
	goldenRing  = "testdata/v1.keyring"
	goldenKey   = "testdata/v1.key-file"
	goldenCode  = "testdata/v1.recovery-code"
)

func goldenRoot() Root {
	var key [32]byte
	for i := range key {
		key[i] = byte(i)
	}
	return Root{&key}
}

func readGolden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWriteGolden(t *testing.T) {
	if !*update {
		t.Skip("only with -update")
	}
	cheap(t)
	clock := func() time.Time { return time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC) }
	rec, code := NewRecovery()
	for _, name := range []string{goldenSlots, goldenKey, goldenRing, filepath.Join("testdata", PreviousFile)} {
		_ = os.Remove(name)
	}
	s := &Slots{path: goldenSlots, now: clock}
	added(t)(s.Add(goldenRoot(), KeyFile(goldenKey), Passphrase([]byte(phrase)), rec))
	must(t, os.WriteFile(goldenCode, []byte(code+"\n"), 0o600))
	r := newRing(t.TempDir(), goldenRoot(), content{})
	r.now = clock
	must(t, r.save(formatRing(goldenRoot(), content{serial: 1, salt: random32()}), 1, false))
	r.serial = 1
	must(t, r.Add(System, Pages, Vault))
	must(t, r.Add(acme, Pages))
	must(t, r.Rotate(acme, Pages))
	must(t, r.Add("gone/prod", Files))
	must(t, r.Destroy("gone/prod"))
	must(t, r.Add("parked/prod", Files))
	must(t, r.Park("parked/prod"))
	b := readGolden(t, filepath.Join(r.dir, RingFile))
	must(t, os.WriteFile(goldenRing, b, 0o600))
}

func TestGoldenSlots(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(key, readGolden(t, goldenKey), 0o600))
	s := &Slots{path: goldenSlots}
	must(t, s.parse(readGolden(t, goldenSlots)))
	for _, slot := range []Slot{KeyFile(key), Passphrase([]byte(phrase)), Recovery(string(readGolden(t, goldenCode)))} {
		root, err := s.Unlock(slot)
		must(t, err)
		if root.ID() != goldenRoot().ID() {
			t.Errorf("%v gives root %s", slot, root.ID())
		}
	}
	must(t, s.Check(goldenRoot()))
	for _, c := range s.cells {
		if !bytes.Equal(c.format(), c.raw) {
			t.Errorf("%s slot is written otherwise than it was read", c.kind)
		}
	}
}

func TestGoldenRing(t *testing.T) {
	c, err := parseRing(goldenRoot(), readGolden(t, goldenRing))
	must(t, err)
	r := newRing("", goldenRoot(), c)
	want := "gone/prod files 1 destroyed; " + string(acme) + " pages 1 retired; " + string(acme) + " pages 2 live; " +
		"parked/prod files 1 parked; system pages 1 live; system vault 1 live; "
	var got strings.Builder
	for _, e := range r.Entries() {
		got.WriteString(strings.Join([]string{string(e.Owner), string(e.Purpose), string('0' + rune(e.Generation)), string(e.State)}, " ") + "; ")
		if e.Created.Year() != 2026 || e.Changed.Before(e.Created) {
			t.Errorf("%s: created %s, changed %s", e.Owner, e.Created, e.Changed)
		}
	}
	if got.String() != want {
		t.Errorf("entries\n%s, want\n%s", got.String(), want)
	}
	for _, k := range c.records {
		if k.state == Destroyed {
			continue
		}
		key, err := unwrap(r.root, k)
		must(t, err)
		if !bytes.Equal(fingerprint(key), k.print[:]) {
			t.Errorf("%s %s: the fingerprint is not the key's", k.owner, k.purpose)
		}
	}
}

// The README's account of the keyring must be enough to read it: this does so
// with the standard library alone.
func TestGoldenRingByHand(t *testing.T) {
	b, root := readGolden(t, goldenRing), goldenRoot().key[:]
	body := open(t, hand(t, root, b[40:72], "holdfast/root/v1|keyring file"), b[72:len(b)-32], b[:72])
	n := int(body[0])
	owner, body := string(body[1:1+n]), body[1+n:]
	m := int(body[0])
	purpose, body := string(body[1:1+m]), body[1+m:]
	if owner != "gone/prod" || purpose != "files" || binary.BigEndian.Uint32(body) != 1 || body[4] != 4 {
		t.Fatalf("first entry: %q %q % x", owner, purpose, body[:5])
	}
	body = body[37:] // a destroyed entry has no wrap
	aad := append([]byte("holdfast/keyring/v1|entry|"), body[:1+len(acme)+1+5+4+1]...)
	wrap := body[len(aad)-26+8+8+16:][:60]
	if key := open(t, hand(t, root, nil, "holdfast/root/v1|keyring entry"), wrap, aad); len(key) != 32 {
		t.Fatalf("key of %d bytes", len(key))
	}
}

func hand(t *testing.T, secret, salt []byte, info string) []byte {
	t.Helper()
	key, err := hkdf.Key(sha256.New, secret, salt, info, 32)
	must(t, err)
	return key
}

func open(t *testing.T, key, sealed, aad []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	must(t, err)
	aead, err := cipher.NewGCM(block)
	must(t, err)
	plain, err := aead.Open(nil, sealed[:12], sealed[12:], aad)
	must(t, err)
	return plain
}

// newer makes the file one of the next version, sum and all.
func newer(b []byte) []byte {
	b = bytes.Clone(b)
	b[9]++
	return addSum(b[:len(b)-sumSize])
}

func TestNewerFormatsAreRefused(t *testing.T) {
	_, err := parseRing(goldenRoot(), newer(readGolden(t, goldenRing)))
	wantErr(t, err, data.ErrNewer)
	if !strings.Contains(err.Error(), "version 2") {
		t.Errorf("does not tell which: %v", err)
	}
	b := readGolden(t, goldenSlots)
	err = (&Slots{}).parse(append(bytes.Clone(b[:cellSize]), newer(b[cellSize:2*cellSize])...))
	wantErr(t, err, data.ErrNewer)
	_, err = parseKeyFile([]byte("holdfast-key-file-2 ABCD"))
	wantErr(t, err, data.ErrNewer)
}
