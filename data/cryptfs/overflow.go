package cryptfs

import (
	"fmt"
	"os"

	"holdfast/data/cryptfs/disk"
)

// maxKept bounds how many images writers keep in memory for a slow snapshot (64 MiB);
// those beyond go to disk.
const maxKept = 16384

const keptSuffix = "-kept"

// overflow holds images that are too many for memory. They are sealed already, as they lay
// in the database or its log; the file has no name, so a crash leaves nothing of it.
type overflow struct {
	disk disk.System
	path string // of the database
	file disk.File
	at   map[uint32]int64 // by page
	end  int64
}

func (s *overflow) has(page uint32) bool { _, ok := s.at[page]; return ok }

func (s *overflow) put(page uint32, image []byte) (err error) {
	if s.file == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	if _, err := s.file.WriteAt(image, s.end); err != nil {
		return fmt.Errorf("keep a page on disk: %w", err)
	}
	s.at[page] = s.end
	s.end += int64(len(image))
	return nil
}

func (s *overflow) open() (err error) {
	s.file, err = s.disk.Open(s.path+keptSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keep a page on disk: %w", err)
	}
	s.at = map[uint32]int64{}
	_ = s.disk.Remove(s.path + keptSuffix) // where an open file keeps its name, close removes it
	return nil
}

// get reads a page's image into buf, which is as large as the image was.
func (s *overflow) get(page uint32, buf []byte) error {
	_, err := readFull(s.file, buf, s.at[page])
	return missing(err)
}

func (s *overflow) close() {
	if s.file != nil {
		_ = s.file.Close()
		_ = s.disk.Remove(s.path + keptSuffix) // it has none, as a rule
	}
}
