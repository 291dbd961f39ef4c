package drill

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"holdfast/data"
)

var update = flag.Bool("update", false, "write the golden files anew")

var goldenTime = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

func goldenRow() drillRow {
	return drillRow{
		ID: "d1", Store: "acme00000000000/prod", Name: "acme", Target: "t1", TargetName: "offsite", Sequence: 7,
		Incarnation: "life", Position: 42, Point: goldenTime.UnixMilli(), Started: goldenTime.Add(time.Minute).UnixMilli(),
		Ended: goldenTime.Add(2 * time.Minute).UnixMilli(), OK: true, RTO: 1500, RPO: 0, RTOGoal: 1000, RPOGoal: 60_000,
		Bytes: 9085, Pages: 49, Records: 3, Files: 1, Compared: 2, Cause: asked, Actor: "host:0",
		Checks: `[{"name":"chain","state":"passed","text":"<all> & \"more\""}]`, Findings: `[]`,
	}
}

func goldenReport(t testing.TB) Report {
	t.Helper()
	d, err := goldenRow().drill()
	if err != nil {
		t.Fatal(err)
	}
	r := Report{Format: reportForm.Format(), ID: "d1", Made: goldenTime, By: "host:0", Stores: []Covered{}, Method: method}
	r.add(d)
	return r
}

// seal signs as the audit log does.
func seal(t testing.TB, text string) (signature, vkey string) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	vkey, err := note.NewEd25519VerifierKey("holdfast/test", key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: text + "\n"}, noteSigner{v, key})
	if err != nil {
		t.Fatal(err)
	}
	return string(signed[len(text)+2:]), vkey
}

type noteSigner struct {
	note.Verifier
	key ed25519.PrivateKey
}

func (s noteSigner) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

func golden(t testing.TB, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s (%v):\n%s", name, err, got)
	}
}

func TestReportGolden(t *testing.T) {
	s := &Service{config: Config{Signer: signerFunc(func(text string) (string, string) { return seal(t, strings.TrimSuffix(text, "\n")) })}}
	out, err := s.signReport(t.Context(), goldenReport(t))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", []byte(out.Report))
	golden(t, "report.json.sig", []byte(out.Signature))
	r, name, err := CheckReport([]byte(out.Report), []byte(out.Signature), out.VKey)
	if err != nil || name != "holdfast/test" || r.Summary.RTOMet != 0 || r.Summary.RTOSet != 1 || r.Summary.RPOMet != 1 {
		t.Errorf("%+v %s %v", r.Summary, name, err)
	}
}

// TestEachByteOfAReportCounts flips a bit of every byte of report and signature.
func TestEachByteOfAReportCounts(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	signature, vkey := seal(t, string(text))
	for i := range len(text) + len(signature) {
		b := append(bytes.Clone(text), signature...)
		b[i] ^= 1 << (i % 8)
		if _, _, err := CheckReport(b[:len(text)], b[len(text):], vkey); err == nil {
			t.Fatalf("byte %d: not found", i)
		}
	}
	newer := bytes.Replace(text, []byte("drills v1"), []byte("drills v2"), 1)
	if _, err := ParseReport(newer); !errors.Is(err, data.ErrNewer) {
		t.Errorf("newer: %v", err)
	}
	for name, bad := range map[string]string{"nothing": "", "a space": " " + string(text), "two": string(text) + "{}", "another thing": `{"format":"x"}`} {
		if _, err := ParseReport([]byte(bad)); !errors.Is(err, ErrReport) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "report.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := ParseReport(b); err != nil {
			return
		}
		signature, vkey := seal(t, string(b))
		if _, _, err := CheckReport(b, []byte(signature), vkey); err != nil {
			t.Errorf("%q cannot be signed: %v", b, err)
		}
	})
}
