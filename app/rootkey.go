package app

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"holdfast/data"
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
	root, err := keys.CreateSlots(filepath.Join(scratch, keys.SlotsFile), keys.KeyFile(keyFile), slot)
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

// opened is a keyring and the slot that opened it.
type opened struct {
	ring *keys.Ring
	slot string // its id
	kind string
}

// unlock opens the keyring through the first slot that opens. Damage to what is
// not needed now (another slot, the previous keyring) is told while there is still
// a way to mend it.
func unlock(f *folder, logger *slog.Logger, ways ...keys.Slot) (opened, error) {
	slots, err := keys.OpenSlots(f.in("keys", keys.SlotsFile))
	if err != nil {
		return opened{}, restorable(err)
	}
	for _, s := range slots.List() {
		if s.Damaged {
			logger.Error("a slot of the root key is damaged; the others still open", "slot", s.ID)
		}
	}
	root, id, err := slots.Open(ways...)
	if err != nil {
		return opened{}, err
	}
	ring, err := keys.OpenRing(f.in("keys"), root)
	if err != nil {
		return opened{}, restorable(fmt.Errorf("open the keyring: %w", err))
	}
	if err := errors.Join(slots.Check(root), ring.Check()); err != nil {
		logger.Error("the key files are damaged: what opened today may not open tomorrow; put a copy back", "error", err)
	}
	return opened{ring, id, kindOf(slots, id)}, nil
}

func kindOf(slots *keys.Slots, id string) string {
	for _, s := range slots.List() {
		if s.ID == id {
			return s.Kind
		}
	}
	return ""
}

// restorable adds to an error of missing or damaged key files what brings them back.
func restorable(err error) error {
	if !errors.Is(err, data.ErrNotFound) && !errors.Is(err, data.ErrTampered) {
		return err
	}
	return fmt.Errorf("%w\nBring the keys back: holdfast keys restore --previous (the one before the last change), "+
		"or holdfast keys restore --from TARGET-URL (an off-host copy); both ask for the secret of a slot", err)
}
