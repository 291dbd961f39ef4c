//go:build unix

package app

import "golang.org/x/sys/unix"

// freeRoom is how many bytes the disk of a folder still takes.
func freeRoom(dir string) (int64, error) {
	free, _, err := roomOf(dir)
	return free, err
}

// roomOf is what the disk of a folder still takes, of how many bytes.
func roomOf(dir string) (free, total int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), nil
}
