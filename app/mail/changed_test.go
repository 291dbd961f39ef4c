package mail

import (
	"context"
	"errors"
	"strings"
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

// TestALastLetterTakesTheOldWay: who has the new server could keep back what says that
// there is one.
func TestALastLetterTakesTheOldWay(t *testing.T) {
	old := startSMTP(t, true)
	s, _, config := newMail(t, smtpCarrier{})
	must(t, s.Close())
	config.Watchers = func(context.Context) ([]string, error) { return []string{"ben@example.com"}, nil }
	s, err := New(bg, config)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	server := Settings{Host: "127.0.0.1", Port: old.port(), Roots: old.roots, From: "holdfast@example.org"}
	must(t, s.Set(bg, server))
	server.From = "other@example.org"
	must(t, s.Set(bg, server))
	settled(s)
	if n := len(old.letters()); n != 0 {
		t.Errorf("%d letters about the same server", n)
	}
	at, by, err := s.Changed(bg)
	must(t, err)
	if at.IsZero() || by != "host:1000" {
		t.Errorf("changed %v by %q", at, by)
	}
	must(t, s.Set(bg, anyServer))
	settled(s)
	must(t, s.Set(bg, server))
	must(t, s.Remove(bg))
	settled(s)
	got := old.letters()
	if len(got) != 2 || !strings.Contains(got[0], anyServer.Host) || !strings.Contains(got[0], "host:1000") || !strings.Contains(got[1], "no other one") {
		t.Errorf("%q", got)
	}
	if at, _, err := s.Changed(bg); err != nil || !at.IsZero() {
		t.Errorf("removed: %v, %v", at, err)
	}
}
