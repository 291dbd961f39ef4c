package chain_test

import (
	"errors"
	"testing"

	"holdfast/backup/backuptest"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/data"
)

// settled is pages of which some did not change since the snapshot that it names.
type settled struct {
	*backuptest.Pages
	epoch     string
	sequence  int64
	unchanged map[uint32]bool
}

func (s *settled) Unchanged(epoch string, sequence int64) func(uint32) bool {
	if epoch != s.epoch || sequence != s.sequence {
		return nil
	}
	return func(pgno uint32) bool { return s.unchanged[pgno] }
}

// What did not change since the last snapshot, and is not what was shipped, is
// refused; where the source speaks of another snapshot, it is a change.
func TestPutBackPageIsRefused(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.write(1, "one")
	r.write(2, "two")
	first := r.ship()
	r.write(1, "changed")
	r.write(2, "an older copy")
	s := &settled{r.pages, first.Epoch, first.Sequence, map[uint32]bool{2: true}}
	ship := func() (chain.Result, error) {
		r.writes++
		return r.chain.Ship(t.Context(), s, r.files, data.Position{Incarnation: "i", Sequence: r.writes})
	}
	if _, err := ship(); !errors.Is(err, chain.ErrPutBack) || !errors.Is(err, data.ErrTampered) {
		t.Fatalf("%v", err)
	}
	r.write(2, "two")
	if res, err := ship(); err != nil || res.Pages != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	r.write(2, "three")
	if res, err := ship(); err != nil || res.Pages != 1 {
		t.Fatalf("of another snapshot: %+v, %v", res, err)
	}
	r.same()
}
