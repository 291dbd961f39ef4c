package custody

import (
	"context"
	"errors"
	"slices"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/keys"
)

// Order says which keys to rotate.
type Order struct {
	Owner   string `json:"owner" doc:"system, or a store: slug or slug/environment"`
	Purpose string `json:"purpose,omitempty" doc:"all of the owner's when left out"`
	Resume  bool   `json:"resume,omitempty" doc:"make no new generation: go on writing old data anew"`
}

// Rotated is the result of the operation.
type Rotated struct {
	Owner string         `json:"owner"`
	Keys  []RotatedEntry `json:"keys"`
}

// RotatedEntry is one purpose that was rotated.
type RotatedEntry struct {
	Purpose    string `json:"purpose"`
	Generation uint32 `json:"generation" doc:"the live one"`
	Retired    int    `json:"retired" doc:"older ones that something is still under"`
}

// Rotate gives each purpose a new live generation, then has old data written anew
// in the background, as an operation. data.ErrNotFound for an owner or a purpose
// that there is not, data.ErrParked and data.ErrDestroyed by the owner's state.
func (s *Service) Rotate(ctx context.Context, o Order) (api.Operation, error) {
	owner, store, err := s.owner(ctx, o.Owner)
	if err != nil {
		return api.Operation{}, err
	}
	purposes, err := s.purposes(owner, o.Purpose)
	if err != nil {
		return api.Operation{}, err
	}
	if !o.Resume {
		if err := s.record(ctx, "key.rotate", o.Owner, api.OK, map[string]string{"purpose": o.Purpose}); err != nil {
			return api.Operation{}, err
		}
		for _, p := range purposes {
			if err := s.config.Ring.Rotate(owner, p); err != nil {
				return api.Operation{}, problemOf(err)
			}
		}
	}
	return s.config.Operations.Start(ctx, "rekey", o.Owner, store, func(ctx context.Context, p *api.Progress) (any, error) {
		return s.rekey(ctx, o.Owner, owner, purposes, p)
	})
}

func (s *Service) owner(ctx context.Context, name string) (owner keys.Owner, store string, err error) {
	switch name {
	case "":
		return "", "", api.InvalidField("owner", "is missing: system, or a store's slug or slug/environment")
	case string(keys.System):
		return keys.System, "", nil
	}
	owner, err = s.config.Owner(ctx, name)
	return owner, string(owner), err
}

// purposes are the owner's, or the one that is named.
func (s *Service) purposes(owner keys.Owner, name string) ([]keys.Purpose, error) {
	var all []keys.Purpose
	for _, e := range s.config.Ring.Entries() {
		if e.Owner == owner && (name == "" || string(e.Purpose) == name) && !slices.Contains(all, e.Purpose) {
			all = append(all, e.Purpose)
		}
	}
	if len(all) == 0 {
		return nil, api.Errorf(404, "not-found", "There is no key of purpose %q there.", name).Because(data.ErrNotFound)
	}
	return all, nil
}

func (s *Service) rekey(ctx context.Context, name string, owner keys.Owner, purposes []keys.Purpose, p *api.Progress) (Rotated, error) {
	for i, purpose := range purposes {
		if s.config.Rekeyer == nil {
			break
		}
		text := string(purpose)
		progress := func(done, total int64) { p.Set(ctx, done, total, "pages", text) }
		if err := s.config.Rekeyer.Rekey(ctx, owner, purpose, progress); err != nil {
			return Rotated{}, err
		}
		p.Set(ctx, int64(i+1), int64(len(purposes)), "purposes", text)
	}
	return s.rotated(name, owner, purposes), nil
}

func (s *Service) rotated(name string, owner keys.Owner, purposes []keys.Purpose) Rotated {
	r := Rotated{Owner: name, Keys: make([]RotatedEntry, len(purposes))}
	for i, p := range purposes {
		r.Keys[i].Purpose = string(p)
		for _, e := range s.config.Ring.Entries() {
			if e.Owner != owner || e.Purpose != p {
				continue
			}
			if e.State == keys.Live {
				r.Keys[i].Generation = e.Generation
			}
			if e.State == keys.Retired {
				r.Keys[i].Retired++
			}
		}
	}
	return r
}

// RootOrder is the body of a rotation of the root key.
type RootOrder struct {
	Passphrase string   `json:"passphrase,omitempty" doc:"of the passphrase slot that goes on; the old one or a new one" secret:"true"`
	Drop       []string `json:"drop,omitempty" doc:"kinds of slots that may end with the old root key"`
}

