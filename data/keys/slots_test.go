package keys

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/data"
)

const phrase = "correct horse battery staple"

// cheap makes passphrase slots fast for a test.
func cheap(t *testing.T) {
	t.Helper()
	old := newCost
	newCost = cost{1, 64, 1}
	t.Cleanup(func() { newCost = old })
}

func newTestSlots(t *testing.T, more ...Slot) (path, keyFile string, root Root) {
	t.Helper()
	cheap(t)
	dir := t.TempDir()
	path, keyFile = filepath.Join(dir, "data", "keys", "root.slots"), filepath.Join(dir, "config", "holdfast.key")
	root, err := CreateSlots(path, append([]Slot{KeyFile(keyFile)}, more...)...)
	must(t, err)
	return path, keyFile, root
}

func openTestSlots(t *testing.T, path string) *Slots {
	t.Helper()
	s, err := OpenSlots(path)
	must(t, err)
	return s
}

func TestEachSlotOpens(t *testing.T) {
	rec, code := NewRecovery()
	path, key, root := newTestSlots(t, Passphrase([]byte(phrase)), rec)
	s := openTestSlots(t, path)
	for _, slot := range []Slot{
		KeyFile(key), Passphrase([]byte(phrase)), Recovery(code),
		Recovery(strings.ToLower(strings.ReplaceAll(code, "-", "  "))),
		Recovery(strings.NewReplacer("0", "o", "1", "l").Replace(code)),
	} {
		got, err := s.Unlock(slot)
		must(t, err)
		if *got.key != *root.key {
			t.Fatalf("%v gives another root key", slot)
		}
	}
	if err := s.Check(root); err != nil {
		t.Fatal(err)
	}
	_, err := CreateSlots(path, KeyFile(key))
	wantErr(t, err, data.ErrExists)
	for _, name := range []string{path, key} {
		if info, _ := os.Stat(name); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		if info, _ := os.Stat(filepath.Dir(name)); info.Mode().Perm() != 0o700 {
			t.Errorf("folder of %s has mode %v", name, info.Mode())
		}
	}
}

func TestWrongSecrets(t *testing.T) {
	path, key, _ := newTestSlots(t, Passphrase([]byte(phrase)))
	s := openTestSlots(t, path)
	_, err := s.Unlock(Passphrase([]byte(phrase + "r")))
	wantErr(t, err, ErrWrongKey)
	_, other := NewRecovery()
	_, err = s.Unlock(Recovery(other))
	wantErr(t, err, ErrWrongKey)
	_, err = s.Unlock(KeyFile(key + ".missing"))
	wantErr(t, err, data.ErrNotFound)
	must(t, os.Chmod(key, 0o640))
	_, err = s.Unlock(KeyFile(key))
	wantErr(t, err, ErrExposed)
	if !strings.Contains(err.Error(), "chmod 600 "+key) {
		t.Errorf("no word on how to mend it: %v", err)
	}
	must(t, os.Chmod(path, 0o604))
	_, err = OpenSlots(path)
	wantErr(t, err, ErrExposed)
	_, err = OpenSlots(path + "x")
	wantErr(t, err, data.ErrNotFound)
}

func TestRecoveryCodeTypos(t *testing.T) {
	_, code := NewRecovery()
	for i := range code {
		if code[i] == '-' {
			continue
		}
		b := []byte(code)
		b[i] = 'A'
		if code[i] == 'A' {
			b[i] = 'B'
		}
		_, err := parseCode(string(b))
		wantErr(t, err, ErrCode)
		if strings.Contains(err.Error(), string(b[:9])) {
			t.Fatal("the error repeats the code")
		}
	}
	for _, bad := range []string{"", code[1:], code + "A", strings.Replace(code, code[:1], "U", 1), "passphrase"} {
		_, err := parseCode(bad)
		wantErr(t, err, ErrCode)
	}
}

func TestAddRemove(t *testing.T) {
	path, key, root := newTestSlots(t)
	s := openTestSlots(t, path)
	only := s.List()[0]
	wantErr(t, s.Remove(root, only.ID), ErrLastSlot)
	wantErr(t, failed(s.Add(root, Passphrase([]byte("short")))), ErrWeak)
	wantErr(t, failed(s.Add(newTestRoot(), Passphrase([]byte(phrase)))), ErrWrongKey)
	wantErr(t, failed(s.Add(Root{}, Passphrase([]byte(phrase)))), data.ErrSealed)
	added(t)(s.Add(root, Passphrase([]byte(phrase))))
	wantErr(t, s.Remove(root, "nothing"), data.ErrNotFound)
	must(t, s.Remove(root, only.ID))
	s = openTestSlots(t, path)
	if list := s.List(); len(list) != 1 || list[0].Kind != "passphrase" || list[0].Damaged {
		t.Fatalf("slots %+v", list)
	}
	_, err := s.Unlock(KeyFile(key))
	wantErr(t, err, ErrWrongKey)
	must(t, s.Check(root))
}
