package cryptfs

import (
	"crypto/cipher"
	"errors"
	"io"
	"os"
	"sync"

	"holdfast/data"
)

// chunkBuffers are of one sealed chunk each.
var chunkBuffers = sync.Pool{New: func() any { return new([chunkSealed]byte) }}

// chunkWriter seals what is written to it, chunk by chunk. Only Close can know
// that a chunk is the last.
type chunkWriter struct {
	w     io.Writer
	aead  cipher.AEAD
	buf   *[chunkSealed]byte
	n     int // bytes in buf
	index int64
}

func newChunkWriter(w io.Writer, aead cipher.AEAD) *chunkWriter {
	return &chunkWriter{w: w, aead: aead, buf: chunkBuffers.Get().(*[chunkSealed]byte)}
}

// Write keeps a full chunk until there is more.
func (c *chunkWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if c.n == chunkSize {
			if err := c.flush(false); err != nil {
				return written, err
			}
		}
		n := copy(c.buf[c.n:chunkSize], p)
		c.n, p, written = c.n+n, p[n:], written+n
	}
	return written, nil
}

// Close writes the last chunk.
func (c *chunkWriter) Close() error {
	defer c.drop()
	return c.flush(true)
}

// drop gives the buffer back without writing what is in it.
func (c *chunkWriter) drop() {
	chunkBuffers.Put(c.buf)
	c.buf = nil
}

func (c *chunkWriter) flush(last bool) error {
	nonce := partNonce(partChunk, c.index, last)
	sealed := c.aead.Seal(c.buf[:0], nonce[:], c.buf[:c.n], nil)
	_, err := c.w.Write(sealed)
	c.index, c.n = c.index+1, 0
	return err
}

// sealedBytes is what a reader asks of a file.
type sealedBytes interface {
	io.ReaderAt
	io.Closer
}

// fileReader reads a sealed file. Like any reader it serves one caller at a time.
type fileReader struct {
	f     sealedBytes
	path  string
	info  data.FileInfo
	aead  cipher.AEAD
	body  int64 // where the first chunk begins
	at    int64 // next byte to read
	buf   *[chunkSealed]byte
	index int64  // of the chunk in clear
	clear []byte // part of buf; nil for none
}

// openSealed opens a file and sees that it is what its name says.
func (f *Files) openSealed(path, name string) (r *fileReader, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, found(err)
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	p, info, aead, err := f.readInfo(file)
	if err == nil && info.Name != name {
		err = errMoved
	}
	if err != nil {
		return nil, fileError(err, path, -1)
	}
	return &fileReader{f: file, path: path, info: info, aead: aead, body: p.body()}, nil
}

var (
	errMoved = errors.New("is another file's")
	errCut   = errors.New("is cut short or has grown")
)

// readInfo reads what stands before the chunks.
func (f *Files) readInfo(file *os.File) (p prefix, info data.FileInfo, aead cipher.AEAD, err error) {
	var head [prefixSize]byte
	if _, err = readFull(file, head[:], 0); err != nil {
		return p, info, nil, cut(err)
	}
	if p, err = parsePrefix(head[:]); err != nil {
		return p, info, nil, err
	}
	if aead, err = f.aead(p); err != nil {
		return p, info, nil, err
	}
	sealed := make([]byte, p.info+tagSize)
	if _, err = readFull(file, sealed, prefixSize); err != nil {
		return p, info, nil, cut(err)
	}
	if info, err = openInfo(aead, p, sealed); err != nil {
		return p, info, nil, err
	}
	st, err := file.Stat()
	if err == nil && st.Size() != p.body()+sealedLength(info.Size) {
		err = errCut
	}
	return p, info, aead, err
}

func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return errCut
	}
	return err
}

// fileError makes a FileError of what can only come of changed bytes.
func fileError(err error, path string, chunk int64) error {
	for _, e := range []error{errUnsealed, errNotSealed, errMoved, errCut} {
		if errors.Is(err, e) {
			return &FileError{Path: path, Chunk: chunk, Reason: err.Error()}
		}
	}
	return err
}

func (r *fileReader) Read(p []byte) (int, error) {
	if r.info.Size == 0 { // its one chunk is empty, and authenticates all the same
		if err := r.load(0); err != nil {
			return 0, err
		}
	}
	if r.at >= r.info.Size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.load(r.at / chunkSize); err != nil {
		return 0, err
	}
	n := copy(p, r.clear[r.at%chunkSize:])
	r.at += int64(n)
	return n, nil
}

// load decrypts a chunk unless it is the one at hand.
func (r *fileReader) load(index int64) error {
	if r.clear != nil && r.index == index {
		return nil
	}
	if r.buf == nil {
		r.buf = chunkBuffers.Get().(*[chunkSealed]byte)
	}
	last := index == chunks(r.info.Size)-1
	n := chunkSealed
	if last {
		n = int(r.info.Size-index*chunkSize) + tagSize
	}
	r.clear = nil
	if _, err := readFull(r.f, r.buf[:n], r.body+index*chunkSealed); err != nil {
		return fileError(cut(err), r.path, index)
	}
	nonce := partNonce(partChunk, index, last)
	b, err := r.aead.Open(r.buf[:0], nonce[:], r.buf[:n], nil)
	if err != nil {
		return fileError(errUnsealed, r.path, index)
	}
	r.clear, r.index = b, index
	return nil
}

// Seek is io.Seeker's.
func (r *fileReader) Seek(offset int64, whence int) (int64, error) {
	at, err := seek(offset, whence, r.at, r.info.Size)
	if err == nil {
		r.at = at
	}
	return at, err
}

// seek gives the new offset in a file of that size.
func seek(offset int64, whence int, at, size int64) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += at
	case io.SeekEnd:
		offset += size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning of a file")
	}
	return offset, nil
}

func (r *fileReader) Close() error {
	if r.buf != nil {
		chunkBuffers.Put(r.buf)
		r.buf, r.clear = nil, nil
	}
	return r.f.Close()
}
