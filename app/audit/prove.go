package audit

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"holdfast/data"
	"holdfast/data/vault"
)

// Proof shows that an entry is in a log. Check needs nothing of the appliance
// but a verifier key that was noted before.
type Proof struct {
	Origin     string      `json:"origin"`
	Index      int64       `json:"index"`
	Leaf       string      `json:"leaf"`
	Hashes     []tlog.Hash `json:"hashes"`
	Checkpoint string      `json:"checkpoint"`
	Keys       []string    `json:"verifierKeys"`
	Opening    *Opening    `json:"opening,omitempty"` // absent when the body is erased
}

// Opening reveals the body that a leaf is committed to.
type Opening struct {
	Salt string `json:"salt"` // base64, 32 bytes
	Body string `json:"body"` // the JSON text, to the byte
}

// Prove makes the proof of one entry against the newest checkpoint.
func (s *Service) Prove(ctx context.Context, log string, n int64) (p Proof, err error) {
	if err := checkLog(log); err != nil {
		return p, err
	}
	err = s.config.Vault.View(ctx, func(t *vault.Tx) error {
		p, err = s.prove(t, log, n)
		return err
	})
	if err != nil {
		return p, fmt.Errorf("prove an entry of audit log %s: %w", log, err)
	}
	return p, nil
}

func (s *Service) prove(t tx, log string, n int64) (Proof, error) {
	st, err := loadState(t, log)
	if err != nil {
		return Proof{}, err
	}
	if n < 0 || n >= st.Size {
		return Proof{}, fmt.Errorf("entry %d of %d: %w", n, st.Size, data.ErrNotFound)
	}
	r, _, err := loadRecord(t, log, n)
	if err != nil {
		return Proof{}, err
	}
	hashes, err := tlog.ProveRecord(st.Size, n, hashReader{log, t.Get})
	if err != nil {
		return Proof{}, err
	}
	_, keys, err := verifiers(t)
	if err != nil {
		return Proof{}, err
	}
	opening, err := s.opening(log, r)
	return Proof{origin(s.name, log), n, string(r.Leaf), hashes, st.Checkpoint, keys, opening}, err
}

func (s *Service) opening(log string, r record) (*Opening, error) {
	if r.Erased {
		return nil, nil
	}
	plain, err := s.ciphers.plain(log, s.config.Personal(owner(log)), r)
	if errors.Is(err, data.ErrDestroyed) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &Opening{base64.StdEncoding.EncodeToString(plain[:saltSize]), string(plain[saltSize:])}, nil
}

// Check verifies the proof with a verifier key, which must come from somewhere
// else than the proof. It answers the entry.
func (p Proof) Check(vkey string) (Entry, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return Entry{}, fmt.Errorf("check proof: %w", err)
	}
	tree, err := openCheckpoint(p.Checkpoint, p.Origin, note.VerifierList(v))
	if err != nil {
		return Entry{}, fmt.Errorf("check proof: %w", err)
	}
	if err := tlog.CheckRecord(p.Hashes, tree.N, tree.Hash, p.Index, tlog.RecordHash([]byte(p.Leaf))); err != nil {
		return Entry{}, fmt.Errorf("check proof: %w", err)
	}
	return p.entry()
}

func (p Proof) entry() (Entry, error) {
	l, err := parseLeaf([]byte(p.Leaf))
	if err != nil {
		return Entry{}, fmt.Errorf("check proof: %w", err)
	}
	if p.Opening == nil {
		return entryOf(p.Index, l, body{}, true), nil
	}
	salt, err := base64.StdEncoding.DecodeString(p.Opening.Salt)
	if err != nil || len(salt) != saltSize {
		return Entry{}, errors.New("check proof: malformed salt")
	}
	b, err := reveal(append(salt, p.Opening.Body...), l.Commitment)
	if err != nil {
		return Entry{}, fmt.Errorf("check proof: %w", err)
	}
	return entryOf(p.Index, l, b, false), nil
}

// Consistency shows that the log of an older checkpoint is a beginning of the
// log of the newest: nothing before it was changed.
type Consistency struct {
	Origin     string      `json:"origin"`
	From       int64       `json:"from"`
	Hashes     []tlog.Hash `json:"hashes"`
	Checkpoint string      `json:"checkpoint"`
	Keys       []string    `json:"verifierKeys"`
}

// ProveSince makes the consistency proof from a size seen before.
func (s *Service) ProveSince(ctx context.Context, log string, from int64) (c Consistency, err error) {
	if err := checkLog(log); err != nil {
		return c, err
	}
	err = s.config.Vault.View(ctx, func(t *vault.Tx) error {
		st, err := loadState(t, log)
		if err != nil {
			return err
		}
		if from < 1 || from > st.Size {
			return fmt.Errorf("size %d of %d: %w", from, st.Size, data.ErrNotFound)
		}
		c = Consistency{Origin: origin(s.name, log), From: from, Checkpoint: st.Checkpoint}
		if c.Hashes, err = tlog.ProveTree(st.Size, from, hashReader{log, t.Get}); err != nil {
			return err
		}
		_, c.Keys, err = verifiers(t)
		return err
	})
	if err != nil {
		return c, fmt.Errorf("prove audit log %s consistent: %w", log, err)
	}
	return c, nil
}

// Check verifies that the checkpoint seen before leads to the newest. Both
// must be signed with vkey.
func (c Consistency) Check(vkey, before string) error {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return fmt.Errorf("check consistency: %w", err)
	}
	old, err := openCheckpoint(before, c.Origin, note.VerifierList(v))
	if err != nil {
		return fmt.Errorf("check consistency: the checkpoint seen before: %w", err)
	}
	now, err := openCheckpoint(c.Checkpoint, c.Origin, note.VerifierList(v))
	if err != nil {
		return fmt.Errorf("check consistency: %w", err)
	}
	if err := tlog.CheckTree(c.Hashes, now.N, now.Hash, old.N, old.Hash); err != nil {
		return fmt.Errorf("check consistency: %w", err)
	}
	return nil
}
