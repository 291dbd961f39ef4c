package custody

import (
	"context"
	"errors"
	"sync"
	"testing"

	"filippo.io/age"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/keys"
)

// rekeyed is a Rekeyer that drops what was retired, as the real one does at its end.
type rekeyed struct {
	ring  *keys.Ring
	mu    sync.Mutex
	asked []keys.Purpose
	fail  error
}

func (r *rekeyed) Rekey(_ context.Context, owner keys.Owner, purpose keys.Purpose, progress func(done, total int64)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, purpose)
	progress(1, 2)
	if r.fail != nil {
		return r.fail
	}
	for _, e := range r.ring.Entries() {
		if e.Owner == owner && e.Purpose == purpose && e.State == keys.Retired {
			if err := r.ring.Drop(owner, purpose, e.Generation); err != nil {
				return err
			}
		}
	}
	progress(2, 2)
	return nil
}

// finished waits for an operation and gives its result.
func (w *world) finished(op api.Operation, err error) api.Operation {
	w.t.Helper()
	w.must(err)
	done, err := w.ops.Wait(w.t.Context(), op.ID)
	w.must(err)
	return done
}

func TestRotateAPurpose(t *testing.T) {
	w := newWorld(t)
	done := w.finished(w.Rotate(w.ctx(), Order{Owner: "acme", Purpose: "pages"}))
	if done.State != api.Done || done.Store != string(acme) || string(done.Result) != `{"owner":"acme","keys":[{"purpose":"pages","generation":2,"retired":1}]}` {
		t.Fatalf("operation %+v, result %s", done, done.Result)
	}
	r := &rekeyed{ring: w.ring}
	w.config.Rekeyer = r
	w.open()
	done = w.finished(w.Rotate(w.ctx(), Order{Owner: "acme/prod"}))
	if string(done.Result) != `{"owner":"acme/prod","keys":[{"purpose":"files","generation":2,"retired":0},{"purpose":"pages","generation":3,"retired":0}]}` {
		t.Errorf("result %s", done.Result)
	}
	if len(r.asked) != 2 {
		t.Errorf("asked for %v", r.asked)
	}
	_, err := w.ring.Source(acme, keys.Pages).Generation(1)
	w.want(err, data.ErrDestroyed)
}

func TestRotateGoesOnAfterAFailure(t *testing.T) {
	w := newWorld(t)
	r := &rekeyed{ring: w.ring, fail: errors.New("disk")}
	w.config.Rekeyer = r
	w.open()
	done := w.finished(w.Rotate(w.ctx(), Order{Owner: "system", Purpose: "vault"}))
	if done.State != api.OpFailed || done.Error == nil {
		t.Fatalf("operation %+v", done)
	}
	r.fail = nil
	done = w.finished(w.Rotate(w.ctx(), Order{Owner: "system", Purpose: "vault", Resume: true}))
	if string(done.Result) != `{"owner":"system","keys":[{"purpose":"vault","generation":2,"retired":0}]}` {
		t.Errorf("result %s", done.Result)
	}
}

func TestRotateRefuses(t *testing.T) {
	w := newWorld(t)
	_, err := w.Rotate(w.ctx(), Order{})
	w.wantProblem(err, "invalid")
	_, err = w.Rotate(w.ctx(), Order{Owner: "nobody"})
	w.want(err, data.ErrNotFound)
	_, err = w.Rotate(w.ctx(), Order{Owner: "acme", Purpose: "moon"})
	w.wantProblem(err, "not-found")
	w.must(w.ring.Park(acme))
	_, err = w.Rotate(w.ctx(), Order{Owner: "acme"})
	w.want(err, data.ErrParked)
	w.must(w.ring.Destroy(acme))
	_, err = w.Rotate(w.ctx(), Order{Owner: "acme"})
	w.want(err, data.ErrDestroyed)
}

func TestRotateRoot(t *testing.T) {
	w := newWorld(t)
	id, err := age.GenerateX25519Identity()
	w.must(err)
	_, err = w.Add(w.ctx(), NewSlot{Kind: "age", Recipient: id.Recipient().String(), Identity: id.String()})
	w.must(err)
	_, err = w.Add(w.ctx(), NewSlot{Kind: "passphrase", Passphrase: phrase})
	w.must(err)
	shares, err := w.Add(w.ctx(), NewSlot{Kind: "shares"})
	w.must(err)
	_, key, err := w.ring.Source(acme, keys.Pages).Current()
	w.must(err)

	_, err = w.RotateRoot(w.ctx(), RootOrder{})
	w.wantProblem(err, "slot-would-end")
	before := w.ring.Root()
	old := before.ID()
	root, err := w.RotateRoot(w.ctx(), RootOrder{Passphrase: phrase})
	w.must(err)
	if root.ID == old || root.ID != w.status().Root || len(root.Ended) != 0 || len(root.Shares) != 5 || before.ID() != "" {
		t.Fatalf("root %s after %s, ended %v", root.ID, old, root.Ended)
	}
	for _, way := range []keys.Slot{
		keys.KeyFile(w.keyFile()), keys.AgeIdentity(id.String()), keys.Passphrase([]byte(phrase)),
		keys.Recovery(root.RecoveryKey), keys.Shares(root.Shares[2:]...),
	} {
		if !w.opens(way) {
			t.Errorf("%v does not open the new root key", way)
		}
	}
	for _, way := range []keys.Slot{keys.Recovery(w.code), keys.Shares(shares.Shares...)} {
		if w.opens(way) {
			t.Errorf("the old %v opens", way)
		}
	}
	if _, now, err := w.ring.Source(acme, keys.Pages).Current(); err != nil || now != key {
		t.Errorf("another key: %v", err)
	}
	w.must(w.ring.Add("t2/prod", keys.Pages))
	_, err = w.Recovery(w.ctx())
	w.must(err)
	slots, err := keys.OpenSlots(w.in("keys", keys.SlotsFile))
	w.must(err)
	fresh, err := slots.Unlock(keys.Recovery(root.RecoveryKey))
	w.must(err)
	_, err = keys.OpenRing(w.in("keys"), fresh)
	w.must(err)
}

func TestRotateRootMayEndSlots(t *testing.T) {
	w := newWorld(t)
	_, err := w.Add(w.ctx(), NewSlot{Kind: "passphrase", Passphrase: phrase})
	w.must(err)
	root, err := w.RotateRoot(w.ctx(), RootOrder{Drop: []string{"passphrase"}})
	w.must(err)
	if len(root.Ended) != 1 || w.opens(keys.Passphrase([]byte(phrase))) || !w.opens(keys.KeyFile(w.keyFile())) {
		t.Errorf("root %+v", root.Slots)
	}
}
