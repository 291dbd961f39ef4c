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

// heldCarrier notes whose turn it was, and waits with the first letter until it may go on.
type heldCarrier struct {
	mu      sync.Mutex
	kinds   []string
	started chan struct{}
	goOn    chan struct{}
}

func (h *heldCarrier) Carry(_ context.Context, _ Settings, _ string, l Letter) error {
	h.mu.Lock()
	h.kinds = append(h.kinds, l.Kind)
	first := len(h.kinds) == 1
	h.mu.Unlock()
	if first {
		close(h.started)
		<-h.goOn
	}
	return nil
}

// TestCodesGoFirst: what somebody waits for at the screen overtakes what was there before.
func TestCodesGoFirst(t *testing.T) {
	h := &heldCarrier{started: make(chan struct{}), goOn: make(chan struct{})}
	s, c, _ := newMail(t, h)
	must(t, s.Set(bg, anyServer))
	send := func(kind string) {
		t.Helper()
		must(t, s.Send(bg, Letter{To: "mia@example.com", Kind: kind, Expires: c.Now().Add(time.Hour)}))
	}
	send("invite")
	<-h.started
	for range atOnce + 5 { // more than a page
		send("invite")
	}
	c.add(time.Second)
	send("reset")
	send("code")
	close(h.goOn)
	settled(s)
	if len(h.kinds) != atOnce+8 {
		t.Fatalf("%d letters went out", len(h.kinds))
	}
	for _, kind := range h.kinds[1:3] {
		if kind == "invite" {
			t.Fatalf("in this order: %v", h.kinds)
		}
	}
}

// TestARoundLooksForCodes: a letter that comes while a page is under way is next.
func TestARoundLooksForCodes(t *testing.T) {
	h := &heldCarrier{started: make(chan struct{}), goOn: make(chan struct{})}
	s, c, _ := newMail(t, h)
	must(t, s.Set(bg, anyServer))
	settled(s)
	s.pause(true)
	for range 3 { // one page
		must(t, s.Send(bg, Letter{To: "mia@example.com", Kind: "invite", Expires: c.Now().Add(time.Hour)}))
	}
	s.pause(false)
	s.kick()
	<-h.started
	must(t, s.Send(bg, Letter{To: "mia@example.com", Kind: "code", Expires: c.Now().Add(time.Hour)}))
	close(h.goOn)
	settled(s)
	if len(h.kinds) != 4 || h.kinds[1] != "code" {
		t.Errorf("in this order: %v", h.kinds)
	}
}

func (s *Service) pause(busy bool) { s.mu.Lock(); defer s.mu.Unlock(); s.busy = busy }

// TestTheOutboxKeepsRoomForCodes: where there is none for invites, there is for these.
func TestTheOutboxKeepsRoomForCodes(t *testing.T) {
	s, c, _ := newMail(t, &lateCarrier{fail: errors.New("down")})
	must(t, s.Set(bg, anyServer))
	fill := func(n int) {
		t.Helper()
		later := c.Now().Add(time.Hour).UnixMilli()
		must(t, s.mark(bg, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO mail_outbox (id, recipient, kind, subject, body, state, created, expires, due)
			SELECT lower(hex(randomblob(8))), 'a@example.com', 'invite', '', '', 'waiting', ?, ?, ? FROM n`, n, later, later+1, later))
	}
	send := func(kind string) error {
		err := s.Send(bg, Letter{To: "mia@example.com", Kind: kind, Expires: c.Now().Add(time.Minute)})
		settled(s)
		return err
	}
	fill(mostOthers)
	if err := send("invite"); !errors.Is(err, ErrFull) || api.AsProblem(err).Status != 503 {
		t.Errorf("an invite: %v", err)
	}
	must(t, send("code"))
	must(t, send("reset"))
	fill(mostOpen - mostOthers)
	if err := send("code"); !errors.Is(err, ErrFull) {
		t.Errorf("a code where all is full: %v", err)
	}
}
