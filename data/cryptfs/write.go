package cryptfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/data"
	"holdfast/data/cryptfs/disk"
)

// WriteDatabase writes a whole sealed database of so many pages and syncs it and
// its folder. It has next fill each page (PageSize bytes, the reserved tail is
// ignored) in ascending order from page 1, which must say the same size and
// reserve our bytes. The name must be free (data.ErrExists). Nothing stays behind
// after an error.
func WriteDatabase(ctx context.Context, c Config, database string, pages uint32, next func(pgno uint32, page []byte) error) error {
	if err := c.validate(); err != nil {
		return err
	}
	if database == "" || database != filepath.Base(database) || pages == 0 {
		return fmt.Errorf("write database %q of %d pages: not a name or not a size", database, pages)
	}
	dir, err := realDir(c.Dir)
	if err != nil {
		return fmt.Errorf("write database: %w", err)
	}
	path := filepath.Join(dir, database)
	c = c.withDisk()
	if err := writeNew(c, path, func(f disk.File) error { return writePages(ctx, c, f, database, pages, next) }); err != nil {
		return fmt.Errorf("write database %s: %w", database, err)
	}
	return nil
}

// markNew makes the mark of a database that has no log yet, in place of one that
// was left there.
func markNew(c Config, path string) error {
	m := newMark(&FS{Config: c, boot: bootID()}, path, filepath.Base(path))
	defer m.rest()
	return m.create(markRecord{born: true})
}

// writeNew makes a file, has it filled, and syncs it and its folder.
func writeNew(c Config, path string, fill func(disk.File) error) error {
	if exists(path + walSuffix) { // it would be taken for the new database's
		return data.ErrExists
	}
	f, err := c.Disk.Open(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return data.ErrExists
	}
	if err != nil {
		return err
	}
	if err = fill(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = markNew(c, path)
	}
	if err != nil {
		return errors.Join(err, c.Disk.Remove(path))
	}
	return c.Disk.SyncDir(filepath.Dir(path))
}

// pageWriter seals pages one after the other.
type pageWriter struct {
	w      *bufio.Writer
	sealer *sealer
}

func writePages(ctx context.Context, c Config, f disk.File, database string, pages uint32, next func(uint32, []byte) error) error {
	w := pageWriter{bufio.NewWriterSize(io.NewOffsetWriter(f, 0), 64*data.PageSize), newSealer(c.Keys, "db", c.Identity, database)}
	var page [data.PageSize]byte
	for number := uint32(1); number <= pages; number++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		clear(page[:])
		if err := next(number, page[:]); err != nil {
			return err
		}
		if err := w.write(page[:], number, pages); err != nil {
			return err
		}
	}
	return w.w.Flush()
}

func (w pageWriter) write(page []byte, number, pages uint32) error {
	if number == 1 {
		size, err := firstPage(page)
		if err == nil && size != pages {
			err = fmt.Errorf("page 1 is of a database of %d pages, not %d", size, pages)
		}
		if err != nil {
			return err
		}
		page[18], page[19] = 2, 2 // both file format versions: with a log
	}
	b := borrow()
	defer b.giveBack()
	sealed := b.frame[:data.PageSize]
	if err := w.sealer.seal(sealed, page[:pageContent], place{kind: kindPage, number: number}); err != nil {
		return err
	}
	_, err := w.w.Write(sealed)
	return err
}
