//go:build unix

package system

import "golang.org/x/sys/unix"

// diskFull says whether nothing more can be written beside the database.
func diskFull(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && uint64(s.Bavail)*uint64(s.Bsize) < nearlyFull
}
