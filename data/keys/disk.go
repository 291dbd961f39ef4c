package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/data"
)

// makeDir makes dir with mode 0700, or refuses one that others can enter.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return refuseExposed(dir)
}

// refuseExposed refuses a file or folder with any right for group or others.
func refuseExposed(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	fix := "600"
	if info.IsDir() {
		fix = "700"
	}
	return fmt.Errorf("%s has mode %04o: %w; run: chmod %s %s", path, info.Mode().Perm(), ErrExposed, fix, path)
}

// readPrivate reads a file of at most limit bytes that only its owner can read.
func readPrivate(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, data.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if err := refuseExposed(path); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes: %w", path, limit, data.ErrTampered)
	}
	return os.ReadFile(path)
}

// step is one thing done to the disk.
type step struct {
	op       string // write, sync, rename, sync-dir, shred, remove
	path, to string
	content  []byte
}

// watch sees each step once it is done. Only the test of power cuts sets it.
var watch = func(step) {}

// replaceFile puts content at path so that a crash leaves the old file or the
// new one, whole, and returns when the new one would survive a power cut.
func replaceFile(path string, content []byte) error {
	tmp, err := writeTemporary(path, content)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	watch(step{op: "rename", path: tmp, to: path})
	return syncDir(filepath.Dir(path))
}

// writeTemporary writes content beside path, synced; os.CreateTemp gives mode 0600.
func writeTemporary(path string, content []byte) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	watch(step{op: "write", path: f.Name(), content: content})
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	watch(step{op: "sync", path: f.Name()})
	return f.Name(), nil
}

// replaceShredding is replaceFile, then overwrites the file that was there.
func replaceShredding(path string, content []byte) error {
	old, err := openForShred(path)
	if err != nil {
		return err
	}
	if err := replaceFile(path, content); err != nil {
		return errors.Join(err, closeIf(old))
	}
	if old == nil {
		return nil
	}
	return shred(old)
}

func closeIf(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = errors.Join(d.Sync(), d.Close())
	watch(step{op: "sync-dir", path: dir})
	return err
}

// removeFile removes a file; none there is no error.
func removeFile(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	watch(step{op: "remove", path: path})
	return err
}

// shred overwrites an open file and closes it. The name may be gone already:
// what counts is that these blocks no longer hold the bytes (as far as the
// device lets anyone say so).
func shred(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	zeros := make([]byte, min(info.Size(), 1<<18))
	for off := int64(0); err == nil && off < info.Size(); off += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), info.Size()-off)], off)
	}
	err = errors.Join(err, f.Sync(), f.Close())
	watch(step{op: "shred", path: f.Name()})
	return err
}

// openForShred opens what shred will overwrite; nil without an error if there
// is no such file.
func openForShred(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// leftoverAge is how old a temporary file must be before it counts as left by
// a crash: a younger one may be another process's write under way.
const leftoverAge = time.Minute

// removeLeftovers shreds the temporary files of writes that a crash cut short.
func removeLeftovers(path string, now time.Time) error {
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp"))
	for _, name := range names {
		err = errors.Join(err, removeLeftover(name, now))
	}
	return err
}

func removeLeftover(name string, now time.Time) error {
	info, err := os.Lstat(name)
	if err != nil || now.Sub(info.ModTime()) < leftoverAge {
		return nil
	}
	f, err := openForShred(name)
	if f == nil {
		return err
	}
	return errors.Join(shred(f), os.Remove(name))
}
