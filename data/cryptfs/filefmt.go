package cryptfs

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"holdfast/data"
)

// A sealed file is a prefix in clear, the sealed info, then sealed chunks:
//
//	prefix  "HFSF" | version 1 | generation 3 | salt 32 | length of the info 4
//	info    FileInfo as JSON, padded with spaces to a multiple of 256 | tag 16
//	chunk   65536 bytes (the last: 0 to 65536) | tag 16
//
// The key belongs to this file alone, being derived from its random salt, so
// that a nonce need only tell its parts apart: part (1) | 0 (2) | index (8) |
// last (1).
const (
	fileMagic   = "HFSF"
	fileVersion = 1
	prefixSize  = 4 + 1 + 3 + fileSalt + 4
	fileSalt    = 32
	infoStep    = 256
	infoMax     = 256 * infoStep
	chunkSize   = 64 << 10
	chunkSealed = chunkSize + tagSize

	partInfo  = 0
	partChunk = 1
)

// prefix is the part of a sealed file that is in clear.
type prefix struct {
	generation uint32
	salt       [fileSalt]byte
	info       uint32 // length of the info, without its tag
}

// body is where the first chunk begins.
func (p prefix) body() int64 { return prefixSize + int64(p.info) + tagSize }

func (p prefix) format() []byte {
	b := make([]byte, 0, prefixSize)
	b = append(b, fileMagic...)
	b = binary.BigEndian.AppendUint32(b, fileVersion<<24|p.generation)
	b = append(b, p.salt[:]...)
	return binary.BigEndian.AppendUint32(b, p.info)
}

var errNotSealed = errors.New("is not a sealed file")

// parsePrefix is the inverse of format. It answers data.ErrNewer for a later
// version and errNotSealed for anything else.
func parsePrefix(b []byte) (prefix, error) {
	if len(b) != prefixSize || string(b[:4]) != fileMagic || b[4] == 0 {
		return prefix{}, errNotSealed
	}
	if b[4] > fileVersion {
		return prefix{}, fmt.Errorf("format %d: %w", b[4], data.ErrNewer)
	}
	p := prefix{generation: binary.BigEndian.Uint32(b[4:]) & maxGeneration, salt: [fileSalt]byte(b[8:]),
		info: binary.BigEndian.Uint32(b[8+fileSalt:])}
	if p.info == 0 || p.info > infoMax || p.info%infoStep != 0 {
		return prefix{}, errNotSealed
	}
	return p, nil
}

// partNonce tells the parts of a file apart.
func partNonce(part byte, index int64, last bool) [nonceSize]byte {
	n := [nonceSize]byte{0: part}
	binary.BigEndian.PutUint64(n[3:], uint64(index))
	if last {
		n[nonceSize-1] = 1
	}
	return n
}

// infoLength is how much room to leave for an info whose size and etag are not
// known yet.
func infoLength(info data.FileInfo) (uint32, error) {
	info.Size, info.ETag = 1<<62, info.ETag+emptyETag
	b, err := json.Marshal(info)
	if err != nil {
		return 0, fmt.Errorf("encode file info: %w", err)
	}
	n := (len(b) + infoStep - 1) / infoStep * infoStep
	if n > infoMax {
		return 0, fmt.Errorf("encode file info: name and metadata take %d bytes, more than %d", len(b), infoMax)
	}
	return uint32(n), nil
}

// sealInfo gives the sealed info, bound to the prefix.
func sealInfo(aead cipher.AEAD, p prefix, info data.FileInfo) ([]byte, error) {
	b, err := json.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("encode file info: %w", err)
	}
	if len(b) > int(p.info) {
		return nil, fmt.Errorf("encode file info: %d bytes do not fit %d", len(b), p.info)
	}
	b = append(b, bytes.Repeat([]byte{' '}, int(p.info)-len(b))...)
	nonce := partNonce(partInfo, 0, true)
	return aead.Seal(nil, nonce[:], b, p.format()), nil
}

// openInfo is the inverse of sealInfo.
func openInfo(aead cipher.AEAD, p prefix, sealed []byte) (info data.FileInfo, err error) {
	nonce := partNonce(partInfo, 0, true)
	b, err := aead.Open(nil, nonce[:], sealed, p.format())
	if err != nil {
		return info, errUnsealed
	}
	if err := json.Unmarshal(b, &info); err != nil {
		return info, fmt.Errorf("decode file info: %w", err)
	}
	return info, nil
}

// chunks is how many chunks a file of so many bytes has, and sealedLength how
// many bytes they take: an empty file has one, so that cutting is seen.
func chunks(size int64) int64       { return max(1, (size+chunkSize-1)/chunkSize) }
func sealedLength(size int64) int64 { return size + chunks(size)*tagSize }
