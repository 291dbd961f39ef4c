package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// TestAcceptLoss cuts the log of a store that a killed process left: it does not
// open until the loss is accepted, and then goes on from what is left in another life.
func TestAcceptLoss(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	for _, title := range []string{"first", "second", "third"} {
		item := core.NewRecord(collection(t, s, "items"))
		item.Set("title", title)
		save(t, s, item)
	}
	before, err := s.Position(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(t)
	crashed := p.path(acme)
	if err := os.CopyFS(crashed, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(crashed, "data.db-wal")
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(log, info.Size()-6000); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Acquire(ctx, acme); !errors.Is(err, data.ErrTampered) {
		t.Fatalf("opened: %v", err)
	}
	seen, err := p.CheckLog(ctx, acme)
	if err != nil || !seen.Cut || seen.Findings[0].File != "data.db-wal" || seen.Findings[0].Page == 0 {
		t.Fatalf("%+v, %v", seen, err)
	}
	loss, err := p.AcceptLoss(ctx, acme)
	if err != nil || !loss.Cut || len(loss.Integrity) > 0 || loss.Position.Sequence >= before.Sequence || loss.Position.Incarnation == before.Incarnation {
		t.Fatalf("%+v, %v; before %v", loss, err, before)
	}
	again := acquire(t, p, acme)
	if at, err := again.Position(ctx); err != nil || at != loss.Position {
		t.Errorf("at %v, %v", at, err)
	}
	if _, err := again.Changes(ctx, before, 10); !errors.Is(err, ErrLostPosition) {
		t.Errorf("a position that was lost is none of its history: %v", err)
	}
	lives, err := again.Incarnations(ctx)
	if i := slices.IndexFunc(lives, func(l Incarnation) bool { return l.Reason == "loss accepted" }); err != nil || i < 0 {
		t.Errorf("%+v, %v", lives, err)
	}
	if seen, err := p.CheckLog(ctx, acme); err != nil || seen.Cut {
		t.Errorf("%+v, %v", seen, err)
	}
	if _, err := p.AcceptLoss(ctx, acme); !errors.Is(err, data.ErrBusy) {
		t.Errorf("accepted while it is open: %v", err)
	}
}
