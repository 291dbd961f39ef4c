package vault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/y"

	"holdfast/data"
)

// manifestHead is badger's magic and versions before the first record.
const manifestHead = 8

// checkManifest looks at badger's list of tables. Badger takes a record that runs
// past the end for a write cut short by a crash, forgets all behind it and
// deletes the tables it then does not know: a flipped length would cost all data.
// A file of a table that is not in the list was being written at a crash.
func checkManifest(dir string) (tables map[uint64]badger.TableManifest, err error) {
	path := filepath.Join(dir, badger.ManifestFilename)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, checkEmpty(dir)
	}
	if err != nil {
		return nil, err
	}
	if len(b) < manifestHead || string(b[:4]) != "Bdgr" {
		return nil, fmt.Errorf("%s: %w", path, data.ErrTampered)
	}
	if err := checkRecords(b[manifestHead:]); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return listTables(path)
}

func listTables(path string) (map[uint64]badger.TableManifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(filepath.Dir(path)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w (%w)", path, data.ErrTampered, err)
	}
	return m.Tables, nil
}

// checkRecords follows the records: length (4), CRC-32C (4), bytes. A rest that
// is no whole record may only be a torn last write.
func checkRecords(b []byte) error {
	for len(b) > 0 {
		n, whole := record(b)
		if !whole {
			return checkTorn(b)
		}
		if !fits(b, n) {
			return data.ErrTampered
		}
		b = b[8+n:]
	}
	return nil
}

// record reads the length of the first record, and says whether it is all there.
func record(b []byte) (n int, whole bool) {
	if len(b) < 8 {
		return 0, false
	}
	n = int(binary.BigEndian.Uint32(b))
	return n, n <= len(b)-8
}

func fits(b []byte, n int) bool {
	return crc32.Checksum(b[8:8+n], y.CastagnoliCrcTable) == binary.BigEndian.Uint32(b[4:])
}

// checkTorn tells a torn write from a changed length: after a changed one there
// are whole records, or its own bytes still fit its checksum.
func checkTorn(b []byte) error {
	for at := range b {
		rest := b[at:]
		if n, whole := record(rest); whole && n > 0 && fits(rest, n) {
			return data.ErrTampered
		}
	}
	if len(b) > 8 && fits(b, len(b)-8) {
		return data.ErrTampered
	}
	return nil
}

// checkEmpty refuses a folder that has lost its manifest: badger would start anew
// and delete the tables.
func checkEmpty(dir string) error {
	for _, pattern := range []string{"*.sst", "*.vlog", "*.mem"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return fmt.Errorf("%s holds data but %s is missing: %w", dir, badger.ManifestFilename, data.ErrTampered)
		}
	}
	return nil
}
