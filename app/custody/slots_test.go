package custody

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/keys"
)

func TestAddEachKind(t *testing.T) {
	w := newWorld(t)
	credential := filepath.Join(t.TempDir(), CredentialName)
	w.must(os.WriteFile(credential, keys.NewKeyFile(), 0o400))
	_, err := w.Add(w.ctx(), NewSlot{Kind: "credential"})
	w.wantProblem(err, "no-credential")
	w.config.Credential = credential
	w.open()
	id, err := age.GenerateX25519Identity()
	w.must(err)
	file := filepath.Join(t.TempDir(), "second.key")
	for _, n := range []NewSlot{
		{Kind: "passphrase", Passphrase: phrase}, {Kind: "key-file", File: file}, {Kind: "credential"},
		{Kind: "age", Recipient: id.Recipient().String(), Identity: id.String()}, {Kind: "shares", Need: 2, Of: 3},
	} {
		added, err := w.Add(w.ctx(), n)
		w.must(err)
		s := w.slotOf(n.Kind)
		if s.ID != added.ID || !added.Proven || (s.Proven == nil) != (n.Kind == "shares") {
			t.Errorf("%s: added %+v, slot %+v", n.Kind, added, s)
		}
		if n.Kind == "shares" && (len(added.Shares) != 3 || !w.opens(keys.Shares(added.Shares[1:]...))) {
			t.Errorf("shares %v", added.Shares)
		}
	}
	for _, way := range []keys.Slot{keys.Passphrase([]byte(phrase)), keys.KeyFile(file), keys.Credential(credential), keys.AgeIdentity(id.String()), keys.Recovery(w.code)} {
		if !w.opens(way) {
			t.Errorf("%v does not open", way)
		}
	}
	if got := w.log.actions(); strings.Count(got, "slot.create") != 5 {
		t.Errorf("log: %s", got)
	}
}

func TestAddRefuses(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		slot NewSlot
		code string
	}{
		{NewSlot{Kind: "passphrase", Passphrase: "short"}, "invalid"}, {NewSlot{Kind: "age", Recipient: "age1x"}, "invalid"},
		{NewSlot{Kind: "age", Identity: "x"}, "invalid"}, {NewSlot{Kind: "shares", Need: 4, Of: 3}, "invalid"},
		{NewSlot{Kind: "moon"}, "invalid"}, {NewSlot{Kind: "key-file", File: "relative"}, "invalid"},
	} {
		_, err := w.Add(w.ctx(), c.slot)
		w.wantProblem(err, c.code)
	}
	w.actor = data.Actor{Kind: data.Person, ID: "p"} // from afar nobody has files made
	_, err := w.Add(w.ctx(), NewSlot{Kind: "key-file", File: "/tmp/x"})
	w.wantProblem(err, "host-only")
	if n := len(w.status().Slots); n != 2 {
		t.Errorf("%d slots", n)
	}
}

// TestAgeIdentityIsOfTheRecipient: what another person approved is the recipient, and the
// identity that comes with it is no way to another slot.
func TestAgeIdentityIsOfTheRecipient(t *testing.T) {
	w := newWorld(t)
	team, err := age.GenerateX25519Identity()
	w.must(err)
	other, err := age.GenerateX25519Identity()
	w.must(err)
	for _, n := range []NewSlot{
		{Kind: "age", Recipient: team.Recipient().String(), Identity: other.String()},
		{Kind: "age", Identity: other.String()}, {Kind: "age"},
	} {
		_, err = w.Add(w.ctx(), n)
		w.wantProblem(err, "invalid")
	}
	if w.opens(keys.AgeIdentity(other.String())) {
		t.Error("another identity opens")
	}
	_, err = w.Add(w.ctx(), NewSlot{Kind: "age", Recipient: team.Recipient().String(), Identity: "# the team's\r\n" + team.String() + "\n"})
	w.must(err)
	if !w.opens(keys.AgeIdentity(team.String())) {
		t.Error("the team's does not open")
	}
}

