package app

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"holdfast/data/keys"
)

// systemPurposes are the keys of the appliance itself.
var systemPurposes = []keys.Purpose{keys.Pages, keys.Files, keys.Vault, keys.Segments, keys.AuditSigning, keys.Personal, keys.Fields}

// createKeys makes root key, slots and keyring of a new data folder and returns
// the recovery key. They are built aside and renamed, so that a crash
// leaves either no keys at all or all of them.
func createKeys(f *folder, keyFile string) (recovery string, err error) {
	scratch := f.in("keys.new")
	if err := os.RemoveAll(scratch); err != nil {
		return "", err
	}
	slot, recovery := keys.NewRecovery()
	root, err := keys.CreateSlots(filepath.Join(scratch, "root.slots"), keys.KeyFile(keyFile), slot)
	if err != nil {
		return "", err
	}
	defer root.Wipe()
	ring, err := keys.CreateRing(scratch, root)
	if err != nil {
		return "", err
	}
	defer ring.Seal()
	if err := ring.Add(keys.System, systemPurposes...); err != nil {
		return "", err
	}
	return recovery, renameDurably(scratch, f.in("keys"))
}

// renameDurably renames and makes the new name survive a power cut.
func renameDurably(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// unlock opens the keyring through one slot. Damage to what is not needed now (another
// slot, the previous keyring) is told while there is still a way to mend it.
func unlock(f *folder, slot keys.Slot, logger *slog.Logger) (*keys.Ring, error) {
	slots, err := keys.OpenSlots(f.in("keys", "root.slots"))
	if err != nil {
		return nil, err
	}
	root, err := slots.Unlock(slot)
	if err != nil {
		return nil, err
	}
	ring, err := keys.OpenRing(f.in("keys"), root)
	if err != nil {
		return nil, fmt.Errorf("open the keyring: %w", err)
	}
	if err := errors.Join(slots.Check(root), ring.Check()); err != nil {
		logger.Error("the key files are damaged: what opened today may not open tomorrow; put a copy back", "error", err)
	}
	return ring, nil
}
