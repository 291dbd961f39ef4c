package keys

import (
	"fmt"

	"holdfast/data"
)

// Pending is a slot that is made and not yet in the file: somebody has to prove
// that it opens first.
type Pending struct {
	slots *Slots
	root  Root
	cell  slotCell
}

// Begin makes a slot that is added once Prove has opened it. Nothing changes on
// disk before that, and a Pending may be dropped at any time.
func (s *Slots) Begin(root Root, slot Slot) (*Pending, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.owns(root); err != nil {
		return nil, fmt.Errorf("begin a slot: %w", err)
	}
	c, err := s.wrap(root, slot)
	if err != nil {
		return nil, fmt.Errorf("begin %s slot: %w", slot.Kind(), err)
	}
	return &Pending{s, root, c}, nil
}

// ID is the one that the slot will have.
func (p *Pending) ID() string { return p.cell.name(0) }

// Challenge is the age file of an age slot, nil for other kinds: its content is
// what AgeAnswer takes. It may be shown to anybody.
func (p *Pending) Challenge() []byte {
	body, err := parseAgeBody(p.cell.body)
	if p.cell.kind != KindAge || err != nil {
		return nil
	}
	return body.file
}

// Prove opens the slot by what its holder gave, then adds it to the file. An error
// of Unlock says that it does not open; it may be tried again.
func (p *Pending) Prove(way Slot) error {
	if way.Kind() != p.cell.kind {
		return fmt.Errorf("prove %s slot with a %s: %w", p.cell.kind, way.Kind(), ErrWrongKey)
	}
	if _, err := p.cell.unlock(way); err != nil {
		return fmt.Errorf("prove %s slot: %w", p.cell.kind, joinWrong(err))
	}
	p.slots.mu.Lock()
	defer p.slots.mu.Unlock()
	if err := p.slots.owns(p.root); err != nil {
		return fmt.Errorf("add slot: %w", err)
	}
	for i, c := range p.slots.cells {
		if c.id == p.cell.id {
			return fmt.Errorf("add slot %s: %w", c.name(i), data.ErrExists)
		}
	}
	return p.slots.write(p.root, append(p.slots.cells[:len(p.slots.cells):len(p.slots.cells)], p.cell))
}

func joinWrong(err error) error { return fmt.Errorf("%w: %w", ErrWrongKey, err) }
