package keys

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast/data"
)

// forms are the ways a secret could show.
func forms(secret []byte) []string {
	list := fmt.Sprint(secret)
	return []string{string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
		base64.StdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret),
		strings.Trim(list, "[]"), strings.ReplaceAll(strings.Trim(list, "[]"), " ", ",")}
}

func wantNone(t *testing.T, where, text string, secrets ...[]byte) {
	t.Helper()
	for _, s := range secrets {
		for _, form := range forms(s) {
			if strings.Contains(text, form) {
				t.Fatalf("%s shows a secret: %.200q", where, text)
			}
		}
	}
}

func TestNothingPrintsKeys(t *testing.T) {
	r, _, root := newTestRing(t)
	must(t, r.Add(acme, Pages))
	source := r.Source(acme, Pages)
	_, key := current(t, source)
	rec, code := NewRecovery()
	secrets := [][]byte{root.key[:], key[:], []byte(code), []byte(phrase)}
	struc := struct {
		Root Root
		Ring *Ring
		Slot Slot
	}{root, r, rec}
	for _, v := range []any{root, &root, r, source, rec, Passphrase([]byte(phrase)), struc, &struc, r.Entries()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			wantNone(t, verb, fmt.Sprintf(verb, v), secrets...)
		}
		b, _ := json.Marshal(v)
		wantNone(t, "json", string(b), secrets...)
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		wantNone(t, "slog", log.String(), secrets...)
	}
	if got := fmt.Sprint(root); got != redacted {
		t.Errorf("a root key prints as %q", got)
	}
}

func TestErrorsTellNoSecrets(t *testing.T) {
	path, _, root := newTestSlots(t, Passphrase([]byte(phrase)))
	s := openTestSlots(t, path)
	_, code := NewRecovery()
	typed := code[:len(code)-1] + "?"
	for _, err := range []error{
		lose(s.Unlock(Passphrase([]byte("wrong "+phrase)), Recovery(typed), Recovery(code))),
		failed(s.Add(root, Recovery(typed))), failed(s.Add(newTestRoot(), KeyFile(path))),
	} {
		if err == nil {
			t.Fatal("no error")
		}
		wantNone(t, "error", err.Error(), root.key[:], []byte(code), []byte(typed), []byte(phrase))
	}
}

func lose(_ Root, err error) error { return err }

func failed(_ []string, err error) error { return err }

func added(t *testing.T) func([]string, error) {
	return func(ids []string, err error) {
		t.Helper()
		must(t, err)
		if len(ids) == 0 {
			t.Fatal("no id of the slot that was added")
		}
	}
}

// The canary: no key in clear in any file, from creation to destruction.
func TestNoKeyOnDisk(t *testing.T) {
	rec, code := NewRecovery()
	path, keyFile, root := newTestSlots(t, rec, Passphrase([]byte(phrase)))
	dir := filepath.Dir(path)
	r, err := CreateRing(dir, root)
	must(t, err)
	must(t, r.Add(acme, Pages, Files))
	_, key := current(t, r.Source(acme, Pages))
	must(t, r.Rotate(acme, Pages))
	must(t, r.Park(acme))
	must(t, r.Destroy(acme))
	raw, err := parseCode(code)
	must(t, err)
	must(t, filepath.WalkDir(filepath.Dir(filepath.Dir(dir)), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		wantNone(t, name, string(b), root.key[:], key[:], raw[:], []byte(code), []byte(phrase))
		if strings.HasSuffix(name, ".tmp") {
			t.Errorf("%s was left behind", name)
		}
		return err
	}))
	if _, err := os.Stat(keyFile); err != nil {
		t.Fatal(err)
	}
}

// What a Destroy leaves of the file it replaced: the blocks are overwritten.
func TestDestroyOverwritesOldFiles(t *testing.T) {
	r, dir, _ := newTestRing(t)
	must(t, r.Add(acme, Pages))
	wrap := bytes.Clone(r.owners[acme][0].wrap)
	var held []*os.File
	for _, name := range []string{RingFile, PreviousFile} {
		f, err := os.Open(filepath.Join(dir, name))
		must(t, err)
		defer f.Close()
		held = append(held, f)
	}
	must(t, r.Destroy(acme))
	for _, f := range held {
		info, err := f.Stat()
		must(t, err)
		b := make([]byte, info.Size())
		_, err = f.ReadAt(b, 0)
		must(t, err)
		if len(bytes.Trim(b, "\x00")) != 0 || bytes.Contains(b, wrap) {
			t.Errorf("%s was unlinked without being overwritten", f.Name())
		}
	}
}

func TestSealWipes(t *testing.T) {
	r, dir, root := newTestRing(t)
	must(t, r.Add(acme, Pages))
	source := r.Source(acme, Pages)
	current(t, source)
	kept := r.open[recordName{acme, Pages, 1}]
	copied := *root.key
	r.Seal()
	if *kept != [32]byte{} || *root.key != [32]byte{} {
		t.Error("a key is still in memory")
	}
	_, _, err := source.Current()
	wantErr(t, err, data.ErrSealed)
	_, err = source.Generation(1)
	wantErr(t, err, data.ErrSealed)
	wantErr(t, r.Add("x/prod", Pages), data.ErrSealed)
	wantErr(t, r.Check(), data.ErrSealed)
	current(t, reopen(t, dir, Root{&copied}).Source(acme, Pages))
}

func TestDestroyWipesMemory(t *testing.T) {
	r, _, _ := newTestRing(t)
	must(t, r.Add(acme, Pages))
	current(t, r.Source(acme, Pages))
	kept := r.open[recordName{acme, Pages, 1}]
	must(t, r.Destroy(acme))
	if *kept != [32]byte{} {
		t.Error("the destroyed key is still in memory")
	}
}

func TestRewrap(t *testing.T) {
	r, dir, old := newTestRing(t)
	must(t, r.Add(acme, Pages))
	must(t, r.Add("gone/prod", Pages))
	must(t, r.Destroy("gone/prod"))
	_, key := current(t, r.Source(acme, Pages))
	next := newTestRoot()
	must(t, r.Rewrap(next))
	_, err := OpenRing(dir, old)
	wantErr(t, err, ErrWrongKey)
	for _, ring := range []*Ring{r, reopen(t, dir, next)} {
		if _, got := current(t, ring.Source(acme, Pages)); got != key {
			t.Fatal("another key under the new root")
		}
		must(t, ring.Check())
	}
}

func TestConcurrentUse(t *testing.T) {
	r, dir, root := newTestRing(t)
	must(t, r.Add(System, Pages))
	var wg sync.WaitGroup
	for i := range 8 {
		owner := Owner(fmt.Sprintf("t%d/prod", i))
		wg.Go(func() {
			for _, err := range []error{r.Add(owner, Pages, Files), r.Rotate(owner, Pages), r.Park(owner), r.Unpark(owner)} {
				if err != nil {
					t.Error(err)
				}
			}
			if i%2 == 0 {
				if err := r.Destroy(owner); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 200 {
				if _, _, err := r.Source(System, Pages).Current(); err != nil {
					t.Error(err)
				}
				_, _, _ = r.Source(owner, Pages).Current()
				_ = r.Entries()
			}
		})
	}
	wg.Wait()
	if got, want := fmt.Sprint(reopen(t, dir, root).Entries()), fmt.Sprint(r.Entries()); got != want {
		t.Errorf("on disk %s, in memory %s", got, want)
	}
}
