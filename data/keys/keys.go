// Package keys holds the root key's slots and the keyring: every key of the
// house, each wrapped, with the life it has (live, parked, retired, destroyed).
// Formats and rules stand in README.md.
package keys

import (
	"errors"
	"fmt"
	"log/slog"
)

// Owner is whose key it is: System, or a store ("<tenant id>/<environment>").
type Owner string

// System owns the keys of the appliance itself.
const System Owner = "system"

// Purpose is what a key is for. Each purpose rotates alone.
type Purpose string

// The purposes of the house.
const (
	Pages        Purpose = "pages"
	Files        Purpose = "files"
	Segments     Purpose = "segments"
	Vault        Purpose = "vault"
	AuditSigning Purpose = "audit-signing"
	Personal     Purpose = "personal"
	Fields       Purpose = "fields"
)

// State is where a key stands in its life.
type State string

// The states. Only live keys seal new data; retired ones still open old data;
// parked ones wait out the undelete window; of destroyed ones only the
// fingerprint is left.
const (
	Live      State = "live"
	Parked    State = "parked"
	Retired   State = "retired"
	Destroyed State = "destroyed"
)

// Errors of this room, beside those of package data.
var (
	// ErrWrongKey says that no slot opened, or that a file belongs to another root key.
	ErrWrongKey = errors.New("wrong key")
	// ErrLastSlot refuses the removal of the only slot that can still be opened.
	ErrLastSlot = errors.New("the last usable slot cannot be removed")
	// ErrInUse refuses to park, drop or destroy what the house still needs.
	ErrInUse = errors.New("the key is in use")
	// ErrExposed refuses key files and folders that other users can read.
	ErrExposed = errors.New("other users of this machine can read it")
	// ErrCode says that a recovery key was mistyped.
	ErrCode = errors.New("not a valid recovery key")
	// ErrShare says that a share is mistyped, was given twice, or is of another set.
	ErrShare = errors.New("not a usable share")
	// ErrFewShares says that the shares are good, and not enough.
	ErrFewShares = errors.New("more shares are needed")
	// ErrIdentity says that an age identity or recipient cannot be read.
	ErrIdentity = errors.New("not an age identity or recipient")
	// ErrUnproven refuses a slot that nobody has shown to open.
	ErrUnproven = errors.New("the slot has not been proven to open")
	// ErrWeak refuses a passphrase that is too short.
	ErrWeak = errors.New("the passphrase is too short")
)

const redacted = "[redacted]"

// Root is the key above all keys, held in memory only. Its zero value opens
// nothing. It prints and logs as "[redacted]".
type Root struct{ key *[32]byte }

// ID names the root key without telling anything of it: hexadecimal, the same
// in the slots and in the keyring that belong together. Empty for the zero Root.
func (r Root) ID() string {
	if r.empty() {
		return ""
	}
	id := r.id()
	return fmt.Sprintf("%x", id[:])
}

// Wipe overwrites the key in memory; every copy of this Root is then unusable.
func (r Root) Wipe() {
	if r.key != nil {
		clear(r.key[:])
	}
}

// empty says that there is no key, or one that was wiped.
func (r Root) empty() bool { return r.key == nil || *r.key == [32]byte{} }

// Format hides the key from every verb of package fmt.
func (Root) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redacted)) }

// LogValue hides the key from slog.
func (Root) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the key from encoders.
func (Root) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (r Root) id() (id [16]byte) {
	copy(id[:], r.derive(nil, "id", len(id)))
	return id
}
