package backup

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"holdfast/data"
)

// LockPage is the page that SQLite never uses: it lies at byte 2^30, where the
// locks are. No segment holds it; it is all zeros.
const LockPage = 1<<30/data.PageSize + 1

// PageSum is the keyed checksum of one page.
type PageSum [8]byte

// sumsPerLeaf checksums are hashed into one leaf, so that a small change of a
// large database costs little.
const sumsPerLeaf = 512

// Sums is the checksum of every page of a database, under an epoch's key. It is
// not safe for concurrent use.
type Sums struct {
	aead   cipher.AEAD
	nonce  [12]byte // scratch of Of, here so that a page makes no garbage
	tag    [16]byte
	pages  []PageSum
	leaves []Hash
	stale  []bool // leaves to be hashed again
}

// NewSums returns the checksums of an empty database; the key has 32 bytes.
func NewSums(key []byte) (*Sums, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("page checksums: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("page checksums: %w", err)
	}
	return &Sums{aead: aead}, nil
}

// Clone returns a copy that changes by itself.
func (s *Sums) Clone() *Sums {
	c := *s
	c.pages, c.leaves, c.stale = slices.Clone(s.pages), slices.Clone(s.leaves), slices.Clone(s.stale)
	return &c
}

// Of computes the checksum of a page without keeping it: the first 8 bytes of
// the AES-256-GCM tag over the image, the page number as nonce.
//
// A page number comes again with every new image of the page, which would break
// a tag that others see. Nobody sees these: they only ever stand in sealed
// staging, and the checksum over them in sealed manifests. What is left is a
// keyed universal hash, which finds a changed page but for one in 2^55, and
// costs a twentieth of HMAC-SHA256 where the processor has no SHA instructions.
func (s *Sums) Of(pgno uint32, page []byte) PageSum {
	binary.BigEndian.PutUint32(s.nonce[8:], pgno)
	return PageSum(s.aead.Seal(s.tag[:0], s.nonce[:], nil, page)[:8])
}

// Total is the size of the database in pages.
func (s *Sums) Total() uint32 { return uint32(len(s.pages)) } //nolint:gosec // made from a uint32

// Get returns the kept checksum of a page, and whether there is one.
func (s *Sums) Get(pgno uint32) (PageSum, bool) {
	if pgno == 0 || pgno > s.Total() {
		return PageSum{}, false
	}
	return s.pages[pgno-1], true
}

// Put keeps the checksum of a page. Pages between the end of the database and
// this one become zeros.
func (s *Sums) Put(pgno uint32, sum PageSum) {
	if pgno > s.Total() {
		s.Resize(pgno - 1)
		s.pages = append(s.pages, sum)
		s.fit()
	}
	s.pages[pgno-1] = sum
	s.stale[(pgno-1)/sumsPerLeaf] = true
}

// Resize makes the database total pages large. New pages are zeros.
func (s *Sums) Resize(total uint32) {
	if total < s.Total() {
		s.pages = s.pages[:total]
		s.fit()
	}
	for pgno := s.Total() + 1; pgno <= total; pgno++ {
		s.pages = append(s.pages, s.Of(pgno, zeroPage[:]))
		s.fit()
	}
}

// fit gives every page a leaf; the last one changes whenever the size does.
func (s *Sums) fit() {
	n := (len(s.pages) + sumsPerLeaf - 1) / sumsPerLeaf
	for len(s.leaves) < n {
		s.leaves, s.stale = append(s.leaves, Hash{}), append(s.stale, true)
	}
	s.leaves, s.stale = s.leaves[:n], s.stale[:n]
	if n > 0 {
		s.stale[n-1] = true
	}
}

var zeroPage [data.PageSize]byte

// Root is the whole-database checksum: SHA-256 over the size and the leaves,
// each the SHA-256 of up to 512 page checksums.
func (s *Sums) Root() (root Hash) {
	h := sha256.New()
	h.Write([]byte("holdfast/backup/v1/pages\x00"))
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], s.Total())
	h.Write(n[:])
	for i := range s.leaves {
		if s.stale[i] {
			s.leaves[i], s.stale[i] = s.leaf(i), false
		}
		h.Write(s.leaves[i][:])
	}
	h.Sum(root[:0])
	return root
}

func (s *Sums) leaf(i int) (leaf Hash) {
	h := sha256.New()
	for _, sum := range s.pages[i*sumsPerLeaf : min((i+1)*sumsPerLeaf, len(s.pages))] {
		h.Write(sum[:])
	}
	h.Sum(leaf[:0])
	return leaf
}
