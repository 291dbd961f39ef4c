package keys

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

func newTestShares(t *testing.T, need, of int) (s *Slots, root Root, texts []string) {
	t.Helper()
	slot, texts, err := NewShares(need, of)
	must(t, err)
	path, _, root := newTestSlots(t, slot)
	return openTestSlots(t, path), root, texts
}

// subsets calls fn with each choice of n of list.
func subsets(list []string, n int, fn func([]string)) {
	for bits := range 1 << len(list) {
		var some []string
		for i := range list {
			if bits&(1<<i) != 0 {
				some = append(some, list[i])
			}
		}
		if len(some) == n {
			fn(some)
		}
	}
}

func TestShares(t *testing.T) {
	s, root, texts := newTestShares(t, 3, 5)
	for n := 3; n <= 5; n++ {
		subsets(texts, n, func(some []string) {
			rand.Shuffle(len(some), func(i, k int) { some[i], some[k] = some[k], some[i] })
			opens(t, s, root, Shares(some...))
		})
	}
	for n := range 3 {
		subsets(texts, n, func(some []string) {
			_, err := s.Unlock(Shares(some...))
			wantErr(t, err, ErrFewShares)
		})
	}
	if got := s.List()[1]; got.Need != 3 || got.Of != 5 || len(got.Set) != 8 {
		t.Errorf("slot %+v", got)
	}
	info, err := s.CheckShare(strings.ToLower(texts[3]))
	must(t, err)
	if info.Index != 4 || info.Need != 3 || info.Of != 5 || info.Set != s.List()[1].Set {
		t.Errorf("share %+v", info)
	}
	for _, b := range [][2]int{{1, 5}, {0, 0}, {4, 3}, {3, 17}} {
		if _, _, err := NewShares(b[0], b[1]); err == nil {
			t.Errorf("%d of %d", b[0], b[1])
		}
	}
}

func TestWrongSharesAreNamed(t *testing.T) {
	s, _, texts := newTestShares(t, 3, 5)
	_, _, foreign := newTestShares(t, 3, 5)
	typo := []byte(texts[1])
	typo[20] = map[bool]byte{true: '7', false: '8'}[typo[20] == '8']
	forged, err := parseShare(texts[2])
	must(t, err)
	forged.value[0] ^= 1
	for _, c := range []struct {
		name   string
		shares []string
		says   string
	}{
		{"twice", []string{texts[0], texts[0], texts[1]}, "the 2nd share that was given: share 1 was given twice"},
		{"foreign", []string{texts[0], texts[1], foreign[2]}, "the 3rd share that was given: it is of set"},
		{"mistyped", []string{texts[0], string(typo), texts[2]}, "the 2nd share that was given: mistyped (it reads as share 2 of set"},
		{"forged", []string{texts[0], texts[1], forged.format()}, "it is not share 3 as it was handed out"},
		{"short", []string{texts[0], texts[1], texts[2][:30]}, "letters instead of 64"},
	} {
		_, err := s.Unlock(Shares(c.shares...))
		if wantErr(t, err, ErrShare); !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		if strings.Contains(err.Error(), texts[1][:9]) {
			t.Errorf("%s: the error repeats a share", c.name)
		}
	}
	for _, bad := range []string{foreign[0], string(typo), forged.format()} {
		_, err := s.CheckShare(bad)
		wantErr(t, err, ErrShare)
	}
}

// Any single wrong letter of a share is found before it is used.
func TestShareTypos(t *testing.T) {
	_, _, texts := newTestShares(t, 2, 3)
	for i := range texts[0] {
		if texts[0][i] == '-' {
			continue
		}
		b := []byte(texts[0])
		b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
		_, err := parseShare(string(b))
		wantErr(t, err, ErrShare)
	}
}

// The share sets of RFC 9591, appendix E (FROST over ristretto255, 2 of 3): the
// library under combine must give the group's secret of any two.
func TestSharesOfRFC9591(t *testing.T) {
	secret := "1b25a55e463cfd15cf14a5d3acc3d15053f08da49c8afcf3ab265f2ebc4f970b"
	values := []string{
		"5c3430d391552f6e60ecdc093ff9f6f4488756aa6cebdbad75a768010b8f830e",
		"b06fc5eac20b4f6e1b271d9df2343d843e1e1fb03c4cbb673f2872d459ce6f01",
		"f17e505f0e2581c6acfe54d3846a622834b5e7b50cad9a2109a97ba7a80d5c04",
	}
	var list []share
	for i, v := range values {
		b, err := hex.DecodeString(v)
		must(t, err)
		list = append(list, share{index: byte(i + 1), value: [32]byte(b)})
	}
	for _, pair := range [][]share{{list[0], list[1]}, {list[0], list[2]}, {list[1], list[2]}, {list[2], list[0]}} {
		key, err := combine(2, pair)
		must(t, err)
		if hex.EncodeToString(key[:]) != secret {
			t.Errorf("shares %d and %d give %x", pair[0].index, pair[1].index, key)
		}
	}
	if key, err := combine(2, []share{list[0], {index: 3, value: list[1].value}}); err != nil || hex.EncodeToString(key[:]) == secret {
		t.Errorf("a share under another index gives the secret (%v)", err)
	}
}

func FuzzShare(f *testing.F) {
	for _, text := range goldenSecrets(f)[3:] {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseShare(text)
		if err != nil {
			wantErr(t, err, ErrShare)
			return
		}
		if again, err := parseShare(s.format()); err != nil || again != s {
			t.Fatalf("its own form does not parse: %v", err)
		}
	})
}
