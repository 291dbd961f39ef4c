package signin

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the form in which lists of breached passwords are given
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
)

// ErrBreachedList answers for a file that is no list of breached passwords.
var ErrBreachedList = errors.New("not a list of SHA-1 hashes, one a line as HASH or HASH:COUNT, ordered by hash")

const (
	breachedHash = 2 * sha1.Size // hex digits
	breachedLine = 128           // bytes; what a line has at most
	breachedLook = 64            // lines that are looked at when a list is opened
)

// Breached is a list of passwords that are known from breaches: a text file of their
// SHA-1 hashes in hex, ordered, as Have I Been Pwned gives them
// (https://haveibeenpwned.com/Passwords). It is searched where it lies: nothing of it
// is kept in memory, nothing leaves the host, and another file may be renamed into its
// place. Safe for concurrent use.
type Breached struct{ path string }

// OpenBreached looks at a list here and there. ErrBreachedList, or the file system's
// error.
func OpenBreached(path string) (*Breached, error) {
	b := &Breached{path}
	return b, b.with(func(l breachedFile) error {
		var last []byte
		for i := range int64(breachedLook) {
			hash, err := l.from(l.size / breachedLook * i)
			if err != nil {
				return err
			}
			if hash == nil && i == 0 || hash != nil && bytes.Compare(last, hash) > 0 {
				return ErrBreachedList
			}
			last = hash
		}
		return nil
	})
}

// Has says that a password is on the list. ErrBreachedList, or the file system's error.
func (b *Breached) Has(password string) (found bool, err error) {
	sum := sha1.Sum([]byte(password)) //nolint:gosec // see above
	want := bytes.ToUpper(hex.AppendEncode(nil, sum[:]))
	return found, b.with(func(l breachedFile) (err error) {
		found, err = l.has(want)
		return err
	})
}

// with opens the file for as long as it is looked at.
func (b *Breached) with(look func(breachedFile) error) error {
	f, err := os.Open(b.path)
	if err != nil {
		return fmt.Errorf("breached passwords: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = look(breachedFile{f, info.Size()})
	}
	if err != nil {
		return fmt.Errorf("breached passwords in %s: %w", b.path, err)
	}
	return nil
}

type breachedFile struct {
	r    io.ReaderAt
	size int64
}

// has searches by halves for the first line whose hash is not below want.
func (l breachedFile) has(want []byte) (bool, error) {
	var failed error
	at := sort.Search(int(l.size), func(i int) bool {
		hash, err := l.from(int64(i))
		failed = errors.Join(failed, err)
		return err != nil || hash == nil || bytes.Compare(hash, want) >= 0
	})
	if failed != nil {
		return false, failed
	}
	hash, err := l.from(int64(at))
	return bytes.Equal(hash, want), err
}

// from gives the hash, in capitals, of the first line that begins at an offset or
// behind it; nil when there is none.
func (l breachedFile) from(offset int64) ([]byte, error) {
	begin := max(0, offset-1) // the line's end before it
	room := make([]byte, 2*breachedLine)
	n, err := l.r.ReadAt(room, begin)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	text := room[:n]
	if offset > 0 {
		end := bytes.IndexByte(text, '\n')
		if end < 0 && n == len(room) {
			return nil, ErrBreachedList
		}
		if end < 0 {
			return nil, nil
		}
		text = text[end+1:]
	}
	return hashOf(text)
}

// hashOf reads the hash at the beginning of a line; nil at the end of the file.
func hashOf(text []byte) ([]byte, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	if len(line) == 0 && len(text) == 0 {
		return nil, nil
	}
	hash, count, counted := bytes.Cut(line, []byte(":"))
	if len(hash) != breachedHash || len(line) > breachedLine || counted && len(count) == 0 {
		return nil, ErrBreachedList
	}
	if _, err := hex.Decode(make([]byte, sha1.Size), hash); err != nil {
		return nil, ErrBreachedList
	}
	return bytes.ToUpper(hash), nil
}
