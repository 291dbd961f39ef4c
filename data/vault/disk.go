package vault

import (
	"fmt"
	"syscall"
)

// reserve is what must be free for a write to begin: badger maps its files into
// memory, and running out of disk there kills the process instead of failing
// the write. It covers a log, the table it becomes, and a compaction.
const reserve = 48 << 20

// room refuses a write, with syscall.ENOSPC, before the disk is full.
func room(dir string) error {
	free, err := freeBytes(dir)
	if err != nil {
		return fmt.Errorf("free space of the vault's disk: %w", err)
	}
	if free < reserve {
		return fmt.Errorf("the vault needs %d MB free, its disk has %d: %w", reserve>>20, free>>20, syscall.ENOSPC)
	}
	return nil
}
