package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"

	"holdfast/data"
)

// Badger answers a damaged table by leaving it out, and a damaged block by "not
// found": keys would vanish unsaid. So the tables' indexes are looked at before badger
// opens them, their blocks right after, and a finding stops the vault.

// verifyAtOnce is how many bytes of tables Open verifies before it returns; a
// larger vault is verified while it serves.
const verifyAtOnce = 64 << 20

// checkFiles is what must hold before badger sees the folder.
func checkFiles(dir string) error {
	tables, err := checkManifest(dir)
	for id := range tables {
		if err == nil {
			err = checkTable(table.NewFilename(id, dir))
		}
	}
	return err
}

// checkTable follows badger's layout from the end: length of the checksum (4),
// checksum, length of the index (4), index.
func checkTable(name string) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing: %w", name, data.ErrTampered)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := checkIndex(f, info.Size()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func checkIndex(f io.ReaderAt, end int64) error {
	sum, end, err := readBack(f, end)
	if err != nil {
		return err
	}
	index, _, err := readBack(f, end)
	if err != nil {
		return err
	}
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return fmt.Errorf("checksum: %w", data.ErrTampered)
	}
	if want.Algo != pb.Checksum_CRC32C || y.VerifyChecksum(index, &want) != nil {
		return fmt.Errorf("index: %w", data.ErrTampered)
	}
	return nil
}

// readBack reads a part whose length stands in the four bytes before end.
func readBack(f io.ReaderAt, end int64) (part []byte, start int64, err error) {
	var length [4]byte
	if end < 4 {
		return nil, 0, data.ErrTampered
	}
	if _, err := f.ReadAt(length[:], end-4); err != nil {
		return nil, 0, err
	}
	n := int64(binary.BigEndian.Uint32(length[:]))
	start = end - 4 - n
	if start < 0 || n == 0 {
		return nil, 0, data.ErrTampered
	}
	part = make([]byte, n)
	_, err = f.ReadAt(part, start)
	return part, start, err
}

// Check reads every block of every table. A finding is data.ErrTampered, here and from
// then on in every View and Update.
func (v *Vault) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := guard(v.db.VerifyChecksum); err != nil {
		return v.state.fail(fmt.Errorf("%w (%w)", data.ErrTampered, err))
	}
	return nil
}

// verify is Check at the start: at once if it is quick, else beside the service.
func (v *Vault) verify() error {
	if lsm, _ := v.db.Size(); lsm <= verifyAtOnce {
		return v.Check(context.Background())
	}
	v.state.busy.Go(func() { _ = v.Check(context.Background()) }) // the state keeps what it finds
	return nil
}

// ready verifies the tables first: only then does "not found" mean anything.
func (v *Vault) ready() error {
	if err := v.verify(); err != nil {
		return err
	}
	return v.checkFormat()
}

// dropUnbegun removes logs without a byte. Badger makes such a file, and then gives
// it its length; where a process is killed between the two, badger refuses to open
// the folder ever after ("Create a new file"). Nothing can have been written to it.
func dropUnbegun(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != ".mem" && ext != ".vlog" {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() && info.Size() == 0 {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return syncDir(dir)
}
