package keys

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"holdfast/data"
)

func x25519(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func writeFile(t testing.TB, content []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "holdfast.key")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func opens(t *testing.T, s *Slots, root Root, slot Slot) string {
	t.Helper()
	got, id, err := s.Open(slot)
	must(t, err)
	if *got.key != *root.key {
		t.Fatalf("%v gives another root key", slot)
	}
	return id
}

func TestCredential(t *testing.T) {
	path, _, root := newTestSlots(t)
	s := openTestSlots(t, path)
	// systemd shows the right that its ACL grants as the group's.
	file := writeFile(t, NewKeyFile(), 0o440)
	added(t)(s.Add(root, Credential(file)))
	s = openTestSlots(t, path)
	if id := opens(t, s, root, Credential(file)); id != s.List()[1].ID || !s.List()[1].Unattended() {
		t.Errorf("slot %s of %+v", id, s.List())
	}
	wantErr(t, failed(s.Add(root, Credential(file+"x"))), data.ErrNotFound)
	wantErr(t, failed(s.Add(root, Credential(writeFile(t, NewKeyFile(), 0o444)))), ErrExposed)
	wantErr(t, failed(s.Add(root, Credential(writeFile(t, []byte("hunter2\n"), 0o400)))), data.ErrTampered)
	_, err := s.Unlock(Credential(writeFile(t, NewKeyFile(), 0o400)))
	wantErr(t, err, ErrWrongKey)
	if len(s.List()) != 2 {
		t.Errorf("a failed addition left a slot: %+v", s.List())
	}
}

func TestAgeIdentity(t *testing.T) {
	path, _, root := newTestSlots(t)
	s := openTestSlots(t, path)
	id := x25519(t)
	file := "# created: today\r\n# public key: " + id.Recipient().String() + "\r\n" + id.String() + "\r\n"
	added(t)(s.Add(root, AgeIdentity(file)))
	hybrid, err := age.GenerateHybridIdentity()
	must(t, err)
	added(t)(s.Add(root, AgeIdentity(hybrid.String())))
	s = openTestSlots(t, path)
	must(t, s.Check(root))
	opens(t, s, root, AgeIdentity(id.String()))
	opens(t, s, root, AgeIdentity(hybrid.String()))
	if got := s.List()[1]; got.Recipient != id.Recipient().String() || got.Unattended() {
		t.Errorf("slot %+v", got)
	}
	if got := s.List()[2].Recipient; got != hybrid.Recipient().String() {
		t.Errorf("recipient %s", got)
	}
	_, err = s.Unlock(AgeIdentity(x25519(t).String()))
	wantErr(t, err, ErrWrongKey)
	_, err = s.Unlock(AgeRecipient(id.Recipient().String()))
	wantErr(t, err, ErrWrongKey)
	for _, bad := range []string{"", "AGE-SECRET-KEY-1QQQQ", id.Recipient().String(), id.String()[:40]} {
		_, err = s.Unlock(AgeIdentity(bad))
		wantErr(t, err, ErrIdentity)
		if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the error repeats what was typed: %v", err)
		}
	}
}

// The identity never comes here: its holder decrypts the challenge elsewhere.
func TestAgeRecipientIsProvenFirst(t *testing.T) {
	path, _, root := newTestSlots(t)
	s := openTestSlots(t, path)
	id := x25519(t)
	wantErr(t, failed(s.Add(root, AgeRecipient(id.Recipient().String()))), ErrUnproven)
	_, err := s.Begin(root, AgeRecipient("age1nothing"))
	wantErr(t, err, ErrIdentity)
	p, err := s.Begin(root, AgeRecipient(" "+id.Recipient().String()+"\n"))
	must(t, err)
	_, other := NewRecovery()
	for _, wrong := range []Slot{AgeAnswer(other), AgeIdentity(x25519(t).String()), Recovery(other)} {
		wantErr(t, p.Prove(wrong), ErrWrongKey)
	}
	wantErr(t, p.Prove(AgeAnswer("x")), ErrCode)
	if n := len(openTestSlots(t, path).List()); n != 1 {
		t.Fatalf("%d slots before the proof", n)
	}
	r, err := age.Decrypt(bytes.NewReader(p.Challenge()), id)
	must(t, err)
	answer, err := io.ReadAll(r)
	must(t, err)
	must(t, p.Prove(AgeAnswer(string(answer))))
	wantErr(t, p.Prove(AgeAnswer(string(answer))), data.ErrExists)
	s = openTestSlots(t, path)
	must(t, s.Check(root))
	if got := opens(t, s, root, AgeIdentity(id.String())); got != p.ID() {
		t.Errorf("opened by %s, begun was %s", got, p.ID())
	}
	opens(t, s, root, AgeAnswer(string(answer)))
}

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

const (
	goldenKinds        = "testdata/v1.kinds.root.slots"
	goldenKindsSecrets = "testdata/v1.kinds.secrets"
)