// TestFieldsOfAnotherKindAreRefused: they mean nothing, and who approves would read them.
func TestFieldsOfAnotherKindAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, n := range []NewSlot{
		{Kind: "passphrase", Passphrase: phrase, Recipient: "age1team"}, {Kind: "passphrase", Passphrase: phrase, File: "/k"},
		{Kind: "passphrase", Passphrase: phrase, Need: 3}, {Kind: "shares", Of: 5, Passphrase: phrase}, {Kind: "credential", Identity: "x"}, {Kind: "age", Recipient: "age1x", Of: 2},
	} {
		_, err := w.Add(w.ctx(), n)
		if p := w.wantProblem(err, "invalid"); !strings.Contains(fmt.Sprint(p), "only for the kind") {
			t.Errorf("%+v: %v", n, p)
		}
	}
}

// What cannot be recorded does not happen.
func TestAddIsTakenBackWhenItCannotBeRecorded(t *testing.T) {
	w := newWorld(t)
	w.log.fail = errors.New("no log")
	_, err := w.Add(w.ctx(), NewSlot{Kind: "passphrase", Passphrase: phrase})
	w.want(err, w.log.fail)
	_, err = w.Recovery(w.ctx())
	w.want(err, w.log.fail)
	w.want(w.Remove(w.ctx(), w.slotOf("recovery").ID, false), w.log.fail)
	w.want(problemOf(mustFail(w.RotateRoot(w.ctx(), RootOrder{}))), w.log.fail)
	w.want(w.Purge(w.ctx()), w.log.fail)
	if len(w.status().Slots) != 2 || w.opens(keys.Passphrase([]byte(phrase))) || !w.opens(keys.Recovery(w.code)) {
		t.Errorf("slots %+v", w.status().Slots)
	}
}

func mustFail[T any](_ T, err error) error { return err }

func TestRemove(t *testing.T) {
	w := newWorld(t)
	w.wantProblem(w.Remove(w.ctx(), "nothing", false), "not-found")
	w.wantProblem(w.Remove(w.ctx(), w.slotOf("key-file").ID, false), "last-unattended")
	w.must(w.Remove(w.ctx(), w.slotOf("key-file").ID, true))
	if w.opens(keys.KeyFile(w.keyFile())) || !w.has("no-unattended") {
		t.Error("the key file still opens")
	}
	w.wantProblem(w.Remove(w.ctx(), w.slotOf("recovery").ID, true), "last-slot")
	if !w.opens(keys.Recovery(w.code)) {
		t.Error("the last slot is gone")
	}
}

func TestRecoveryIsReplacedOnceProven(t *testing.T) {
	w := newWorld(t)
	if !w.has("recovery-unproven") {
		t.Error("nobody is told that the first recovery key was never typed back")
	}
	first := w.slotOf("recovery").ID
	made, err := w.Recovery(w.ctx())
	w.must(err)
	if made.Replaces[0] != first || !w.opens(keys.Recovery(made.RecoveryKey)) || !w.opens(keys.Recovery(w.code)) {
		t.Fatalf("made %v", made.Replaces)
	}
	// The old one, typed by mistake, ends nothing.
	_, err = w.Prove(w.ctx(), made.ID, Secret{RecoveryKey: w.code})
	w.wantProblem(err, "wrong-slot")
	w.clock.pass(time.Minute)
	p, err := w.Prove(w.ctx(), first, Secret{RecoveryKey: w.code})
	w.must(err)
	if len(p.Removed) != 0 || !w.opens(keys.Recovery(w.code)) {
		t.Errorf("proof of the old one: %+v", p)
	}
	p, err = w.Prove(w.ctx(), made.ID, Secret{RecoveryKey: strings.ToLower(made.RecoveryKey)})
	w.must(err)
	if len(p.Removed) != 1 || p.Removed[0] != first || w.opens(keys.Recovery(w.code)) || !w.opens(keys.Recovery(made.RecoveryKey)) {
		t.Errorf("proof of the new one: %+v", p)
	}
	if s := w.slotOf("recovery"); s.Proven == nil || w.has("recovery-unproven") {
		t.Errorf("slot %+v", s)
	}
}

