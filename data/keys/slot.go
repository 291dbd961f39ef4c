package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"holdfast/data"
)

// Slot is one way to wrap and unwrap the root key: KeyFile, Passphrase, Recovery,
// Credential, AgeIdentity, AgeRecipient, AgeAnswer, NewShares, Shares.
// A Slot is a value to hand to CreateSlots, Unlock or Add; it prints nothing secret.
type Slot interface {
	Kind() Kind
	// prepare gets ready to make a slot: it may create a file or fill in c's cost.
	prepare(c *cell) error
	// secret gives the key that wraps c's root key. Slow by intent for passphrases.
	secret(c cell) ([]byte, error)
}

var (
	_ Slot = keyFile{}
	_ Slot = passphrase{}
	_ Slot = recovery{}
)

// The key file is one line of text: this, then the key as a recovery code's
// letters, whose check finds a damaged file.
const (
	keyFilePrefix = "holdfast-key-file-1 "
	keyFileLimit  = 4096
)

type keyFile struct{ path string }

// KeyFile is a slot opened by a file that only its owner can read. Making the
// slot creates the file (mode 0600, its folder 0700) unless it is there already.
// Keep it outside the data folder, else who copies the folder has both.
func KeyFile(path string) Slot { return keyFile{path} }

func (keyFile) Kind() Kind { return KindKeyFile }

func (f keyFile) prepare(*cell) error {
	_, err := os.Lstat(f.path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	return replaceFile(f.path, []byte(keyFilePrefix+formatCode(random32())+"\n"))
}

func (f keyFile) secret(c cell) ([]byte, error) {
	b, err := readPrivate(f.path, keyFileLimit)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	key, err := parseKeyFile(b)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", f.path, err)
	}
	return wrapKey(key, c), nil
}

func parseKeyFile(b []byte) (key [32]byte, err error) {
	text, ok := strings.CutPrefix(string(b), keyFilePrefix)
	if !ok {
		if strings.HasPrefix(string(b), "holdfast-key-file-") {
			return key, fmt.Errorf("unknown version: %w", data.ErrNewer)
		}
		return key, fmt.Errorf("not a holdfast key file: %w", data.ErrTampered)
	}
	key, err = parseCode(text)
	if err != nil {
		return key, fmt.Errorf("damaged: %w", data.ErrTampered)
	}
	return key, nil
}

// minPassphrase is the shortest passphrase, in characters, that makes a slot.
const minPassphrase = 12

// What a new passphrase slot costs (findings: 0.3 s on two cores), and the
// most that a slot from disk may ask of this machine.
var (
	newCost = cost{passes: 3, memory: 64 << 10, lanes: 4}
	maxCost = cost{passes: 16, memory: 1 << 20, lanes: 16}
)

type passphrase struct{ text []byte }

// Passphrase is a slot opened by what a person knows, through argon2id. Letters
// that look alike in Unicode's composed and decomposed forms count as equal.
func Passphrase(text []byte) Slot { return passphrase{norm.NFKC.Bytes(text)} }

func (passphrase) Kind() Kind { return KindPassphrase }

func (p passphrase) prepare(c *cell) error {
	if n := utf8.RuneCount(p.text); n < minPassphrase {
		return fmt.Errorf("%d characters, want at least %d: %w", n, minPassphrase, ErrWeak)
	}
	c.cost = newCost
	return nil
}

func (p passphrase) secret(c cell) ([]byte, error) {
	if !c.cost.sane() {
		return nil, fmt.Errorf("passphrase slot asks for cost %d/%d/%d: %w",
			c.cost.passes, c.cost.memory, c.cost.lanes, data.ErrTampered)
	}
	key := argon2.IDKey(p.text, c.salt[:], c.cost.passes, c.cost.memory, uint8(c.cost.lanes), 32)
	// The working memory is large and dead now; a server keeps running after this.
	debug.FreeOSMemory()
	return wrapKey([32]byte(key), c), nil
}

func (k cost) sane() bool {
	return k.passes > 0 && k.lanes > 0 && k.memory >= 8*k.lanes &&
		k.passes <= maxCost.passes && k.memory <= maxCost.memory && k.lanes <= maxCost.lanes
}

type recovery struct {
	code string
}

// NewRecovery makes a recovery key: the slot, and the code to show once and
// then forget.
func NewRecovery() (s Slot, code string) {
	code = formatCode(random32())
	return recovery{code}, code
}

// Recovery is a slot opened by a typed recovery key. Case, spaces and dashes do
// not matter, and 0/O, 1/I/L are taken for each other. A typo is ErrCode.
func Recovery(code string) Slot { return recovery{code} }

func (recovery) Kind() Kind { return KindRecovery }

func (r recovery) prepare(*cell) error {
	_, err := parseCode(r.code)
	return err
}

func (r recovery) secret(c cell) ([]byte, error) {
	key, err := parseCode(r.code)
	if err != nil {
		return nil, err
	}
	return wrapKey(key, c), nil
}

// wrapKey makes the key that wraps the root, alone for this slot by its salt.
func wrapKey(secret [32]byte, c cell) []byte {
	return expand(secret[:], c.salt[:], "holdfast/slots/v1|"+c.kind.String(), 32)
}

// Format hides what a slot is opened with.
func (f keyFile) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, "key-file ", f.path) }

// Format hides what a slot is opened with.
func (passphrase) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, "passphrase ", redacted) }

// Format hides what a slot is opened with.
func (recovery) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, "recovery ", redacted) }
