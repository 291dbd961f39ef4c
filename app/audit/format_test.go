package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"holdfast/data"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

func goldenLeaf() leaf {
	l := leaf{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC), Action: "record.update", Outcome: "ok",
		Position: data.Position{Incarnation: "k3jd92mmx0a1", Sequence: 42},
	}
	copy(l.Commitment[:], bytes.Repeat([]byte{0xa5}, 32))
	return l
}

func TestGoldenFormats(t *testing.T) {
	text, err := formatLeaf(goldenLeaf())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "leaf.txt", text)
	golden(t, "record.bin", formatRecord(record{Generation: 7, Leaf: text, Sealed: []byte("nonce, ciphertext, tag")}))
	golden(t, "erased.bin", formatRecord(record{Erased: true, Generation: 7, Leaf: text}))
	s, err := newSigner("holdfast/0011223344556677", [32]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.checkpoint("acme0000000000a/prod", tlog.Tree{N: 42, Hash: tlog.RecordHash(text)})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "checkpoint.txt", []byte(signed))
	st := state{Version: stateVersion, Size: 42, Checkpoint: signed, Kept: 1, Began: data.Position{Incarnation: "k3jd92mmx0a1"}, Follow: goldenLeaf().Position}
	text, err = json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "state.json", text)
	if again, err := parseState(text); err != nil || again != st {
		t.Errorf("got %+v, %v", again, err)
	}
}

func TestLeafRoundTrip(t *testing.T) {
	plain := goldenLeaf()
	plain.Position = data.Position{}
	for _, want := range []leaf{goldenLeaf(), plain} {
		text, err := formatLeaf(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseLeaf(text); err != nil || got != want {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

func TestParseLeafRefuses(t *testing.T) {
	text, _ := formatLeaf(goldenLeaf())
	good := string(text)
	for name, bad := range map[string]string{
		"empty": "", "title": strings.Replace(good, "v1", "v2", 1), "line more": good + "\n", "line less": good[:len(good)-1],
		"time": strings.Replace(good, "2026", "26", 1), "zone": strings.Replace(good, "Z\n", "+00:00\n", 1),
		"outcome": strings.Replace(good, " ok", "", 1), "sequence": strings.Replace(good, " 42", " 042", 1),
		"sequence below zero": strings.Replace(good, " 42", " -1", 1), "commitment": strings.Replace(good, "paWl", "paW", 1),
		"commitment bits": strings.Replace(good, "aU=", "aV=", 1),
	} {
		if _, err := parseLeaf([]byte(bad)); !errors.Is(err, errLeaf) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestParseRecordRefuses(t *testing.T) {
	good := formatRecord(record{Generation: 1, Leaf: []byte("leaf"), Sealed: []byte("sealed")})
	change := func(i int, b byte) []byte { c := bytes.Clone(good); c[i] = b; return c }
	for name, bad := range map[string][]byte{
		"empty": nil, "version 0": change(0, 0), "flags": change(1, 2), "erased with body": change(1, flagErased),
		"length": change(6, 1), "no body": good[:recordHeader+4],
	} {
		if _, err := parseRecord(bad); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := parseRecord(change(0, 2)); !errors.Is(err, data.ErrNewer) {
		t.Errorf("got %v", err)
	}
}

func TestBodyIsBoundToLogLeafAndKey(t *testing.T) {
	keys, c := newKeys("a"), newCiphers()
	r, err := c.seal("a/prod", keys, goldenLeaf(), body{Actor: "person:anna", Target: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := c.open("a/prod", keys, r); err != nil || b.Actor != "person:anna" {
		t.Fatalf("got %+v, %v", b, err)
	}
	if _, err := c.open("b/prod", keys, r); !errors.Is(err, data.ErrTampered) {
		t.Errorf("another log: got %v", err)
	}
	if _, err := c.open("a/prod", newKeys("b"), r); !errors.Is(err, data.ErrTampered) {
		t.Errorf("another key: got %v", err)
	}
	other, _ := c.seal("a/prod", keys, goldenLeaf(), body{Actor: "person:ben"})
	if _, err := c.open("a/prod", keys, record{Generation: 1, Leaf: r.Leaf, Sealed: other.Sealed}); !errors.Is(err, data.ErrTampered) {
		t.Errorf("another body: got %v", err)
	}
	keys.rotate()
	if _, err := c.open("a/prod", keys, r); err != nil {
		t.Errorf("after rotation: %v", err)
	}
}

func TestSameBodyCommitsDifferently(t *testing.T) {
	keys, c := newKeys("a"), newCiphers()
	one, _ := c.seal("a/prod", keys, goldenLeaf(), body{Actor: "person:anna"})
	two, _ := c.seal("a/prod", keys, goldenLeaf(), body{Actor: "person:anna"})
	if bytes.Equal(one.Leaf, two.Leaf) {
		t.Error("a commitment without salt lets anybody guess the body")
	}
}

func TestCheckpointRefuses(t *testing.T) {
	s, _ := newSigner("holdfast/x", [32]byte{1})
	other, _ := newSigner("holdfast/x", [32]byte{2})
	v, err := note.NewVerifier(s.vkey)
	if err != nil {
		t.Fatal(err)
	}
	tree := tlog.Tree{N: 3, Hash: tlog.RecordHash([]byte("x"))}
	good, _ := s.checkpoint("a/prod", tree)
	forged, _ := other.checkpoint("a/prod", tree)
	if got, err := openCheckpoint(good, "holdfast/x/a/prod", note.VerifierList(v)); err != nil || got != tree {
		t.Fatalf("got %v, %v", got, err)
	}
	for name, bad := range map[string]string{
		"forged": forged, "size": strings.Replace(good, "\n3\n", "\n4\n", 1), "empty": "", "cut": good[:len(good)-10],
	} {
		if _, err := openCheckpoint(bad, "holdfast/x/a/prod", note.VerifierList(v)); !errors.Is(err, errCheckpoint) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := openCheckpoint(good, "holdfast/x/b/prod", note.VerifierList(v)); !errors.Is(err, errCheckpoint) {
		t.Errorf("another log: got %v", err)
	}
}

func FuzzParseLeaf(f *testing.F) {
	text, _ := formatLeaf(goldenLeaf())
	f.Add(text)
	f.Add([]byte("holdfast audit leaf v1\n\n\n\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseLeaf(b)
		if err != nil {
			return
		}
		if again, err := formatLeaf(l); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q parses but formats as %q", b, again)
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	f.Add(formatRecord(record{Generation: 7, Leaf: []byte("leaf"), Sealed: []byte("sealed")}))
	f.Add(formatRecord(record{Erased: true, Leaf: []byte("leaf")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err == nil && !bytes.Equal(formatRecord(r), b) {
			t.Errorf("%x parses but formats as %x", b, formatRecord(r))
		}
	})
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add("holdfast/x/a/prod\n42\npaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaU=\n")
	f.Fuzz(func(t *testing.T, text string) {
		origin, tree, err := parseCheckpoint(text)
		if err == nil && !strings.HasPrefix(text, formatCheckpoint(origin, tree)[:len(origin)+1]) {
			t.Errorf("%q parses as another text", text)
		}
	})
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte(`{"v":1,"size":3,"checkpoint":"x","followed":{"incarnation":"a","sequence":2}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseState(b); err == nil && (s.Size < 0 || s.Kept > s.Size) {
			t.Errorf("%q gives %+v", b, s)
		}
	})
}
