package identity

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

var keptSession = Session{ID: "0011223344556677", Person: "p-ada", Address: "192.0.2.1", Agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/140.0",
	Method: ByTOTP, Scope: "t-acme", Barred: []string{"t-beta", "t-other"}, Strong: true, Idle: time.Hour, Absolute: 24 * time.Hour,
	Created: time.Unix(1_800_000_000, 0).UTC(), Seen: time.Unix(1_800_000_060, 5).UTC(), Fresh: time.Unix(1_800_000_030, 0).UTC()}

// TestSessionBytes: the golden file holds what vaults have; JSON of older programs is read.
func TestSessionBytes(t *testing.T) {
	const golden = "testdata/session.hex"
	text, err := os.ReadFile(golden)
	must(t, err)
	want, err := hex.DecodeString(strings.TrimSpace(string(text)))
	must(t, err)
	equal(t, "bytes", hex.EncodeToString(keptSession.bytes()), hex.EncodeToString(want))
	older, err := json.Marshal(keptSession)
	must(t, err)
	for _, b := range [][]byte{want, older} {
		got, err := parseSession(b)
		must(t, err)
		if !reflect.DeepEqual(got, keptSession) {
			t.Errorf("got %+v", got)
		}
	}
	empty, err := parseSession(Session{}.bytes())
	must(t, err)
	equal(t, "empty", reflect.DeepEqual(empty, Session{}), true)
	for n := range want { // cut anywhere it is none
		if _, err := parseSession(want[:n]); err == nil {
			t.Errorf("%d bytes of it are read", n)
		}
	}
}

func FuzzParseSession(f *testing.F) {
	f.Add(keptSession.bytes())
	f.Add(Session{}.bytes())
	f.Add([]byte(`{"id":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSession(b)
		if err != nil || len(b) > 0 && b[0] == '{' {
			return
		}
		again, err := parseSession(s.bytes())
		must(t, err)
		if !reflect.DeepEqual(s, again) {
			t.Errorf("%+v became %+v", s, again)
		}
	})
}

func BenchmarkParseSession(b *testing.B) {
	older, err := json.Marshal(keptSession)
	must(b, err)
	for name, value := range map[string][]byte{"bytes": keptSession.bytes(), "json": older} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parseSession(value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
