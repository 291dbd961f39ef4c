package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"holdfast/data"
)

// credential is a key file that the service manager hands to the process, out
// of a TPM or an encrypted store: systemd's $CREDENTIALS_DIRECTORY.
type credential struct{ path string }

var _ Slot = credential{}

// Credential is a slot opened by a credential of the service manager, in the form
// that NewKeyFile gives. Unlike a key file it is never made here, and its group may
// read it: systemd grants the service's user its right by an ACL, which shows so.
func Credential(path string) Slot { return credential{path} }

// NewKeyFile is the content of a new key file or credential: a secret to be
// piped to where it is kept, and to be forgotten.
func NewKeyFile() []byte { return []byte(keyFilePrefix + formatCode(random32()) + "\n") }

func (credential) Kind() Kind { return KindCredential }

func (credential) prepare(*cell) error { return nil }

func (f credential) secret(c cell) ([]byte, error) {
	b, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	key, err := parseKeyFile(b)
	if err != nil {
		return nil, fmt.Errorf("credential %s: %w", f.path, err)
	}
	return wrapKey(key, c), nil
}

func (f credential) read() ([]byte, error) {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", f.path, data.ErrNotFound)
	case err != nil:
		return nil, err
	case info.Mode().Perm()&0o027 != 0:
		return nil, fmt.Errorf("%s has mode %04o: %w", f.path, info.Mode().Perm(), ErrExposed)
	case !info.Mode().IsRegular() || info.Size() > keyFileLimit:
		return nil, fmt.Errorf("%s: not a file of at most %d bytes: %w", f.path, keyFileLimit, data.ErrTampered)
	}
	return os.ReadFile(f.path)
}

// Format hides what a slot is opened with.
func (f credential) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, "credential ", f.path) }
