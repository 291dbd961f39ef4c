package mail

import (
	"context"
	"errors"
	"testing"
)

// TestOtherServersAreTold before letters go another way, and not at all where that fails.
func TestOtherServersAreTold(t *testing.T) {
	s, _, config := newMail(t, &lateCarrier{})
	must(t, s.Close())
	var told []string
	var fail error
	config.Changed = func(_ context.Context, action string, detail map[string]string) error {
		told = append(told, action+" "+detail["host"])
		return fail
	}
	s, err := New(bg, config)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, s.Set(bg, anyServer))
	shown, err := s.shown(bg)
	must(t, err)
	if len(told) != 1 || told[0] != "mail.set "+anyServer.Host || shown.Changed == nil || shown.ChangedBy == "" {
		t.Errorf("%v, changed %v by %q", told, shown.Changed, shown.ChangedBy)
	}
	fail = errors.New("a tenant's log is full")
	if s.Remove(bg) == nil || s.settings.Load() == nil {
		t.Error("removed and not told")
	}
	fail = nil
	must(t, s.Remove(bg))
	if told[len(told)-1] != "mail.remove " {
		t.Error(told)
	}
}
