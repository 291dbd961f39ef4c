package audit

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// edge is the right side of a tree: the hashes of the perfect subtrees that make
// it up, largest first. It is all that an append and a root need, so neither
// reads the disk.
type edge struct {
	size   int64
	hashes []tlog.Hash
}

// append adds a leaf's hash and gives the hashes that became final with it, in
// the order of tlog.StoredHashes: the leaf's own, then its parents'.
func (e *edge) append(h tlog.Hash) []tlog.Hash {
	final := []tlog.Hash{h}
	for n := e.size; n&1 == 1; n >>= 1 {
		last := len(e.hashes) - 1
		h = tlog.NodeHash(e.hashes[last], h)
		e.hashes = e.hashes[:last]
		final = append(final, h)
	}
	e.hashes = append(e.hashes, h)
	e.size++
	return final
}

// root is tlog.TreeHash of the tree.
func (e *edge) root() (tlog.Hash, error) {
	if e.size == 0 {
		return tlog.TreeHash(0, nil)
	}
	root := e.hashes[len(e.hashes)-1]
	for i := len(e.hashes) - 2; i >= 0; i-- {
		root = tlog.NodeHash(e.hashes[i], root)
	}
	return root, nil
}

func (e *edge) clone() *edge {
	return &edge{e.size, append([]tlog.Hash(nil), e.hashes...)}
}

// loadEdge reads the edge of a tree of the given size.
func loadEdge(size int64, r tlog.HashReader) (*edge, error) {
	var need []int64
	done := int64(0)
	for rest := uint64(size); rest != 0; {
		level := bits.Len64(rest) - 1
		need = append(need, tlog.StoredHashIndex(level, done>>level))
		done += 1 << level
		rest &^= 1 << level
	}
	hashes, err := r.ReadHashes(need)
	if err != nil {
		return nil, fmt.Errorf("load the edge of a tree of %d: %w", size, err)
	}
	return &edge{size, hashes}, nil
}

// errHashes says that stored hashes are not the ones the tree needs.
var errHashes = errors.New("malformed stored hashes")

// hashReader serves tlog's proofs. The hashes that became final with record n are
// stored together under n.
type hashReader struct {
	log  string
	read func(key []byte) ([]byte, error)
}

func (r hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		record := (n+1)<<level - 1
		value, err := r.read(hashKey(r.log, record))
		if err != nil {
			return nil, fmt.Errorf("read hashes of entry %d: %w", record, err)
		}
		if len(value) < (level+1)*tlog.HashSize {
			return nil, fmt.Errorf("read hashes of entry %d: %w", record, errHashes)
		}
		copy(out[i][:], value[level*tlog.HashSize:])
	}
	return out, nil
}

func joinHashes(hashes []tlog.Hash) []byte {
	out := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	return out
}
