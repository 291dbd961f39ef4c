package audit

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"holdfast/data/vault"
)

// SignNote signs a text of another room, which must end with a line feed, with the
// key that signs checkpoints. It gives the signature lines and the verifier key,
// which is remembered like those of checkpoints. The text's first line must not be
// one that begins a checkpoint.
func (s *Service) SignNote(ctx context.Context, text string) (signature, verifierKey string, err error) {
	if strings.HasPrefix(text, s.name+"/") {
		return "", "", fmt.Errorf("sign a note: it begins as a checkpoint does")
	}
	_, seed, err := s.config.Signing.Current()
	if err != nil {
		return "", "", fmt.Errorf("audit signing key: %w", err)
	}
	key, err := newSigner(s.name, seed)
	if err != nil {
		return "", "", err
	}
	signed, err := note.Sign(&note.Note{Text: text}, key)
	if err != nil {
		return "", "", fmt.Errorf("sign a note: %w", err)
	}
	err = s.config.Vault.Update(ctx, func(t *vault.Tx) error { return key.remember(t) })
	return string(signed[len(text)+1:]), key.vkey, err
}

// Recorded says whether the appliance's log has an entry of an action, one that was
// done, in which the text is found. It looks at as many entries as List does.
func (s *Service) Recorded(ctx context.Context, action, text string) (bool, error) {
	found, _, err := s.List(ctx, Appliance, Query{Action: action, Text: text, Limit: 1})
	return len(found) > 0, err
}
