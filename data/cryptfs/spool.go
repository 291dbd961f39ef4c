package cryptfs

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/data"
)

// Spool takes bytes that are too many for memory and gives them back, sealed on
// disk under a key that only this process has, in a file without a name: a crash
// leaves nothing. One goroutine writes it; once it is finished, any number read.
type Spool struct {
	file *os.File
	aead cipher.AEAD
	w    *chunkWriter
	size int64
}

var errUnfinished = errors.New("spool: read before it was finished")

// NewSpool makes a spool on the disk of the files, so that a full disk is
// noticed while bytes come in (syscall.ENOSPC), not after.
func (f *Files) NewSpool() (*Spool, error) {
	var key [32]byte
	rand.Read(key[:])
	aead, err := deriveAEAD(key, nil, "holdfast/cryptfs/v1|spool")
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(f.dir, tempDir, rand.Text()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	_ = os.Remove(file.Name()) // where an open file keeps its name, Close or the next OpenFiles removes it
	return &Spool{file: file, aead: aead, w: newChunkWriter(io.NewOffsetWriter(file, 0), aead)}, nil
}

// Write appends.
func (s *Spool) Write(p []byte) (int, error) {
	if s.w == nil {
		return 0, errors.New("spool: written after it was finished")
	}
	n, err := s.w.Write(p)
	s.size += int64(n)
	if err != nil {
		err = fmt.Errorf("spool: %w", err)
	}
	return n, err
}

// Size is how many bytes were written.
func (s *Spool) Size() int64 { return s.size }

// Finish ends the writing.
func (s *Spool) Finish() error {
	w := s.w
	if s.w = nil; w == nil {
		return nil
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Open reads size bytes from an offset on. What was changed on disk is a
// *FileError.
func (s *Spool) Open(from, size int64) (io.ReadSeekCloser, error) {
	if s.w != nil {
		return nil, errUnfinished
	}
	if from < 0 || size < 0 || from+size > s.size {
		return nil, fmt.Errorf("spool: %d bytes at %d of %d: %w", size, from, s.size, io.ErrUnexpectedEOF)
	}
	whole := &fileReader{f: kept{s.file}, path: "spool", info: data.FileInfo{Size: s.size}, aead: s.aead}
	return &section{whole: whole, from: from, size: size}, nil
}

// Close drops the bytes. Readers must be closed before.
func (s *Spool) Close() error {
	if s.w != nil {
		s.w.drop()
		s.w = nil
	}
	_ = os.Remove(s.file.Name()) // it has none, as a rule
	return s.file.Close()
}

// kept is a file that stays open when a reader of it closes.
type kept struct{ io.ReaderAt }

func (kept) Close() error { return nil }

// section is a part of a sealed file as a file of its own.
type section struct {
	whole          *fileReader
	from, size, at int64
}

func (s *section) Read(p []byte) (int, error) {
	if s.at >= s.size {
		return 0, io.EOF
	}
	s.whole.at = s.from + s.at
	n, err := s.whole.Read(p[:min(int64(len(p)), s.size-s.at)])
	s.at += int64(n)
	return n, err
}

func (s *section) Seek(offset int64, whence int) (int64, error) {
	at, err := seek(offset, whence, s.at, s.size)
	if err == nil {
		s.at = at
	}
	return at, err
}

func (s *section) Close() error { return s.whole.Close() }
