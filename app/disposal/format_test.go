package disposal

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/data"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
	}
}

var goldenTime = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)

func goldenEntries() map[string]entry {
	hash := [32]byte{1, 2, 3}
	links := []string{strings.Repeat("0a", 32), strings.Repeat("ff", 32)}
	_, vkey := testSigner("holdfast/test")
	return map[string]entry{
		"destroy": {Number: 1, Time: goldenTime, Kind: kindDestroy, ID: "d1", Stores: []data.StoreID{acme, {Tenant: acme.Tenant, Environment: "test"}}},
		"erase": {Number: 2, Time: goldenTime, Kind: kindErase, ID: "e1", Stores: []data.StoreID{acme}, Links: links[:1],
			Records: []record{{"pbc_1234", 1, hash}, {"_pb_users_auth_", 2, hash}}},
		"certificate": {Number: 3, Time: goldenTime, Kind: kindCertificate, ID: "d1", Sealed: []byte("sealed"), Links: links},
		"key":         {Number: 4, Time: goldenTime, Kind: kindKey, Key: vkey, Links: links},
	}
}

func TestEntryGolden(t *testing.T) {
	for name, e := range goldenEntries() {
		text := e.format()
		golden(t, "entry-"+name+".txt", []byte(text))
		again, err := parseEntry(text)
		if err != nil || again.format() != text {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEntryRefuses(t *testing.T) {
	good := goldenEntries()["erase"].format()
	for name, bad := range map[string]string{
		"nothing": "", "no end": strings.TrimSuffix(good, "\n"), "more": good + "\n", "unknown line": good + "note hello\n",
		"no time":  strings.Replace(good, "time 2026-01-02T03:04:05.678Z", "time 2026-01-02T03:04:05Z", 1),
		"number 0": strings.Replace(good, "number 2", "number 0", 1), "number 02": strings.Replace(good, "number 2", "number 02", 1),
		"two stores": strings.Replace(good, "store ", "store acme00000000000/test\nstore ", 1), "bad hash": strings.Replace(good, " 010203", " 01020z", 1),
		"kind": strings.Replace(good, "kind erase", "kind forget", 1), "destroy with records": strings.Replace(good, "kind erase", "kind destroy", 1),
	} {
		if _, err := parseEntry(bad); !errors.Is(err, errEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseEntry(strings.Replace(good, " v1\n", " v2\n", 1)); !errors.Is(err, data.ErrNewer) {
		t.Errorf("newer: %v", err)
	}
}

func goldenCertificate() Certificate {
	return Certificate{
		Format: certificateForm.Format(), ID: "d1", Appliance: "holdfast/test", Tenant: Subject{acme.Tenant, "acme"},
		Asked: Step{"person:p", goldenTime}, CarriedOut: Step{"system", goldenTime.Add(7 * 24 * time.Hour)}, How: "window",
		Stores: []Destruction{{Store: acme.String(), Environment: "prod", Files: 8, Bytes: 325100,
			Keys: []Key{{Purpose: "pages", Generation: 1, Fingerprint: strings.Repeat("ab", 16), Created: goldenTime, Destroyed: goldenTime}}}},
		Revoked: Revoked{2, 1}, Ledger: strings.Repeat("0a", 32), CannotPromise: []string{"<all> & \"more\""},
		Copies: []Copy{{Kind: "keyring", Where: "offsite", Objects: 1, Until: &goldenTime, Readable: true}},
	}
}

func signedGolden(t testing.TB) (text, signature []byte, vkey string) {
	t.Helper()
	text, err := goldenCertificate().text()
	if err != nil {
		t.Fatal(err)
	}
	sig, vkey, err := recorder{&world{}}.SignNote(t.Context(), string(text)+"\n")
	if err != nil {
		t.Fatal(err)
	}
	return text, []byte(sig), vkey
}

func TestCertificateGolden(t *testing.T) {
	text, signature, vkey := signedGolden(t)
	golden(t, "certificate.json", text)
	golden(t, "certificate.json.sig", signature)
	golden(t, "certificate.key", []byte(vkey+"\n"))
	c, err := CheckCertificate(text, signature, vkey+"\n")
	if err != nil || c.Tenant.Slug != "acme" || c.Stores[0].Keys[0].Fingerprint != strings.Repeat("ab", 16) {
		t.Errorf("%+v %v", c, err)
	}
}

// TestEachByteCounts flips every bit of certificate and signature.
func TestEachByteCounts(t *testing.T) {
	text, signature, vkey := signedGolden(t)
	for i := range len(text) + len(signature) {
		for bit := range 8 {
			b := append(bytes.Clone(text), signature...)
			b[i] ^= 1 << bit
			if _, err := CheckCertificate(b[:len(text)], b[len(text):], vkey); err == nil {
				t.Fatalf("byte %d bit %d: not found", i, bit)
			}
		}
	}
	_, other := testSigner("holdfast/other")
	if _, err := CheckCertificate(text, signature, other); !errors.Is(err, ErrCertificate) {
		t.Errorf("another's key: %v", err)
	}
	newer := bytes.Replace(text, []byte("disposal v1"), []byte("disposal v2"), 1)
	if _, err := ParseCertificate(newer); !errors.Is(err, data.ErrNewer) {
		t.Errorf("newer: %v", err)
	}
}

func TestObjectNames(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	name := objectName("deadbeef", 17, hash)
	if got, err := parseObjectName("deadbeef", name); got != hash || err != nil {
		t.Errorf("%s: %v", name, err)
	}
	for _, bad := range []string{name + "0", strings.Replace(name, "00000011", "11", 1), strings.ToUpper(name), "ledger/deadbeef/", "ledger/deadbeef/x-" + hash} {
		if _, err := parseObjectName("deadbeef", bad); !errors.Is(err, errEntry) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestSealedCertificate(t *testing.T) {
	w := newWorld(t)
	text, signature, vkey := signedGolden(t)
	row := disposalRow{ID: "d1", Slug: "acme", Tenant: acme.Tenant, Certificate: string(text), Signature: string(signature), VKey: vkey}
	sealed, err := w.sealCertificate(row)
	w.must(err)
	if bytes.Contains(sealed, []byte("acme")) {
		t.Error("it names the tenant")
	}
	if c, err := w.openCertificate("d1", sealed); err != nil || c.Slug != "acme" {
		t.Errorf("%+v %v", c, err)
	}
	for i := range sealed {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		if _, err := w.openCertificate("d1", b); err == nil {
			t.Fatalf("byte %d: not found", i)
		}
	}
	if _, err := w.openCertificate("d2", sealed); !errors.Is(err, data.ErrTampered) {
		t.Errorf("of another disposal: %v", err)
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, e := range goldenEntries() {
		f.Add(e.format())
	}
	f.Fuzz(func(t *testing.T, text string) {
		if e, err := parseEntry(text); err == nil && e.format() != text {
			t.Errorf("%q has another text", text)
		}
	})
}

func FuzzParseCertificate(f *testing.F) {
	text, _, _ := signedGolden(f)
	f.Add(text)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCertificate(b)
		if err != nil {
			return
		}
		if again, err := c.text(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q has another text (%v)", b, err)
		}
	})
}

func FuzzOpenEntry(f *testing.F) {
	key, err := newSigner([32]byte{1})
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range goldenEntries() {
		signed, err := key.sign(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(signed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, hash, err := openEntry(b, key.verifier)
		if err == nil && hashOf(e.format()) != hash {
			t.Error("the hash is not the text's")
		}
	})
}

func FuzzParseObjectName(f *testing.F) {
	f.Add(objectName("deadbeef", 1, strings.Repeat("0a", 32)))
	f.Fuzz(func(t *testing.T, name string) {
		if hash, err := parseObjectName("deadbeef", name); err == nil && !strings.HasSuffix(name, hash) {
			t.Errorf("%q gave %s", name, hash)
		}
	})
}
