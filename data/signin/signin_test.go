package signin

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

const longest = 256 // characters of a password that anybody may send

func TestLists(t *testing.T) {
	equal(t, "read", words().ok, true)
	if n := len(words().rank); n < 30_000 || !words().common["password"] || words().common["abandonment"] {
		t.Fatalf("%d words", n)
	}
}

// TestStrengthIsQuick: what anybody may send must not cost much.
func TestStrengthIsQuick(t *testing.T) {
	_ = words()
	begin := time.Now()
	for _, s := range []string{strings.Repeat("a", longest), strings.Repeat("ab1", longest/3), strings.Repeat("é", longest)} {
		_ = Bits(s)
		_ = Common(s)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Fatalf("took %v", took)
	}
	equal(t, "repeated", repeated("abcabc")+repeated("abcab")+repeated(""), "abcabcab")
}

func FuzzStrength(f *testing.F) {
	f.Add("correct horse battery")
	f.Add("\xff\x00")
	f.Fuzz(func(t *testing.T, password string) {
		if len(password) > 4*longest {
			return
		}
		if bits := Bits(password); bits < 0 || bits > 16*float64(len(password))+16 {
			t.Fatalf("%q: %v bits", password, bits)
		}
		_ = Common(password)
	})
}

func TestBackoff(t *testing.T) {
	now := time.Unix(1000, 0)
	b := NewBackoff(Patience{Free: 2, Longest: 8 * time.Second, Quiet: time.Minute}, func() time.Time { return now })
	var waits []time.Duration
	for range 7 {
		wait := b.Attempt("x")
		waits = append(waits, wait)
		now = now.Add(wait)
		if wait > 0 {
			equal(t, "after the wait", b.Attempt("x"), 0)
		}
	}
	want := []float64{0, 0, 1, 2, 4, 8, 8}
	for i := range want {
		equal(t, "wait in seconds", waits[i].Seconds(), want[i])
	}
	now = now.Add(2 * time.Minute)
	equal(t, "forgiven", b.Attempt("x"), 0)
	equal(t, "forgiven", b.Attempt("x"), 0)
	now = now.Add(2 * time.Minute)
	b.Sweep()
	equal(t, "swept", b.byName.Len(), 0)
	for i := range mostTracked + 10 {
		b.Attempt(string(rune(i)))
	}
	if b.byName.Len() > mostTracked {
		t.Fatalf("%d names are kept", b.byName.Len())
	}
}

// TestBackoffKeepsWaits: quiet time that is shorter than a wait does not end it.
func TestBackoffKeepsWaits(t *testing.T) {
	now := time.Unix(1000, 0)
	b := NewBackoff(Patience{Free: 1, Longest: time.Minute, Quiet: time.Minute}, func() time.Time { return now })
	p := Patience{Free: 1, Longest: time.Hour, Quiet: 2 * time.Hour}
	var wait time.Duration
	for range 13 { // 1 s, 2 s, ... 4096 s
		now = now.Add(wait)
		equal(t, "admitted", b.AttemptUnder(p, "", "x"), 0)
		wait = b.AttemptUnder(p, "", "x")
	}
	equal(t, "longest", wait, time.Hour)
	p.Quiet = time.Minute
	now = now.Add(30 * time.Minute)
	_ = b.AttemptUnder(p, "", "x")
	b.Sweep()
	equal(t, "left of the wait", b.AttemptUnder(p, "", "x"), 30*time.Minute)
	now = now.Add(31 * time.Minute)
	b.Sweep()
	equal(t, "swept after it", b.byName.Len(), 0)
}

func TestBackoffForgivesByItsPatience(t *testing.T) {
	now := time.Unix(1000, 0)
	b := NewBackoff(Patience{Free: 50, Longest: time.Minute, Quiet: time.Hour}, func() time.Time { return now })
	p := Patience{Free: 2, Longest: time.Minute, Quiet: time.Hour}
	for range 3 {
		now = now.Add(b.AttemptUnder(p, "a", "x"))
		_ = b.AttemptUnder(p, "a", "x")
	}
	b.ForgiveOf("a", "x")
	if b.AttemptUnder(p, "a", "x") == 0 {
		t.Error("one success forgave all")
	}
}

// TestShares: a flood takes from who floods.
func TestShares(t *testing.T) {
	s := NewShares[int](40, 100)
	for i := range 10 {
		s.Put("quiet", string(rune('a'+i)), i)
	}
	for i := range 1000 {
		for _, owner := range []string{"one", "two", "three"} {
			s.Put(owner, string(rune(i)), i)
		}
		if s.Len() > 100 || s.Count("one") > 40 {
			t.Fatal(s.Len(), s.Count("one"))
		}
	}
	equal(t, "the quiet one's", s.Count("quiet"), 10)
	v, ok := s.Get("quiet", "c")
	equal(t, "its value", v, 2)
	equal(t, "is there", ok, true)
	s.Drop(func(int) bool { return true })
	s.Delete("quiet", "c")
	equal(t, "left", s.Len()+len(s.byOwner), 0)
}

func TestBackoffIsSharedFairly(t *testing.T) {
	now := time.Unix(1000, 0)
	b := NewSharedBackoff(Patience{Free: 1, Longest: time.Minute, Quiet: time.Hour}, func() time.Time { return now })
	_ = b.AttemptUnder(b.Patience(), "quiet", "x")
	for i := range 2 * mostTracked {
		_ = b.AttemptUnder(b.Patience(), "flood", strconv.Itoa(i))
	}
	if b.byName.Count("flood") > trackedShare {
		t.Error(b.byName.Count("flood"))
	}
	equal(t, "still waits", b.AttemptUnder(b.Patience(), "quiet", "x"), time.Second)
}

func TestAddressOf(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[2001:db8:1:2:3::4]:80": "2001:db8:1:2::/64", "[::ffff:192.0.2.1]:9": "192.0.2.1",
		"[fe80::1%eth0]:1": "fe80::/64", "@": "@", "": "",
	} {
		equal(t, in, AddressOf(in), want)
	}
}
