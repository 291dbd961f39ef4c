package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"holdfast/data"
)

// errCheckpoint is what every malformed or badly signed checkpoint answers.
var errCheckpoint = errors.New("bad checkpoint")

// formatCheckpoint gives the text that is signed (C2SP tlog-checkpoint): origin,
// size, root, one to a line.
func formatCheckpoint(origin string, t tlog.Tree) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, t.N, base64.StdEncoding.EncodeToString(t.Hash[:]))
}

// parseCheckpoint is the inverse; further lines are ignored, as C2SP wants.
func parseCheckpoint(text string) (origin string, t tlog.Tree, err error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) != 4 || lines[0] == "" {
		return "", t, fmt.Errorf("%w: want three lines", errCheckpoint)
	}
	t.N, err = strconv.ParseInt(lines[1], 10, 64)
	if err != nil || t.N < 0 || strconv.FormatInt(t.N, 10) != lines[1] {
		return "", t, fmt.Errorf("%w: size %q", errCheckpoint, lines[1])
	}
	if t.Hash, err = tlog.ParseHash(lines[2]); err != nil {
		return "", t, fmt.Errorf("%w: root: %w", errCheckpoint, err)
	}
	return lines[0], t, nil
}

// signer signs checkpoints with one generation of the signing key.
type signer struct {
	name string
	hash uint32
	key  ed25519.PrivateKey
	vkey string
}

var _ note.Signer = (*signer)(nil)

func newSigner(name string, seed [32]byte) (*signer, error) {
	key := ed25519.NewKeyFromSeed(seed[:])
	vkey, err := note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("audit signing key: %w", err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("audit signing key: %w", err)
	}
	return &signer{name, v.KeyHash(), key, vkey}, nil
}

func (s *signer) Name() string                    { return s.name }
func (s *signer) KeyHash() uint32                 { return s.hash }
func (s *signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// checkpoint signs the tree head of a log.
func (s *signer) checkpoint(log string, t tlog.Tree) (string, error) {
	signed, err := note.Sign(&note.Note{Text: formatCheckpoint(origin(s.name, log), t)}, s)
	if err != nil {
		return "", fmt.Errorf("sign checkpoint of %s: %w", log, err)
	}
	return string(signed), nil
}

// origin names a log for the world: the appliance's name and the log's.
func origin(name, log string) string { return name + "/" + log }

// openCheckpoint checks the signature and that the checkpoint is this log's.
func openCheckpoint(signed, wantOrigin string, known note.Verifiers) (tlog.Tree, error) {
	n, err := note.Open([]byte(signed), known)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%w: %w", errCheckpoint, err)
	}
	got, tree, err := parseCheckpoint(n.Text)
	if err != nil {
		return tlog.Tree{}, err
	}
	if got != wantOrigin {
		return tlog.Tree{}, fmt.Errorf("%w: it is of %q, not of %q", errCheckpoint, got, wantOrigin)
	}
	return tree, nil
}

// verifiers reads the keys that checkpoints may be signed with.
func verifiers(t tx) (note.Verifiers, []string, error) {
	var list []note.Verifier
	var vkeys []string
	err := t.Walk([]byte("v/"), nil, func(_, value []byte) (bool, error) {
		v, err := note.NewVerifier(string(value))
		if err != nil {
			return false, fmt.Errorf("audit verifier key: %w", err)
		}
		list, vkeys = append(list, v), append(vkeys, string(value))
		return true, nil
	})
	return note.VerifierList(list...), vkeys, err
}

// remember stores the signer's public half, so that its checkpoints can be
// checked after the private one was rotated away.
func (s *signer) remember(t tx) error {
	key := fmt.Appendf(nil, "v/%08x", s.hash)
	if _, err := t.Get(key); !errors.Is(err, data.ErrNotFound) {
		return err
	}
	return t.Set(key, []byte(s.vkey))
}
