package custody

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"filippo.io/age/armor"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/keys"
)

// Shares of a set when nothing else is said.
const (
	defaultNeed = 3
	defaultOf   = 5
)

// A slot that was begun waits this long for its proof.
const (
	pendingLife = time.Hour
	mostPending = 16
)

// NewSlot is the body of an addition.
type NewSlot struct {
	Kind       string `json:"kind" enum:"passphrase,key-file,credential,age,shares"`
	Passphrase string `json:"passphrase,omitempty" secret:"later"`
	File       string `json:"file,omitempty" doc:"key-file: its path on this host; only for commands on the host"`
	Recipient  string `json:"recipient,omitempty" doc:"age: the public half, always; the slot is added when it is proven"`
	Identity   string `json:"identity,omitempty" doc:"age: the private half of the recipient, which proves the slot at once and is not kept" secret:"later"`
	Need       int    `json:"need,omitempty" doc:"shares: how many open; 3 when left out"`
	Of         int    `json:"of,omitempty" doc:"shares: how many are made; 5 when left out"`
}

// Added is the answer. What it shows is shown this once.
type Added struct {
	ID        string   `json:"id"`
	Kind      string   `json:"kind"`
	Proven    bool     `json:"proven" doc:"false: the slot is added when it is proven"`
	Challenge string   `json:"challenge,omitempty" doc:"age: decrypt it where the identity is, and prove the slot with its content"`
	Shares    []string `json:"shares,omitempty" doc:"one for each holder"`
}

type pendingSlot struct {
	slot  *keys.Pending
	since time.Time
}

