package chain_test

import (
	"errors"
	"testing"
	"time"

	"holdfast/backup"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/data"
)

// TestKnown: the chain tells a page and a file that are not what was shipped, of
// the newest snapshot, also after a restart and while it goes on.
func TestKnown(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	if k, err := r.chain.Known(); k != nil || err != nil {
		t.Fatal("something is known before the first snapshot", err)
	}
	page := func(text string) []byte { return append([]byte(text), make([]byte, data.PageSize-len(text))...) }
	r.write(1, "one")
	r.write(2, "two")
	r.files.Set("c/r/f", "content")
	r.ship()
	r.write(2, "three")
	r.ship()
	r.reopen(r.config())
	k, err := r.chain.Known()
	if err != nil || k.Sequence != 2 || k.Epoch == "" {
		t.Fatalf("%+v, %v", k, err)
	}
	r.write(1, "later")
	r.ship()
	if err := errors.Join(k.Page(1, page("one")), k.Page(2, page("three")), k.Page(backup.LockPage, page("anything"))); err != nil {
		t.Error(err)
	}
	for pgno, text := range map[uint32]string{1: "later", 2: "two", 3: "three"} {
		if err := k.Page(pgno, page(text)); !errors.Is(err, chain.ErrOtherPage) {
			t.Errorf("page %d, %q: %v", pgno, text, err)
		}
	}
	_, info, err := r.files.Open(t.Context(), "c/r/f")
	if err != nil {
		t.Fatal(err)
	}
	older, newer, other := info, info, info
	older.Modified, newer.Modified, other.Name = info.Modified.Add(-time.Second), info.Modified.Add(time.Second), "c/r/new"
	if err := errors.Join(k.File(info), k.File(newer), k.File(other)); err != nil {
		t.Error(err)
	}
	if err := k.File(older); !errors.Is(err, chain.ErrOlderFile) {
		t.Error(err)
	}
}
