package cryptfs

import (
	"encoding/binary"
	"sync"

	"holdfast/data"
)

// buffer is what sealing one unit needs beside its input; pooled, so that
// neither reading nor writing a page leaves garbage.
type buffer struct {
	ad    [1 + 1 + 3 + 8 + 4]byte
	plain [data.PageSize]byte
	frame [frameSize]byte // a sealed page, or a sealed frame
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func borrow() *buffer       { return buffers.Get().(*buffer) }
func (b *buffer) giveBack() { buffers.Put(b) }

// aad is kind, version, generation, salt, number.
func (b *buffer) aad(at place, trailer []byte) []byte {
	b.ad[0] = at.kind
	b.ad[1] = trailer[nonceSize+3]
	copy(b.ad[2:5], trailer[nonceSize:])
	copy(b.ad[5:13], at.salt[:])
	binary.BigEndian.PutUint32(b.ad[13:], at.number)
	return b.ad[:]
}
