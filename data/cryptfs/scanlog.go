package cryptfs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"holdfast/data"
)

// logEnd is where a log ends, as SQLite's recovery will see it.
type logEnd struct {
	salt   [8]byte // zeros: there is no log
	frames uint32  // to the end of the last commit
	failed uint32  // the first frame that does not count
	why    error
	unread bool // its header does not authenticate
}

// scanLog walks the log as SQLite's recovery does: as long as frames are of this
// generation and each one's checksum follows from the one before.
func (db *database) scanLog() (logEnd, error) {
	f, err := db.fs.Disk.Open(db.path+walSuffix, os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return logEnd{}, nil
	}
	if err != nil {
		return logEnd{}, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size < slotSize {
		return logEnd{}, err
	}
	s := logScan{r: bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 64*frameSize), sealer: db.log}
	if err := s.header(); errors.Is(err, errUnsealed) {
		return logEnd{unread: true}, &PageError{File: db.path + walSuffix, Reason: err.Error() + "; " + advice, cut: true}
	} else if err != nil {
		return logEnd{}, err
	}
	return s.walk()
}

// logScan is a walk over a log.
type logScan struct {
	r      *bufio.Reader
	sealer *sealer
	salt   [8]byte
	order  binary.ByteOrder // of the checksums
	sum    [2]uint32
	buf    [frameSize]byte
}

func (s *logScan) header() error {
	slot := s.buf[:slotSize]
	if _, err := io.ReadFull(s.r, slot); err != nil {
		return err
	}
	if [slotSize]byte(slot) == ([slotSize]byte{}) {
		return nil // cut off by a power cut before its first sync
	}
	if err := s.sealer.open(slot, slot, logHeader, place{kind: kindLogHeader}); err != nil {
		return err
	}
	s.order = binary.LittleEndian
	if slot[3]&1 != 0 {
		s.order = binary.BigEndian
	}
	s.salt = [8]byte(slot[16:24])
	s.checksum(slot[:24])
	return nil
}

func (s *logScan) walk() (end logEnd, err error) {
	end.salt = s.salt
	if s.salt == ([8]byte{}) {
		return end, nil
	}
	for frame := uint32(1); ; frame++ {
		commits, err := s.next(frame)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = fmt.Errorf("the log was cut here: %w", errUnsealed)
		}
		if errors.Is(err, errUnsealed) {
			end.failed, end.why = frame, err
			return end, nil
		}
		if err != nil {
			return end, err
		}
		if commits {
			end.frames = frame
		}
	}
}

var errChain = fmt.Errorf("does not follow from the frame before: %w", errUnsealed)

// next reads one frame and says whether it ends a transaction.
func (s *logScan) next(frame uint32) (commits bool, err error) {
	if _, err := io.ReadFull(s.r, s.buf[:]); err != nil {
		return false, err
	}
	head, page := s.buf[:slotSize], s.buf[slotSize:]
	if err := openFrameHeader(s.sealer, head, s.salt, frame); err != nil {
		return false, err
	}
	if err := openFramePage(s.sealer, page, page, s.salt, frame); err != nil {
		return false, err
	}
	s.checksum(head[:8])
	s.checksum(page[:data.PageSize])
	if [8]byte(head[8:16]) != s.salt || s.sum != [2]uint32{binary.BigEndian.Uint32(head[16:]), binary.BigEndian.Uint32(head[20:])} {
		return false, errChain
	}
	return binary.BigEndian.Uint32(head[4:]) != 0, nil
}

// checksum is SQLite's, over words of 32 bits.
func (s *logScan) checksum(b []byte) {
	a, c := s.sum[0], s.sum[1]
	for ; len(b) >= 8; b = b[8:] {
		a += s.order.Uint32(b) + c
		c += s.order.Uint32(b[4:]) + a
	}
	s.sum = [2]uint32{a, c}
}
