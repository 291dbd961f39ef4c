package mail

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

var bg = data.WithActor(context.Background(), data.Actor{Kind: data.Host, ID: "1000"})

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type testKey [32]byte

func (k testKey) Current() (uint32, [32]byte, error)  { return 1, k, nil }
func (k testKey) Generation(uint32) ([32]byte, error) { return k, nil }

type book struct{ fail error }

func (b book) Record(context.Context, api.Event) error { return b.fail }

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newMail(t testing.TB, carrier Carrier) (*Service, *clock, Config) {
	t.Helper()
	var key testKey
	_, _ = rand.Read(key[:])
	db, err := system.Open(bg, system.Config{Dir: t.TempDir() + "/data", Keys: key})
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	c := &clock{now: time.Now()}
	config := Config{DB: db, Recorder: book{}, Clock: c.Now, Carrier: carrier}
	s, err := New(bg, config)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s, c, config
}

func (s *Service) letter(t testing.TB) (row letterRow) {
	t.Helper()
	must(t, s.config.DB.View(bg, func(tx *sqlx.Tx) error {
		return tx.GetContext(bg, &row, `SELECT `+letterColumns+` FROM mail_outbox ORDER BY created DESC, id LIMIT 1`)
	}))
	return row
}

// settled waits for the rounds that were kicked off.
func settled(s *Service) { s.work.Wait() }

func (s *Service) sendOne(t testing.TB, life time.Duration) {
	t.Helper()
	must(t, s.Send(bg, Letter{To: "mia@example.com", Kind: "invite", Subject: "You are\r\nBcc: eve@example.com invited", Text: "Open https://x.example/invite#token=abc\nGrüße", Expires: s.now().Add(life)}))
	settled(s)
}

func settingsOf(server *smtpServer, how string) Settings {
	return Settings{Host: "127.0.0.1", Port: server.port(), TLS: how, From: "Holdfast <holdfast@example.org>", Roots: server.roots}
}

// TestLetterGoesOut over STARTTLS, with one recipient whatever the subject says.
func TestLetterGoesOut(t *testing.T) {
	server := startSMTP(t, true)
	s, _, _ := newMail(t, nil)
	if err := s.Send(bg, Letter{}); !errors.Is(err, ErrNotSet) {
		t.Fatalf("sent without a server: %v", err)
	}
	next := settingsOf(server, "")
	next.User, next.Password = "holdfast", "secret of the server"
	must(t, s.Set(bg, next))
	s.sendOne(t, time.Hour)
	got := server.letters()
	if len(got) != 1 || server.inClear() != 0 {
		t.Fatalf("%d letters, %d in clear", len(got), server.inClear())
	}
	for _, want := range []string{"To: <mia@example.com>", "Subject: You are Bcc: eve@example.com invited", "Auto-Submitted: auto-generated", "@example.org>"} {
		if !strings.Contains(got[0], want) {
			t.Errorf("no %q in\n%s", want, got[0])
		}
	}
	if strings.Contains(got[0], "\r\nBcc:") {
		t.Error("a subject became a header")
	}
	if row := s.letter(t); row.State != "sent" || row.Body != "" {
		t.Errorf("%s %q: the text, which has a secret, is kept", row.State, row.Body)
	}
}

func TestLetterOverTLSFromTheStart(t *testing.T) {
	server := startSMTP(t, true)
	server.fromTheStart()
	s, _, _ := newMail(t, nil)
	must(t, s.Set(bg, settingsOf(server, TLS)))
	s.sendOne(t, time.Hour)
	if len(server.letters()) != 1 || server.inClear() != 0 {
		t.Errorf("%d letters, %d in clear: %s", len(server.letters()), server.inClear(), s.letter(t).Error)
	}
}

// TestNoLetterInClear: a server without STARTTLS gets nothing, unless it is this host
// and that was asked for.
func TestNoLetterInClear(t *testing.T) {
	server := startSMTP(t, false)
	s, _, _ := newMail(t, nil)
	must(t, s.Set(bg, settingsOf(server, StartTLS)))
	s.sendOne(t, time.Hour)
	if row := s.letter(t); row.State != "waiting" || len(server.letters()) != 0 {
		t.Fatalf("%s, %d letters", row.State, len(server.letters()))
	}
	must(t, s.Set(bg, settingsOf(server, NoTLS))) // and what waits is tried
	settled(s)
	if len(server.letters()) != 1 {
		t.Error("it was not sent over loopback either")
	}
}

// TestOthersCertificateIsRefused: not every certificate will do.
func TestOthersCertificateIsRefused(t *testing.T) {
	server := startSMTP(t, true)
	s, _, _ := newMail(t, nil)
	next := settingsOf(server, StartTLS)
	_, next.Roots = certificate(t)
	must(t, s.Set(bg, next))
	s.sendOne(t, time.Hour)
	if row := s.letter(t); row.State != "waiting" || !strings.Contains(row.Error, "certificate") {
		t.Errorf("%s: %s", row.State, row.Error)
	}
}