// Add adds a slot that opens; one for an age recipient waits to be proven first.
// Its errors are problems.
func (s *Service) Add(ctx context.Context, n NewSlot) (Added, error) {
	slot, shares, err := s.slot(ctx, n)
	if err != nil {
		return Added{}, problemOf(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.Kind == "age" && n.Identity == "" {
		return s.begin(ctx, slot)
	}
	id, err := s.add(ctx, slot, n.Kind)
	if err != nil {
		return Added{}, problemOf(err)
	}
	if len(shares) == 0 { // its secret came from outside, and opened it
		err = s.markProven(ctx, id)
	}
	return Added{ID: id, Kind: n.Kind, Proven: true, Shares: shares}, err
}

// slot is the way to open that the body asks for, and new shares to show.
func (s *Service) slot(ctx context.Context, n NewSlot) (slot keys.Slot, shares []string, err error) {
	if err := n.onlyItsOwn(); err != nil {
		return nil, nil, err
	}
	switch n.Kind {
	case "passphrase":
		return keys.Passphrase([]byte(n.Passphrase)), nil, nil
	case "key-file":
		return s.keyFile(ctx, n.File)
	case "credential":
		if s.config.Credential == "" {
			return nil, nil, api.Errorf(409, "no-credential", "The service manager gave this server no credential %s.", CredentialName)
		}
		return keys.Credential(s.config.Credential), nil, nil
	case "age":
		slot, err = ageSlot(n)
		return slot, nil, err
	case "shares":
		slot, shares, err = keys.NewShares(orElse(n.Need, defaultNeed), orElse(n.Of, defaultOf))
		if err != nil {
			err = api.InvalidField("need", "want 2 <= need <= of <= 16").Because(err)
		}
		return slot, shares, err
	}
	return nil, nil, api.InvalidField("kind", "want passphrase, key-file, credential, age or shares")
}

// onlyItsOwn refuses fields that mean nothing for the kind: who approves the addition
// would read them.
func (n NewSlot) onlyItsOwn() error {
	for _, f := range []struct {
		name, kind string
		given      bool
	}{
		{"passphrase", "passphrase", n.Passphrase != ""}, {"file", "key-file", n.File != ""},
		{"recipient", "age", n.Recipient != ""}, {"identity", "age", n.Identity != ""},
		{"need", "shares", n.Need != 0}, {"of", "shares", n.Of != 0},
	} {
		if f.given && f.kind != n.Kind {
			return api.InvalidField(f.name, "is only for the kind %s", f.kind)
		}
	}
	return nil
}

// ageSlot is for the recipient, which another person may have approved, and for no other:
// an identity has to be its private half.
func ageSlot(n NewSlot) (keys.Slot, error) {
	if n.Identity == "" {
		return keys.AgeRecipient(n.Recipient), nil
	}
	derived, err := keys.RecipientOf(n.Identity)
	switch {
	case err != nil:
		return nil, err
	case n.Recipient == "":
		return nil, api.InvalidField("recipient", "is missing: the public half, age1...")
	case derived != n.Recipient:
		return nil, api.InvalidField("identity", "is not the private half of the recipient")
	}
	return keys.AgeIdentity(n.Identity), nil
}

// keyFile is a slot of a file on this host: nobody but who is on the host may
// have a file made there.
func (s *Service) keyFile(ctx context.Context, path string) (keys.Slot, []string, error) {
	if data.ActorFrom(ctx).Kind != data.Host {
		return nil, nil, api.Errorf(403, "host-only", "A key file can only be made by a command on the host.")
	}
	if path == "" {
		path = s.config.KeyFile
	}
	if !strings.HasPrefix(path, "/") {
		return nil, nil, api.InvalidField("file", "want an absolute path")
	}
	return keys.KeyFile(path), nil, nil
}

func orElse(n, standard int) int {
	if n == 0 {
		return standard
	}
	return n
}

// add adds a slot and records it; a slot that cannot be recorded is taken back.
func (s *Service) add(ctx context.Context, slot keys.Slot, kind string) (string, error) {
	root := s.config.Ring.Root()
	ids, err := s.slots.Add(root, slot)
	if err != nil {
		return "", err
	}
	if err := s.record(ctx, "slot.create", ids[0], api.OK, map[string]string{"kind": kind}); err != nil {
		return "", errors.Join(err, s.slots.Remove(root, ids[0]))
	}
	s.copies.kick(false)
	return ids[0], nil
}

// begin makes a slot that its holder has to prove.
func (s *Service) begin(ctx context.Context, slot keys.Slot) (Added, error) {
	if len(s.pending) >= mostPending {
		return Added{}, api.Errorf(409, "too-many", "%d slots wait to be proven. Prove them, or wait an hour.", len(s.pending))
	}
	p, err := s.slots.Begin(s.config.Ring.Root(), slot)
	if err != nil {
		return Added{}, problemOf(err)
	}
	challenge, err := armored(p.Challenge())
	if err != nil {
		return Added{}, err
	}
	if err := s.record(ctx, "slot.begin", p.ID(), api.OK, map[string]string{"kind": "age"}); err != nil {
		return Added{}, err
	}
	s.pending[p.ID()] = &pendingSlot{p, s.now()}
	return Added{ID: p.ID(), Kind: "age", Challenge: challenge}, nil
}

func armored(file []byte) (string, error) {
	var out bytes.Buffer
	w := armor.NewWriter(&out)
	_, err := w.Write(file)
	err = errors.Join(err, w.Close())
	return out.String(), err
}

func (s *Service) forgetPending(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.pending {
		if now.Sub(p.since) > pendingLife {
			delete(s.pending, id)
		}
	}
}

// find is a slot in the file by its id.
func (s *Service) find(id string) (found keys.SlotInfo, err error) {
	for _, info := range s.slots.List() {
		if info.ID == id {
			return info, nil
		}
	}
	return found, api.Errorf(404, "not-found", "There is no slot %s.", id).Because(data.ErrNotFound)
}

// Remove takes a slot away and has older copies of the keys, which it still
// opens, removed. A 409 for the last slot, and for the last one that opens
// without a person unless sure.
func (s *Service) Remove(ctx context.Context, id string, sure bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := s.find(id)
	if err != nil {
		return err
	}
	if err := s.mayGo(info, sure); err != nil {
		return err
	}
	if err := s.record(ctx, "slot.delete", id, api.OK, map[string]string{"kind": info.Kind}); err != nil {
		return err
	}
	if err := s.slots.Remove(s.config.Ring.Root(), id); err != nil {
		return errors.Join(problemOf(err), s.record(ctx, "slot.delete", id, api.Failed, nil))
	}
	s.copies.kick(true)
	return nil
}

// mayGo refuses what would lock everybody out, or have every start wait for a
// person who was not told.
func (s *Service) mayGo(gone keys.SlotInfo, sure bool) error {
	usable, unattended := 0, 0
	for _, other := range s.slots.List() {
		if other.ID == gone.ID || !usableKind(other) {
			continue
		}
		usable++
		if other.Unattended() {
			unattended++
		}
	}
	if usable == 0 {
		return problemOf(keys.ErrLastSlot)
	}
	if unattended == 0 && gone.Unattended() && !sure {
		return api.Errorf(409, "last-unattended",
			"This is the last slot that opens without a person: every start would be sealed. Say so again (--yes, sure=true) to remove it.")
	}
	return nil
}

func usableKind(i keys.SlotInfo) bool {
	return !i.Damaged && !strings.HasPrefix(i.Kind, "unknown")
}
