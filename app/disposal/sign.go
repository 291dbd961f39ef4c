package disposal

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// signerName is the name under which the audit-signing key signs the ledger. It is
// no appliance's: a host that was built anew from keyring and bucket must know
// the ledger of the one before for its own.
const signerName = "holdfast-ledger"

// signer signs entries with one generation of the audit-signing key.
type signer struct {
	verifier note.Verifier
	vkey     string
	key      ed25519.PrivateKey
}

var _ note.Signer = (*signer)(nil)

func newSigner(seed [32]byte) (*signer, error) {
	key := ed25519.NewKeyFromSeed(seed[:])
	vkey, err := note.NewEd25519VerifierKey(signerName, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(vkey)
	return &signer{v, vkey, key}, err
}

func (s *signer) Name() string                    { return s.verifier.Name() }
func (s *signer) KeyHash() uint32                 { return s.verifier.KeyHash() }
func (s *signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// name is the signer's in the names of objects.
func (s *signer) name() string { return keyName(s.verifier) }

func keyName(v note.Verifier) string { return fmt.Sprintf("%08x", v.KeyHash()) }

func (s *signer) sign(e entry) (string, error) {
	signed, err := note.Sign(&note.Note{Text: e.format()}, s)
	return string(signed), err
}

// signers are those of all generations that the keyring still has, oldest first;
// the last one signs.
func (s *Service) signers() ([]*signer, error) {
	current, _, err := s.config.Signing.Current()
	if err != nil {
		return nil, fmt.Errorf("ledger signing key: %w", err)
	}
	var out []*signer
	for g := uint32(1); g <= current; g++ {
		seed, err := s.config.Signing.Generation(g)
		if g < current && (errors.Is(err, data.ErrDestroyed) || errors.Is(err, data.ErrNotFound)) {
			continue // rotated away
		}
		if err != nil {
			return nil, fmt.Errorf("ledger signing key: %w", err)
		}
		one, err := newSigner(seed)
		if err != nil {
			return nil, fmt.Errorf("ledger signing key: %w", err)
		}
		out = append(out, one)
	}
	return out, nil
}

// trusted are the keys whose entries count: our own, those that our own vouched for
// in the ledger, and so on.
func (s *Service) trusted(ctx context.Context) (map[string]note.Verifier, error) {
	own, err := s.signers()
	if err != nil {
		return nil, err
	}
	known := map[string]note.Verifier{}
	for _, o := range own {
		known[o.name()] = o.verifier
	}
	var vkeys []string
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error { return tx.SelectContext(ctx, &vkeys, `SELECT vkey FROM ledger_keys`) })
	if err != nil {
		return nil, fmt.Errorf("ledger keys: %w", err)
	}
	for _, vkey := range vkeys {
		if v, err := note.NewVerifier(vkey); err == nil {
			known[keyName(v)] = v
		}
	}
	return known, nil
}

// openEntry checks signature and text of an entry from outside.
func openEntry(signed []byte, v note.Verifier) (entry, string, error) {
	if len(signed) > maxEntry+1024 {
		return entry{}, "", fmt.Errorf("%w: too large", errEntry)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return entry{}, "", fmt.Errorf("%w: %w", data.ErrTampered, err)
	}
	e, err := parseEntry(n.Text)
	return e, hashOf(n.Text), err
}
