package identity

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"holdfast/data"
)

// of lists a person's sessions that have not ended, the one last used first.
func (s *sessions) of(ctx context.Context, person string) ([]Session, error) {
	digests, err := s.digests(ctx, person)
	if err != nil {
		return nil, err
	}
	var found []Session
	for _, d := range digests {
		session, err := s.peek(ctx, d)
		if errors.Is(err, data.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, session)
	}
	slices.SortFunc(found, func(a, b Session) int { return b.Seen.Compare(a.Seen) })
	return found, nil
}

// digests are the keys of a person's sessions in the vault.
func (s *sessions) digests(ctx context.Context, person string) ([]digest, error) {
	prefix := "person/" + person + "/"
	keys, err := s.values.Keys(ctx, prefix)
	if err != nil {
		return nil, err
	}
	var all []digest
	for _, key := range keys {
		var d digest
		if n, err := hex.Decode(d[:], []byte(strings.TrimPrefix(key, prefix))); err == nil && n == len(d) {
			all = append(all, d)
		}
	}
	return all, nil
}

// peek reads a session without using it: what memory has is newer than the vault.
func (s *sessions) peek(ctx context.Context, d digest) (Session, error) {
	session, err := s.load(ctx, d)
	if err != nil {
		return Session{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if l := s.live[d]; l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.ended {
			return Session{}, data.ErrNotFound
		}
		session = l.session
	}
	if over, err := s.over(ctx, session, s.clock().UTC()); over || err != nil {
		return Session{}, orElse(err, data.ErrNotFound)
	}
	return session, nil
}

// endByID ends one of a person's sessions by its id. data.ErrNotFound.
func (s *sessions) endByID(ctx context.Context, person, id string) error {
	digests, err := s.digests(ctx, person)
	if err != nil {
		return err
	}
	for _, d := range digests {
		if hex.EncodeToString(d[:8]) == id {
			return s.endFor(ctx, d, person)
		}
	}
	return data.ErrNotFound
}
