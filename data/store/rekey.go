package store

import (
	"context"
	"fmt"
	"time"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// Seals tells how often a key sealed, and how often it may.
type Seals = cryptfs.Seals

// RekeyPages seals the store's databases anew under the current generation of its
// pages key, while they are in use; see cryptfs.FS.Rekey.
func (s *Store) RekeyPages(ctx context.Context, progress func(done, total int64)) error {
	if err := s.disk.Rekey(ctx, progress); err != nil {
		return fmt.Errorf("store %s: %w", s.id, err)
	}
	return nil
}

// PageGenerations are those of the pages key that anything is sealed under.
func (s *Store) PageGenerations(ctx context.Context) ([]uint32, error) {
	in, err := s.disk.Generations(ctx)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", s.id, err)
	}
	return in, nil
}

// Seals tells how often the store's pages key sealed, by database and generation.
func (s *Store) Seals() ([]Seals, error) { return s.disk.Seals() }

// RekeyFiles seals a store's files anew under the current generation of its files
// key, while they are in use. The store need not be open.
func (p *Pool) RekeyFiles(ctx context.Context, id data.StoreID, progress func(done, total int64)) error {
	files, err := p.filesOf(id)
	if err == nil {
		err = files.Rekey(ctx, progress)
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", id, err)
	}
	return nil
}

// FileGenerations are those of the files key that any file is sealed under.
func (p *Pool) FileGenerations(ctx context.Context, id data.StoreID) ([]uint32, error) {
	files, err := p.filesOf(id)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", id, err)
	}
	in, err := files.Generations(ctx)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", id, err)
	}
	return in, nil
}

// Spent lists the open stores whose pages key sealed half as often as it may, or
// more often: time for a new generation.
func (p *Pool) Spent() (spent []data.StoreID) {
	for _, s := range p.hold() {
		seals, err := s.Seals()
		if err == nil && cryptfs.RotationDue(seals) {
			spent = append(spent, s.id)
		}
		p.letGo(s, time.Time{})
	}
	return spent
}

// Seals tells how often the pages keys of the open stores sealed. A store whose count
// cannot be read is left out.
func (p *Pool) Seals() map[data.StoreID][]Seals {
	all := map[data.StoreID][]Seals{}
	for _, s := range p.hold() {
		if seals, err := s.Seals(); err == nil {
			all[s.id] = seals
		}
		p.letGo(s, time.Time{})
	}
	return all
}

// hold keeps the open stores from closing until letGo.
func (p *Pool) hold() (open []*Store) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.stores {
		if e.store != nil && !e.closing {
			e.holds++
			open = append(open, e.store)
		}
	}
	return open
}
