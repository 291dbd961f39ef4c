package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/y"

	"holdfast/data"
)

// The vault's own entry tells the format of the whole; a Sub prefix cannot be
// empty, so no room can have this key.
const formatVersion = 1

var formatKey = []byte("\x00format")

// checkFormat writes the format's version into a new vault and reads it from an
// old one, which also proves the keys.
func (v *Vault) checkFormat() error {
	tx := v.db.NewTransaction(true)
	defer tx.Discard()
	t := &Tx{v: v, txn: tx}
	b, err := t.Get(formatKey)
	if errors.Is(err, data.ErrNotFound) {
		return v.writeFormat(t)
	}
	if err != nil {
		return err
	}
	if len(b) != 1 || b[0] == 0 {
		return data.ErrTampered
	}
	if b[0] > formatVersion {
		return fmt.Errorf("format %d, this program knows %d: %w", b[0], formatVersion, data.ErrNewer)
	}
	return nil
}

func (v *Vault) writeFormat(t *Tx) error {
	if err := t.Set(formatKey, []byte{formatVersion}); err != nil {
		return err
	}
	return t.txn.Commit()
}

// outerKey finds the generation that badger's own encryption stands under, and
// brings it to the newest: badger can do that only while it is closed.
func outerKey(dir string, keys data.KeySource) ([]byte, error) {
	newest, key, err := keys.Current()
	if err != nil {
		return nil, err
	}
	want := expand(key, infoOuter)
	if _, err := os.Stat(filepath.Join(dir, badger.KeyRegistryFileName)); errors.Is(err, fs.ErrNotExist) {
		return want, checkEmpty(dir)
	}
	registry, err := openRegistry(dir, want)
	if err == nil {
		return want, nil
	}
	for g := newest - 1; g > 0 && errors.Is(err, badger.ErrEncryptionKeyMismatch); g-- {
		if key, kerr := keys.Generation(g); kerr == nil {
			registry, err = openRegistry(dir, expand(key, infoOuter))
		}
	}
	if err != nil {
		return nil, foreign(err)
	}
	return want, badger.WriteKeyRegistry(registry, badger.KeyRegistryOptions{Dir: dir, EncryptionKey: want})
}

func openRegistry(dir string, key []byte) (*badger.KeyRegistry, error) {
	return badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: dir, ReadOnly: true, EncryptionKey: key})
}

// foreign says badger's errors in the words of the house.
func foreign(err error) error {
	switch {
	case errors.Is(err, badger.ErrEncryptionKeyMismatch):
		return ErrWrongKey
	case errors.Is(err, y.ErrChecksumMismatch), errors.Is(err, badger.ErrInvalidDataKeyID):
		return fmt.Errorf("%w (%w)", data.ErrTampered, err)
	case errors.Is(err, badger.ErrTxnTooBig):
		return ErrTooBig
	case errors.Is(err, badger.ErrReadOnlyTxn):
		return ErrReadOnly
	case errors.Is(err, badger.ErrDBClosed), errors.Is(err, badger.ErrBlockedWrites):
		return data.ErrSealed
	case err != nil && strings.Contains(err.Error(), "Cannot acquire directory lock"):
		return fmt.Errorf("%w (%w)", data.ErrBusy, err)
	}
	return err
}

// guard turns badger's panics over damaged files into errors.
func guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w (badger: %v)", data.ErrTampered, p)
		}
	}()
	return fn()
}
