package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData is fdatasync(2): what was written and the file's size, but not its
// times, for which a file system would write its journal at each commit.
func syncData(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for failed = unix.EINTR; failed == unix.EINTR; { //nolint:errorlint // it is an errno
			failed = unix.Fdatasync(int(fd))
		}
	})
	if err == nil && failed != nil {
		err = &os.PathError{Op: "sync", Path: f.Name(), Err: failed}
	}
	return err
}
