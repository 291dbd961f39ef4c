package cryptfs

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"

	"holdfast/data"
)

// Every sealed unit of a database (page, frame header, frame page, log header)
// is ciphertext, then tag, and ends in a trailer of nonce, generation, version.
const (
	formatVersion = 1
	tagSize       = 16
	nonceSize     = 12
	trailerSize   = nonceSize + 3 + 1
	// Reserved is how many bytes at the end of each page are kept from SQLite.
	Reserved = tagSize + trailerSize

	pageContent   = data.PageSize - Reserved
	maxGeneration = 1<<24 - 1
)

// What a unit is; bound into it, so that one cannot stand for another.
const (
	kindPage      = 'P'
	kindLogHeader = 'W'
	kindFrame     = 'H'
	kindFramePage = 'F'
)

// place says where a unit belongs.
type place struct {
	kind   byte
	salt   [8]byte // of the log's generation; zero for pages and the log header
	number uint32  // page or frame, from 1
}

// errUnsealed is what open answers when bytes do not authenticate.
var errUnsealed = errors.New("does not authenticate")

// sealer seals and opens the units of one file. It is safe for concurrent use.
type sealer struct {
	keys  data.KeySource
	info  string
	tally *tally // counts what is sealed; nil: uncounted
	part  int    // of the database, for the tally

	mu    sync.RWMutex
	aeads map[uint32]cipher.AEAD // by generation
}

// newSealer makes the sealer of one kind ("db" or "wal") of one database.
func newSealer(keys data.KeySource, kind, identity, database string) *sealer {
	info := "holdfast/cryptfs/v1|" + kind + "|" + identity + "|" + database
	return &sealer{keys: keys, info: info, aeads: map[uint32]cipher.AEAD{}}
}

// counted has a tally count what is sealed.
func (s *sealer) counted(t *tally, part int) *sealer {
	s.tally, s.part = t, part
	return s
}

// seal writes plain's sealed form into dst, which is at least len(plain)+Reserved
// long: ciphertext and tag at its beginning, the trailer at its end.
func (s *sealer) seal(dst, plain []byte, at place) error {
	generation, aead, err := s.currentFor(1)
	if err != nil {
		return err
	}
	b := borrow()
	rand.Read(b.nonce[:])
	sealUnit(aead, generation, dst, plain, b.nonce[:], at, &b.ad)
	b.giveBack()
	return nil
}

// sealUnit seals with a key that was counted. plain may be dst's own beginning.
func sealUnit(aead cipher.AEAD, generation uint32, dst, plain, nonce []byte, at place, ad *label) {
	trailer := dst[len(dst)-trailerSize:]
	copy(trailer, nonce)
	binary.BigEndian.PutUint32(trailer[nonceSize:], generation<<8|formatVersion)
	aead.Seal(dst[:0], trailer[:nonceSize], plain, ad.of(at, trailer))
}

// currentFor gives the key for so many new units, and counts them.
func (s *sealer) currentFor(units int64) (uint32, cipher.AEAD, error) {
	generation, aead, err := s.current()
	if err == nil && s.tally != nil {
		err = s.tally.take(s.part, generation, units)
	}
	return generation, aead, err
}

// open writes the n plaintext bytes of src into dst, which may be src's own
// beginning. Where src does not authenticate, it answers errUnsealed and dst's
// bytes mean nothing.
func (s *sealer) open(dst, src []byte, n int, at place) error {
	trailer := src[len(src)-trailerSize:]
	word := binary.BigEndian.Uint32(trailer[nonceSize:])
	if word&0xff != formatVersion {
		return fmt.Errorf("format %d is not known: %w", word&0xff, errUnsealed)
	}
	aead, err := s.generation(word >> 8)
	if err != nil {
		return err
	}
	b := borrow()
	_, err = aead.Open(dst[:0], trailer[:nonceSize], src[:n+tagSize], b.ad.of(at, trailer))
	b.giveBack()
	if err != nil {
		return errUnsealed
	}
	return nil
}

// current gives the generation that new units are sealed with.
func (s *sealer) current() (uint32, cipher.AEAD, error) {
	generation, key, err := s.keys.Current()
	if err != nil {
		return 0, nil, fmt.Errorf("current page key: %w", err)
	}
	if generation > maxGeneration {
		return 0, nil, fmt.Errorf("current page key: generation %d does not fit three bytes", generation)
	}
	if aead := s.cached(generation); aead != nil {
		return generation, aead, nil
	}
	aead, err := s.derive(generation, key)
	return generation, aead, err
}

// generation gives an older one, to open units with. A generation that never
// was can only stem from changed bytes.
func (s *sealer) generation(generation uint32) (cipher.AEAD, error) {
	if aead := s.cached(generation); aead != nil {
		return aead, nil
	}
	key, err := s.keys.Generation(generation)
	if errors.Is(err, data.ErrNotFound) {
		return nil, fmt.Errorf("no key of generation %d: %w", generation, errUnsealed)
	}
	if err != nil {
		return nil, fmt.Errorf("page key of generation %d: %w", generation, err)
	}
	return s.derive(generation, key)
}

// forget drops the keys of the generations before oldest from memory.
func (s *sealer) forget(oldest uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.aeads, func(generation uint32, _ cipher.AEAD) bool { return generation < oldest })
}

func (s *sealer) cached(generation uint32) cipher.AEAD {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.aeads[generation]
}

func (s *sealer) derive(generation uint32, key [32]byte) (cipher.AEAD, error) {
	aead, err := deriveAEAD(key, nil, s.info)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.aeads[generation] = aead
	s.mu.Unlock()
	return aead, nil
}

// deriveAEAD is AES-256-GCM under HKDF-SHA256 of a key.
func deriveAEAD(key [32]byte, salt []byte, info string) (cipher.AEAD, error) {
	sub, err := hkdf.Key(sha256.New, key[:], salt, info, 32)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(sub)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return cipher.NewGCM(block)
}
