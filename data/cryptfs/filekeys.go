package cryptfs

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"holdfast/data"
)

const nameKeyFile = "names"

// newPrefix begins a file under the current generation.
func (f *Files) newPrefix(info data.FileInfo) (prefix, cipher.AEAD, error) {
	n, err := infoLength(info)
	if err != nil {
		return prefix{}, nil, err
	}
	generation, key, err := f.keys.Current()
	if err != nil {
		return prefix{}, nil, fmt.Errorf("current file key: %w", err)
	}
	if generation > maxGeneration {
		return prefix{}, nil, fmt.Errorf("current file key: generation %d does not fit three bytes", generation)
	}
	p := prefix{generation: generation, info: n}
	rand.Read(p.salt[:])
	aead, err := f.fileKey(key, p)
	return p, aead, err
}

// aead gives the key of a file that exists.
func (f *Files) aead(p prefix) (cipher.AEAD, error) {
	key, err := f.keys.Generation(p.generation)
	if errors.Is(err, data.ErrNotFound) {
		return nil, fmt.Errorf("no key of generation %d: %w", p.generation, errUnsealed)
	}
	if err != nil {
		return nil, fmt.Errorf("file key of generation %d: %w", p.generation, err)
	}
	return f.fileKey(key, p)
}

func (f *Files) fileKey(key [32]byte, p prefix) (cipher.AEAD, error) {
	return deriveAEAD(key, p.salt[:], "holdfast/cryptfs/v1|file|"+f.identity)
}

// loadNameKey reads the secret that names on disk are made with, or makes it. It
// is a sealed file itself, so that it outlives a change of keys.
func (f *Files) loadNameKey() error {
	path := filepath.Join(f.dir, nameKeyFile)
	key, err := f.readNameKey(path)
	if !errors.Is(err, data.ErrNotFound) {
		f.nameKey = key
		return err
	}
	if err := f.mustBeEmpty(); err != nil {
		return err
	}
	key = make([]byte, 32)
	rand.Read(key)
	if _, err := f.write(path, data.FileInfo{Name: nameKeyFile}, key); err != nil {
		return err
	}
	f.nameKey = key
	return nil
}

// mustBeEmpty keeps a lost name key from being replaced by a new one, under which
// no file would be found.
func (f *Files) mustBeEmpty() error {
	entries, err := os.ReadDir(f.dir)
	for _, e := range entries {
		if len(e.Name()) == macLength {
			return &FileError{Path: filepath.Join(f.dir, nameKeyFile), Chunk: -1, Reason: "is missing where there are files"}
		}
	}
	return err
}

func (f *Files) readNameKey(path string) ([]byte, error) {
	r, err := f.openSealed(path, nameKeyFile)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	key := make([]byte, 32)
	if r.info.Size != int64(len(key)) {
		return nil, &FileError{Path: path, Chunk: -1, Reason: "is no name key"}
	}
	_, err = r.Read(key)
	return key, err
}

// path is where a file lies: folders for its first two parts, then the file,
// each named by a MAC of the name up to there.
func (f *Files) path(name string) string {
	parts := strings.SplitN(name, "/", 3)
	path := f.dir
	for i := 1; i < len(parts); i++ {
		path = filepath.Join(path, f.mac("folder", strings.Join(parts[:i], "/")))
	}
	return filepath.Join(path, f.mac("file", name))
}

// mac is 40 hexadecimal digits.
func (f *Files) mac(kind, name string) string {
	m := hmac.New(sha256.New, f.nameKey)
	m.Write([]byte(kind + "|" + name))
	return hex.EncodeToString(m.Sum(nil)[:20])
}

const macLength = 40

// checkName refuses what no file may be called.
func checkName(name string) error {
	if name == "" || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || strings.ContainsRune(name, 0) || !utf8.ValidString(name) {
		return fmt.Errorf("file name %q is not valid", name)
	}
	return nil
}
