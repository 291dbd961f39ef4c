package review

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"holdfast/app/api/signed"
	"holdfast/data"
)

var update = flag.Bool("update", false, "write the golden files anew")

var goldenTime = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// seal signs as the audit log does.
func seal(_ testing.TB, text string) (signature, vkey string) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	vkey, err := note.NewEd25519VerifierKey("holdfast/test", key.Public().(ed25519.PublicKey))
	if err != nil {
		panic(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		panic(err)
	}
	out, err := note.Sign(&note.Note{Text: text + "\n"}, noteSigner{v, key})
	if err != nil {
		panic(err)
	}
	return string(out[len(text)+2:]), vkey
}

type noteSigner struct {
	note.Verifier
	key ed25519.PrivateKey
}

func (s noteSigner) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

func goldenReport() Report {
	at := goldenTime.Add(time.Hour)
	return Report{Format: reportForm.Format(), ID: "r1", Scope: "t-acme", Name: "acme", Cause: schedule, Started: goldenTime, StartedBy: "system",
		Due: goldenTime.Add(14 * day), Closed: at, Summary: Summary{Items: 2, Confirmed: 1, Lapsed: 1}, Method: method,
		Items: []Item{
			{ID: "i1", Kind: KindGrant, Held: "g1", Holder: "person:p1", Name: "Ada <L>", Detail: "ada@example.com", Role: "owner", Since: goldenTime, Used: &goldenTime,
				Decision: Confirmed, Note: "needed", Decided: &at, DecidedBy: "person:p2"},
			{ID: "i2", Kind: KindKey, Held: "k1", Store: "t-acme/prod", Name: "web", Detail: "prod: all collections", Role: "read", Since: goldenTime, Until: &at,
				Decision: Lapsed, Decided: &at, DecidedBy: "system"},
		}}
}

func TestReportGolden(t *testing.T) {
	text, err := signed.Text(goldenReport())
	must(t, err)
	path := filepath.Join("testdata", "report.json")
	if *update {
		must(t, os.WriteFile(path, text, 0o600))
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(text, want) {
		t.Errorf("%s (%v):\n%s", path, err, text)
	}
	signature, vkey := seal(t, string(text))
	r, name, err := CheckReport(text, []byte(signature), vkey)
	must(t, err)
	equal(t, "appliance", name, "holdfast/test")
	equal(t, "items", len(r.Items), 2)
}

// TestEachByteOfAReportCounts flips a bit of every byte of report and signature.
func TestEachByteOfAReportCounts(t *testing.T) {
	text, err := signed.Text(goldenReport())
	must(t, err)
	signature, vkey := seal(t, string(text))
	for i := range len(text) + len(signature) {
		b := append(bytes.Clone(text), signature...)
		b[i] ^= 1 << (i % 8)
		if _, _, err := CheckReport(b[:len(text)], b[len(text):], vkey); err == nil {
			t.Fatalf("byte %d: not found", i)
		}
	}
	newer := bytes.Replace(text, []byte("review v1"), []byte("review v2"), 1)
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
	text, err := signed.Text(goldenReport())
	must(f, err)
	f.Add(text)
	f.Add([]byte("{}"))
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
