package audit

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"holdfast/data"
)

// tx is what the room asks of a vault transaction.
type tx interface {
	Get(key []byte) ([]byte, error)
	Set(key, value []byte) error
	Delete(key []byte) error
	Walk(prefix, start []byte, fn func(key, value []byte) (more bool, err error)) error
}

// Appliance names the appliance's own log; a store's log has the store's name
// (data.StoreID.String()).
const Appliance = "appliance"

// owner is whose "personal" key seals the bodies of a log.
func owner(log string) string {
	if log == Appliance {
		return "system"
	}
	return log
}

// checkLog refuses names that could reach into another log's keys.
func checkLog(log string) error {
	if log == Appliance {
		return nil
	}
	if _, err := data.ParseStoreID(log); err != nil || strings.ContainsRune(log, 0) {
		return fmt.Errorf("audit log %q: %w", log, data.ErrNotFound)
	}
	return nil
}

// The keys: one letter, the log, a zero byte, the index in big endian.
//
//	s/<log>          state
//	e/<log>\0<n>     record n
//	h/<log>\0<n>     hashes final with record n
//	k/<log>\0<size>  kept checkpoint of that size
//	v/<key name>     a verifier key that checkpoints may be signed with
//	o/<log>          store may have changes that no leaf tells of yet
//	id               the appliance's random name
func stateKey(log string) []byte           { return []byte("s/" + log) }
func recordKey(log string, n int64) []byte { return indexed("e/", log, n) }
func hashKey(log string, n int64) []byte   { return indexed("h/", log, n) }
func keptKey(log string, n int64) []byte   { return indexed("k/", log, n) }
func openKey(log string) []byte            { return []byte("o/" + log) }

func indexed(kind, log string, n int64) []byte {
	return binary.BigEndian.AppendUint64([]byte(kind+log+"\x00"), uint64(n))
}

func indexOf(key []byte) int64 {
	return int64(binary.BigEndian.Uint64(key[len(key)-8:]))
}

// state is a log's head. It is rewritten by each transaction that appends, so
// size, checkpoint and the followed position can never disagree.
type state struct {
	Version    int           `json:"v"`
	Size       int64         `json:"size"`
	Checkpoint string        `json:"checkpoint"`        // signed note of Size
	Kept       int64         `json:"kept,omitempty"`    // size of the newest kept checkpoint
	Began      data.Position `json:"began,omitzero"`    // where following began: changes up to it have no leaf
	Follow     data.Position `json:"followed,omitzero"` // the newest change that has its leaf
}

const stateVersion = 1

// loadState gives the zero state for a log that has no entry yet.
func loadState(t tx, log string) (state, error) {
	value, err := t.Get(stateKey(log))
	if errors.Is(err, data.ErrNotFound) {
		return state{Version: stateVersion}, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("load audit log %s: %w", log, err)
	}
	return parseState(value)
}

func parseState(value []byte) (s state, err error) {
	if err := json.Unmarshal(value, &s); err != nil {
		return s, fmt.Errorf("parse the state of an audit log: %w", err)
	}
	if s.Version > stateVersion {
		return s, fmt.Errorf("parse the state of an audit log: version %d: %w", s.Version, data.ErrNewer)
	}
	if s.Version < 1 || s.Size < 0 || s.Kept < 0 || s.Kept > s.Size {
		return s, errors.New("parse the state of an audit log: malformed")
	}
	return s, nil
}

func (s state) save(t tx, log string) error {
	value, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("save audit log %s: %w", log, err)
	}
	return t.Set(stateKey(log), value)
}

// logPrefix is the beginning of all of a log's keys of one kind.
func logPrefix(kind, log string) []byte { return []byte(kind + log + "\x00") }
