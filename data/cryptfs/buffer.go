package cryptfs

import (
	"encoding/binary"
	"sync"

	"holdfast/data"
)

// buffer is what sealing one unit needs beside its input; pooled, so that
// neither reading nor writing a page leaves garbage.
type buffer struct {
	ad    label
	nonce [nonceSize]byte
	plain [data.PageSize]byte
	frame [frameSize]byte // a sealed page, or a sealed frame
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func borrow() *buffer       { return buffers.Get().(*buffer) }
func (b *buffer) giveBack() { buffers.Put(b) }

// label is a unit's associated data: kind, version, generation, salt, number.
type label [1 + 1 + 3 + 8 + 4]byte

func (l *label) of(at place, trailer []byte) []byte {
	l[0] = at.kind
	l[1] = trailer[nonceSize+3]
	copy(l[2:5], trailer[nonceSize:])
	copy(l[5:13], at.salt[:])
	binary.BigEndian.PutUint32(l[13:], at.number)
	return l[:]
}
