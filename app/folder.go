package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"holdfast/data"
)

// folderFormat is the version of the data folder's layout. A folder of a newer
// one is refused, never guessed at.
const folderFormat = 1

// folder is the data folder, held by one process at a time.
type folder struct {
	path string
	lock *os.File
}

// openFolder makes the data folder where there is none, checks that nobody else
// can read it and takes it for this process.
func openFolder(path string) (*folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read the data folder %s (mode %04o); run: chmod 700 %s", path, info.Mode().Perm(), path)
	}
	if err := checkShare(path); err != nil {
		return nil, err
	}
	f := &folder{path: path}
	if err := f.take(); err != nil {
		return nil, err
	}
	if err := f.checkFormat(); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// checkShare refuses a network share: two hosts could serve it at once, since neither
// the lock nor SQLite's log is safe there.
func checkShare(path string) error {
	kind, err := shareOf(path)
	return errors.Join(err, refuseShare(path, kind))
}

func refuseShare(path, kind string) error {
	if kind == "" {
		return nil
	}
	return fmt.Errorf("data folder %s lies on a network share (%s), which two hosts could serve at once; put it on a disk of this host and ship snapshots elsewhere", path, kind)
}

// take locks the format file. The kernel drops the lock with the process, so a
// crash leaves nothing to clean up.
func (f *folder) take() error {
	file, err := os.OpenFile(f.in("format"), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("the data folder cannot be written: %w; give it to the user that runs holdfast, or mount it writable", err)
	}
	if err != nil {
		return fmt.Errorf("open the data folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return fmt.Errorf("data folder %s: %w; another holdfast serves it", f.path, data.ErrBusy)
	}
	f.lock = file
	return nil
}

// checkFormat reads the format file, or writes it in a new folder.
func (f *folder) checkFormat() error {
	b, err := os.ReadFile(f.in("format"))
	if err != nil {
		return err
	}
	if len(b) == 0 {
		_, err := fmt.Fprintf(f.lock, "holdfast %d\n", folderFormat)
		return errors.Join(err, f.lock.Sync())
	}
	word, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "holdfast ")
	format, err := strconv.Atoi(word)
	if !ok || err != nil {
		return fmt.Errorf("%s is not a holdfast data folder: its format file says %.40q", f.path, b)
	}
	if format > folderFormat {
		return fmt.Errorf("data folder %s: %w: its format is %d, this one reads up to %d", f.path, data.ErrNewer, format, folderFormat)
	}
	return nil
}

func (f *folder) in(name ...string) string {
	return filepath.Join(append([]string{f.path}, name...)...)
}

func (f *folder) close() error { return f.lock.Close() }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// socketPath is where the local socket of a data folder is.
func socketPath(dir string) string { return filepath.Join(dir, "holdfast.sock") }
