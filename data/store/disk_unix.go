//go:build unix

package store

import "golang.org/x/sys/unix"

// diskFull says whether the disk of a folder has no room to speak of.
func diskFull(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && uint64(s.Bavail)*uint64(s.Bsize) < nearlyFull
}
