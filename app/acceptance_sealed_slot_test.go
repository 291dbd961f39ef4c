package app_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// A damaged slot is told in the log and in the status; the others still open.
func TestDamagedSlotIsTold(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	s.stop()
	restore := flipByte(t, filepath.Join(s.data(), "keys", "root.slots"), 0.4) // in the recovery key's slot
	defer restore()
	s.start()
	if out := s.out.String(); !strings.Contains(out, "a slot of the root key is damaged") {
		t.Errorf("the log does not tell of it:\n%s", s.out.tail(1500))
	}
	damaged := false
	st := s.keysStatus()
	for _, slot := range st.Slots {
		damaged = damaged || slot.Damaged
	}
	if !damaged || !strings.Contains(s.must("keys", "status"), "damaged") {
		t.Errorf("the status does not tell of it: %+v", st.Slots)
	}
}