func TestAgeRecipientWaitsForItsProof(t *testing.T) {
	w := newWorld(t)
	id, err := age.GenerateX25519Identity()
	w.must(err)
	added, err := w.Add(w.ctx(), NewSlot{Kind: "age", Recipient: id.Recipient().String()})
	w.must(err)
	if added.Proven || w.slotOf("age").ID != "" {
		t.Fatalf("added %+v", added)
	}
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(added.Challenge)), id)
	w.must(err)
	answer, err := io.ReadAll(r)
	w.must(err)
	_, err = w.Prove(w.ctx(), added.ID, Secret{RecoveryKey: w.code})
	w.wantProblem(err, "wrong-key")
	_, err = w.Prove(w.ctx(), added.ID, Secret{AgeAnswer: string(answer)})
	w.wantProblem(err, "too-soon")
	w.clock.pass(time.Minute)
	_, err = w.Prove(w.ctx(), added.ID, Secret{AgeAnswer: string(answer)})
	w.must(err)
	if s := w.slotOf("age"); s.ID != added.ID || s.Recipient != id.Recipient().String() || s.Proven == nil || !w.opens(keys.AgeIdentity(id.String())) {
		t.Errorf("slot %+v", s)
	}
	waiting, err := w.Add(w.ctx(), NewSlot{Kind: "age", Recipient: id.Recipient().String()})
	w.must(err)
	w.clock.pass(2 * time.Hour)
	w.must(w.Sweep(w.ctx(), w.clock.Now()))
	_, err = w.Prove(w.ctx(), waiting.ID, Secret{AgeIdentity: id.String()})
	w.wantProblem(err, "not-found")
}

func TestOpeningSlotCountsAsProven(t *testing.T) {
	w := newWorld(t)
	w.opened = w.slotOf("recovery").ID
	w.clock.pass(time.Hour)
	w.open()
	if s := w.slotOf("recovery"); s.Proven == nil || !s.Proven.Equal(w.clock.Now()) {
		t.Errorf("slot %+v", s)
	}
}

func TestDamagedSlotIsAFinding(t *testing.T) {
	w := newWorld(t)
	path := w.in("keys", keys.SlotsFile)
	b, err := os.ReadFile(path)
	w.must(err)
	b[4096+200] ^= 1
	w.must(os.WriteFile(path, b, 0o600))
	w.open()
	st := w.status()
	if !st.Slots[1].Damaged || st.Slots[0].Damaged || !w.has("slots-damaged") || !w.has("no-recovery") {
		t.Errorf("slots %+v, findings %+v", st.Slots, st.Findings)
	}
	w.wantProblem(w.Remove(w.ctx(), st.Slots[0].ID, true), "last-slot") // the damaged one does not count
	w.must(w.Remove(w.ctx(), st.Slots[1].ID, false))
	_, err = w.Recovery(w.ctx())
	w.must(err)
	if w.has("slots-damaged") {
		t.Error("the slots are whole again")
	}
}

func TestDamagedRingIsAFinding(t *testing.T) {
	w := newWorld(t)
	w.must(os.WriteFile(w.in("keys", keys.RingFile), []byte("x"), 0o600))
	if !w.has("ring-damaged") {
		t.Errorf("findings %+v", w.status().Findings)
	}
}

func TestSecretIsExactlyOne(t *testing.T) {
	for _, s := range []Secret{{}, {Passphrase: "a", RecoveryKey: "b"}, {Shares: []string{}}} {
		if _, err := s.Slot(); err == nil {
			t.Errorf("%d fields", len(s.Shares))
		}
	}
	var p *api.Problem
	if _, err := (Secret{}).Slot(); !errors.As(err, &p) || p.Status != 422 {
		t.Errorf("error %v", err)
	}
}
