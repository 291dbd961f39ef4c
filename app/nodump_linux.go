package app

import (
	"errors"

	"golang.org/x/sys/unix"
)

// keepOutOfDumps sees to it that no key reaches a disk by way of a crash: no core
// file is written, and other processes of this user cannot attach.
func keepOutOfDumps() error {
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 0, Max: 0}),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
	)
}