// NewRoot is the answer. What it shows is shown this once.
type NewRoot struct {
	ID          string   `json:"id" doc:"of the root key; tells nothing of it"`
	Slots       []string `json:"slots" doc:"kinds of the slots that open it"`
	Ended       []string `json:"ended" doc:"kinds of the slots that opened the old one and no longer open anything"`
	RecoveryKey string   `json:"recoveryKey"`
	Shares      []string `json:"shares" doc:"a new set, where there was one"`
}

// plan is the slots of the next root key.
type plan struct {
	slots []keys.Slot
	out   NewRoot
}

// RotateRoot puts all keys under a new root key. Key file, credential and age
// recipients go on; the passphrase must be given; recovery key and shares are new.
// A 409 when a slot would end that is not in Drop.
func (s *Service) RotateRoot(ctx context.Context, o RootOrder) (NewRoot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.plan(o)
	if err != nil {
		return NewRoot{}, problemOf(err)
	}
	s.copies.round.Lock() // no copy of half of it
	defer s.copies.round.Unlock()
	old := s.config.Ring.Root()
	if err := s.record(ctx, "root.rotate", old.ID(), api.OK, nil); err != nil {
		return NewRoot{}, err
	}
	root, err := s.slots.RotateRoot(s.config.Ring, p.slots...)
	if err != nil {
		return NewRoot{}, errors.Join(problemOf(err), s.record(ctx, "root.rotate", old.ID(), api.Failed, nil))
	}
	old.Wipe()
	clear(s.pending)
	s.copies.kick(true) // the old secrets open the old copies
	p.out.ID = root.ID()
	return p.out, s.provenAfter(ctx)
}

// plan makes the slots of the next root key, in the order of the old ones.
func (s *Service) plan(o RootOrder) (*plan, error) {
	p := &plan{out: NewRoot{Slots: []string{}, Ended: []string{}, Shares: []string{}}}
	recovery, code := keys.NewRecovery()
	done := map[string]bool{}
	for _, old := range s.slots.List() {
		slot, err := s.successor(old, o, p)
		if err != nil {
			return nil, err
		}
		again := done[old.Kind] && old.Kind != "age" // one file, one passphrase, one key
		switch {
		case slot == nil && old.Kind != "recovery":
			p.out.Ended = append(p.out.Ended, old.Kind)
		case slot != nil && !again:
			p.slots, p.out.Slots = append(p.slots, slot), append(p.out.Slots, old.Kind)
		}
		done[old.Kind] = true
	}
	p.slots, p.out.Slots, p.out.RecoveryKey = append(p.slots, recovery), append(p.out.Slots, "recovery"), code
	return p, s.mayEnd(p.out.Ended, o.Drop)
}

// successor is the slot that follows an old one; nil when it cannot go on.
func (s *Service) successor(old keys.SlotInfo, o RootOrder, p *plan) (keys.Slot, error) {
	switch old.Kind {
	case "key-file":
		return s.ifOpens(keys.KeyFile(s.config.KeyFile), s.config.KeyFile), nil
	case "credential":
		return s.ifOpens(keys.Credential(s.config.Credential), s.config.Credential), nil
	case "age":
		return keys.AgeRecipient(old.Recipient), nil
	case "passphrase":
		if o.Passphrase != "" {
			return keys.Passphrase([]byte(o.Passphrase)), nil
		}
	case "shares":
		if len(p.out.Shares) > 0 {
			return nil, nil
		}
		slot, texts, err := keys.NewShares(old.Need, old.Of)
		p.out.Shares = texts
		return slot, err
	}
	return nil, nil
}

// ifOpens is the slot, if what it reads is there and opens the old root key.
func (s *Service) ifOpens(slot keys.Slot, path string) keys.Slot {
	if path == "" {
		return nil
	}
	root, err := s.slots.Unlock(slot)
	if err != nil {
		return nil
	}
	root.Wipe()
	return slot
}

func (s *Service) mayEnd(ended, drop []string) error {
	for _, kind := range ended {
		if !slices.Contains(drop, kind) {
			return api.Errorf(409, "slot-would-end",
				"The %s slot cannot go on by itself: give its secret, or name the kind in drop (--drop %s) to let it end.", kind, kind)
		}
	}
	return nil
}

// provenAfter notes the new slots whose secret came from outside.
func (s *Service) provenAfter(ctx context.Context) error {
	for _, info := range s.slots.List() {
		if info.Kind == "passphrase" || info.Unattended() {
			if err := s.markProven(ctx, info.ID); err != nil {
				return err
			}
		}
	}
	return nil
}
