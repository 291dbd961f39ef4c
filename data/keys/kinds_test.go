package keys

import (
	"bytes"
	"fmt"
	"io"
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