func TestRefusedLetterIsNotTriedAgain(t *testing.T) {
	server := startSMTP(t, true)
	s, c, _ := newMail(t, nil)
	must(t, s.Set(bg, settingsOf(server, StartTLS)))
	server.answers("451 later")
	s.sendOne(t, time.Hour)
	if row := s.letter(t); row.State != "waiting" || row.Tries != 1 {
		t.Fatalf("%s after %d", row.State, row.Tries)
	}
	server.answers("554 never")
	c.add(firstWait)
	must(t, s.Sweep(bg, c.Now()))
	settled(s)
	row := s.letter(t)
	if row.State != "failed" || row.Body != "" || !strings.Contains(row.Error, "554") {
		t.Fatalf("%s: %s", row.State, row.Error)
	}
	server.answers("")
	c.add(time.Hour)
	must(t, s.Sweep(bg, c.Now()))
	settled(s)
	if len(server.letters()) != 0 {
		t.Error("a refused letter was sent again")
	}
}

// lateCarrier takes nothing, or everything, and counts.
type lateCarrier struct {
	mu   sync.Mutex
	fail error
	ids  []string
}

func (l *lateCarrier) Carry(_ context.Context, _ Settings, id string, _ Letter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, id)
	return l.fail
}

func (l *lateCarrier) set(err error) { l.mu.Lock(); defer l.mu.Unlock(); l.fail = err }
func (l *lateCarrier) tried() int    { l.mu.Lock(); defer l.mu.Unlock(); return len(l.ids) }

var anyServer = Settings{Host: "smtp.example.org", From: "holdfast@example.org"}

func TestLetterIsRetriedUntilItsEnd(t *testing.T) {
	l := &lateCarrier{fail: errors.New("down")}
	s, c, _ := newMail(t, l)
	must(t, s.Set(bg, anyServer))
	s.sendOne(t, 10*time.Minute)
	for range 30 {
		c.add(30 * time.Second)
		must(t, s.Sweep(bg, c.Now()))
		settled(s)
	}
	if n := l.tried(); n < 4 || n > 6 { // at 0, 0.5, 1.5, 3.5, 7.5 minutes
		t.Errorf("tried %d times", n)
	}
	row := s.letter(t)
	if row.State != "expired" || row.Body != "" {
		t.Errorf("%s", row.State)
	}
	c.add(rowsKept + time.Hour)
	must(t, s.Sweep(bg, c.Now()))
	if page, err := s.outbox(bg, api.Paging{Page: 1, PerPage: 10}); err != nil || page.Total != 0 {
		t.Errorf("%d letters are kept (%v)", page.Total, err)
	}
}

// TestLetterSurvivesACrash: what was being handed over is tried again under the same
// id, by which mail servers know a second copy; what was sent is not.
func TestLetterSurvivesACrash(t *testing.T) {
	l := &lateCarrier{fail: context.DeadlineExceeded}
	s, c, config := newMail(t, l)
	must(t, s.Set(bg, anyServer))
	s.sendOne(t, time.Hour)
	must(t, s.mark(bg, `UPDATE mail_outbox SET state = 'sending'`)) // as a kill leaves it
	must(t, s.Close())
	l.set(nil)
	again, err := New(bg, config)
	must(t, err)
	defer again.Close()
	c.add(time.Minute)
	for range 3 {
		must(t, again.Sweep(bg, c.Now()))
		settled(again)
		c.add(time.Hour)
	}
	if n := l.tried(); n != 2 || l.ids[0] != l.ids[1] {
		t.Errorf("%d tries: %v", n, l.ids)
	}
}

func TestSettings(t *testing.T) {
	s, _, _ := newMail(t, &lateCarrier{})
	for name, bad := range map[string]Settings{
		"no host": {From: "a@example.org"}, "a path": {Host: "x/y", From: "a@example.org"}, "no sender": {Host: "x"},
		"sender of two lines": {Host: "x", From: "a@example.org\r\nBcc: b@example.org"}, "in clear to afar": {Host: "smtp.example.org", TLS: NoTLS, From: "a@example.org"},
		"a password in clear": {Host: "localhost", TLS: NoTLS, User: "a", Password: "b", From: "a@example.org"},
		"a port":              {Host: "x", Port: 70000, From: "a@example.org"}, "no PEM": {Host: "x", From: "a@example.org", Roots: "x"}, "tls": {Host: "x", TLS: "yes", From: "a@example.org"},
	} {
		if err := s.Set(bg, bad); api.AsProblem(err).Status != 422 {
			t.Errorf("%s: %v", name, err)
		}
	}
	next := anyServer
	next.User, next.Password = "u", "p"
	must(t, s.Set(bg, next))
	shown, err := s.shown(bg)
	must(t, err)
	if !shown.Set || shown.Port != 587 || shown.TLS != StartTLS || !shown.HasPassword {
		t.Errorf("%+v", shown)
	}
	must(t, s.Remove(bg))
	if ready, _ := s.Ready(bg); ready {
		t.Error("ready without a server")
	}
}

func TestSettingsThatCannotBeRecordedAreNone(t *testing.T) {
	s, _, config := newMail(t, &lateCarrier{})
	must(t, s.Close())
	config.Recorder = book{errors.New("no log")}
	s, err := New(bg, config)
	must(t, err)
	defer s.Close()
	if s.Set(bg, anyServer) == nil || s.settings.Load() != nil {
		t.Error("set without a record")
	}
}