// The second line of secrets is an identity, the third a hybrid one, then shares.
func TestWriteGoldenKinds(t *testing.T) {
	if !*update {
		t.Skip("only with -update")
	}
	cheap(t)
	_ = os.Remove(goldenKinds)
	hybrid, err := age.GenerateHybridIdentity()
	must(t, err)
	slot, texts, err := NewShares(3, 5)
	must(t, err)
	lines := append([]string{strings.TrimSpace(string(NewKeyFile())), x25519(t).String(), hybrid.String()}, texts...)
	s := &Slots{path: goldenKinds, now: func() time.Time { return time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC) }}
	added(t)(s.Add(goldenRoot(), Passphrase([]byte(phrase)), Credential(writeFile(t, []byte(lines[0]+"\n"), 0o600)),
		AgeIdentity(lines[1]), AgeIdentity(lines[2]), slot))
	must(t, os.WriteFile(goldenKindsSecrets, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
}

func goldenSecrets(t testing.TB) []string {
	return strings.Split(strings.TrimSpace(string(readGolden(t, goldenKindsSecrets))), "\n")
}

func TestGoldenKinds(t *testing.T) {
	secrets := goldenSecrets(t)
	s := &Slots{path: goldenKinds}
	must(t, s.parse(readGolden(t, goldenKinds)))
	must(t, s.Check(goldenRoot()))
	opens(t, s, goldenRoot(), Passphrase([]byte(phrase)))
	opens(t, s, goldenRoot(), Credential(writeFile(t, []byte(secrets[0]+"\n"), 0o400)))
	opens(t, s, goldenRoot(), AgeIdentity(secrets[1]))
	opens(t, s, goldenRoot(), AgeIdentity(secrets[2]))
	subsets(secrets[3:], 3, func(some []string) { opens(t, s, goldenRoot(), Shares(some...)) })
	subsets(secrets[3:], 2, func(some []string) {
		_, err := s.Unlock(Shares(some...))
		wantErr(t, err, ErrFewShares)
	})
	for _, c := range s.cells {
		if !bytes.Equal(c.format(), c.raw) {
			t.Errorf("%s slot is written otherwise than it was read", c.kind)
		}
	}
}

// Who mends a cell's sum after a change of the body is still found by the wrap.
func TestBodyIsBound(t *testing.T) {
	secrets, golden := goldenSecrets(t), readGolden(t, goldenKinds)
	ways := map[Kind]Slot{KindAge: AgeIdentity(secrets[1]), KindShares: Shares(secrets[3:6]...)}
	for i := 2; i < 5; i++ {
		cell := golden[i*cellSize : (i+1)*cellSize]
		kind := cellKind(cell)
		if i == 3 {
			continue // the hybrid one
		}
		n := int(cell[endWrap])<<8 | int(cell[endWrap+1])
		for at := atBody; at < atBody+n; at++ {
			b := bytes.Clone(cell[:cellSize-sumSize])
			b[at] ^= 1
			c, err := parseCell(addSum(b))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.unlock(ways[kind]); err == nil {
				t.Fatalf("%s: byte %d of the body can be changed", kind, at-atBody)
			}
		}
	}
}

// A program that knows fewer kinds keeps slots of the others as they are: this is
// how one that knows none of ours would see them, a kind further.
func TestUnknownKindIsKept(t *testing.T) {
	path, key, root := newTestSlots(t)
	b, err := os.ReadFile(path)
	must(t, err)
	later := bytes.Clone(b[:cellSize-sumSize])
	later[11] = byte(lastKind) + 1
	later[3000] = 7
	later = addSum(later)
	must(t, os.WriteFile(path, append(append(bytes.Clone(b[:cellSize]), later...), b[cellSize:]...), 0o600))
	s := openTestSlots(t, path)
	opens(t, s, root, KeyFile(key))
	added(t)(s.Add(root, Passphrase([]byte(phrase))))
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(after[cellSize:2*cellSize], later) {
		t.Error("the slot of a later version was changed")
	}
	wantErr(t, s.Remove(root, "nothing"), data.ErrNotFound)
}

func TestNewKindsPrintNothing(t *testing.T) {
	id := x25519(t)
	slot, texts, err := NewShares(2, 3)
	must(t, err)
	_, answer := NewRecovery()
	secrets := [][]byte{[]byte(id.String()), []byte(texts[0]), []byte(answer)}
	for _, v := range []Slot{AgeIdentity(id.String()), AgeRecipient(id.Recipient().String()), AgeAnswer(answer), slot, Shares(texts...), Credential("/x")} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			wantNone(t, verb, fmt.Sprintf(verb, v), secrets...)
		}
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

// Bodies that parse are written again as the same bytes.
func FuzzBodies(f *testing.F) {
	golden := readGolden(f, goldenKinds)
	for b := range slices.Chunk(golden, cellSize) {
		if c, err := parseCell(b); err == nil && c.kind != 0 {
			f.Add(c.body)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if b, err := parseAgeBody(raw); err == nil && !bytes.Equal(b.format(), raw) {
			t.Fatal("age: written otherwise than read")
		} else if err != nil && !refused(err) {
			t.Fatal(err)
		}
		b, err := parseSharesBody(raw)
		if err == nil && !bytes.Equal(b.format(), raw) {
			t.Fatal("shares: written otherwise than read")
		}
		if err != nil && !refused(err) {
			t.Fatal(err)
		}
	})
}
