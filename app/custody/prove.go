package custody

import (
	"context"
	"errors"
	"fmt"

	"holdfast/app/api"
	"holdfast/data/keys"
)

// Proven is the answer of a proof.
type Proven struct {
	ID      string   `json:"id"`
	Kind    string   `json:"kind"`
	Removed []string `json:"removed" doc:"older recovery slots that this one replaces"`
}

// Prove opens a slot by its secret: one that was begun is added, a new recovery
// key replaces the older ones. Wrong tries are slowed down.
func (s *Service) Prove(ctx context.Context, id string, secret Secret) (Proven, error) {
	way, err := secret.Slot()
	if err != nil {
		return Proven{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.tries.Begin(id); err != nil {
		return Proven{}, err
	}
	p, err := s.prove(ctx, id, way)
	if err != nil {
		return Proven{}, problemOf(err)
	}
	s.tries.Done(id)
	return p, nil
}

func (s *Service) prove(ctx context.Context, id string, way keys.Slot) (Proven, error) {
	if p := s.pending[id]; p != nil {
		return s.finish(ctx, id, p, way)
	}
	info, err := s.find(id)
	if err != nil {
		return Proven{}, err
	}
	root, opened, err := s.slots.Open(way)
	if err != nil {
		return Proven{}, err
	}
	root.Wipe()
	if opened != id {
		return Proven{}, api.Errorf(403, "wrong-slot", "That opens another slot (%s).", opened)
	}
	return s.proven(ctx, info)
}

// finish adds a slot that was begun.
func (s *Service) finish(ctx context.Context, id string, p *pendingSlot, way keys.Slot) (Proven, error) {
	if err := p.slot.Prove(way); err != nil {
		return Proven{}, err
	}
	delete(s.pending, id)
	if err := s.record(ctx, "slot.create", id, api.OK, map[string]string{"kind": "age"}); err != nil {
		return Proven{}, errors.Join(err, s.slots.Remove(s.config.Ring.Root(), id))
	}
	s.copies.kick(false)
	return Proven{ID: id, Kind: "age", Removed: []string{}}, s.markProven(ctx, id)
}

// proven notes a proof; of the newest recovery key it ends the older ones.
func (s *Service) proven(ctx context.Context, info keys.SlotInfo) (Proven, error) {
	p := Proven{ID: info.ID, Kind: info.Kind, Removed: []string{}}
	if err := s.record(ctx, "slot.prove", info.ID, api.OK, map[string]string{"kind": info.Kind}); err != nil {
		return p, err
	}
	if err := s.markProven(ctx, info.ID); err != nil || info.Kind != "recovery" {
		return p, err
	}
	var recovery []string
	for _, other := range s.slots.List() {
		if other.Kind == "recovery" {
			recovery = append(recovery, other.ID)
		}
	}
	if recovery[len(recovery)-1] != info.ID { // an older one: the newest is still to be proven
		return p, nil
	}
	return p, s.removeOlder(ctx, &p, recovery[:len(recovery)-1])
}

func (s *Service) removeOlder(ctx context.Context, p *Proven, ids []string) error {
	for _, id := range ids {
		if err := s.record(ctx, "slot.delete", id, api.OK, map[string]string{"kind": "recovery", "replaced by": p.ID}); err != nil {
			return err
		}
		if err := s.slots.Remove(s.config.Ring.Root(), id); err != nil {
			return fmt.Errorf("remove the old recovery key: %w", err)
		}
		p.Removed = append(p.Removed, id)
	}
	if len(ids) > 0 {
		s.copies.kick(true)
	}
	return nil
}

// NewRecovery is a recovery key, shown this once.
type NewRecovery struct {
	ID          string   `json:"id"`
	RecoveryKey string   `json:"recoveryKey"`
	Replaces    []string `json:"replaces" doc:"slots that end when the new key is proven"`
}

// Recovery makes a new recovery key. The older ones go on opening until the new one
// is proven: typed back, from where it was written down.
func (s *Service) Recovery(ctx context.Context) (NewRecovery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	replaces := []string{}
	for _, other := range s.slots.List() {
		if other.Kind == "recovery" {
			replaces = append(replaces, other.ID)
		}
	}
	slot, code := keys.NewRecovery()
	id, err := s.add(ctx, slot, "recovery")
	return NewRecovery{id, code, replaces}, problemOf(err)
}
