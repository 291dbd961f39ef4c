package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"holdfast/data"
)

// How long a session lasts.
const (
	SessionIdle     = 12 * time.Hour
	SessionAbsolute = 7 * 24 * time.Hour
	// touchEvery bounds how often the last use is written down.
	touchEvery = time.Minute
	tokenBytes = 32
)

// Values is where sessions are kept: a part of data/vault, sealed at rest. Safe for
// concurrent use.
type Values interface {
	Get(ctx context.Context, key string) ([]byte, error) // data.ErrNotFound
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error
	Delete(ctx context.Context, key string) error
	Keys(ctx context.Context, prefix string) ([]string, error)
}

// Session is one sign-in of one person on one device. The token is not in it:
// only its hash is known here, as the key under which it is kept.
type Session struct {
	ID      string    `json:"id"`
	Person  string    `json:"person"`
	Address string    `json:"address"`
	Agent   string    `json:"agent"`
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen"`
	Method  Method    `json:"method,omitempty"`
	Fresh   time.Time `json:"fresh"`  // when a factor was last shown
	Strong  bool      `json:"strong"` // a second factor or a passkey was shown
	// Scope is whose provider it rests on: Appliance or a tenant's id; empty: on none.
	Scope string `json:"scope,omitempty"`

	// Barred are tenants whose people ended the session there: it reaches them no more.
	Barred []string `json:"barred,omitempty"`

	Idle     time.Duration `json:"idle,omitempty"`     // 0: SessionIdle
	Absolute time.Duration `json:"absolute,omitempty"` // 0: SessionAbsolute
}

func (s Session) idle() time.Duration     { return orDuration(s.Idle, SessionIdle) }
func (s Session) absolute() time.Duration { return orDuration(s.Absolute, SessionAbsolute) }

func orDuration(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

type digest [sha256.Size]byte

func (d digest) key() string { return "session/" + hex.EncodeToString(d[:]) }

func personKey(person string, d digest) string {
	return "person/" + person + "/" + hex.EncodeToString(d[:])
}

// sessions keeps what was looked up in memory: this process is the only one, so
// memory cannot be behind.
type sessions struct {
	values Values
	clock  func() time.Time
	// limits are the policies' times for a person; nil: none but the session's own.
	limits func(ctx context.Context, person string) (idle, absolute time.Duration, err error)
	// outgrown says that the person has become more than the session may be; nil: never.
	outgrown func(ctx context.Context, session Session) (bool, error)
	// ended is told whose session was ended, but by its own time; may be nil.
	ended func(ctx context.Context, person string) error
	turn  sync.Mutex // a renewal must not bring back what is being ended
	mu    sync.RWMutex
	live  map[digest]*liveSession
}

// liveSession is a session in memory; its own lock guards the times.
type liveSession struct {
	mu      sync.Mutex
	session Session
	stored  time.Time // the Seen that the vault has
	ended   bool
}

func newSessions(v Values, clock func() time.Time) *sessions {
	return &sessions{values: v, clock: clock, live: map[digest]*liveSession{}}
}

// create starts a session and gives its token, which is never seen again. The
// session's id and times are set here, but for a Created that is there already.
func (s *sessions) create(ctx context.Context, session Session) (string, error) {
	token := newToken()
	d := hashToken(token)
	now := s.clock().UTC()
	session.ID, session.Agent, session.Seen = hex.EncodeToString(d[:8]), clip(session.Agent, 200), now
	if session.Created.IsZero() {
		session.Created = now
	}
	if err := s.save(ctx, d, session); err != nil {
		return "", fmt.Errorf("create session: %w", err)
	}
	if err := s.values.Set(ctx, personKey(session.Person, d), nil, session.absolute()); err != nil {
		return "", fmt.Errorf("create session: %w", err)
	}
	s.keep(d, session)
	return token, nil
}

// newToken is 32 random bytes as text.
func newToken() string {
	raw := make([]byte, tokenBytes)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// renew ends a session and starts the same one under a new token, changed by change.
func (s *sessions) renew(ctx context.Context, token string, change func(*Session)) (string, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	session, err := s.lookup(ctx, token)
	if err != nil {
		return "", fmt.Errorf("renew session: %w", err)
	}
	if err := s.endOne(ctx, hashToken(token), session.Person); err != nil {
		return "", err
	}
	change(&session)
	return s.create(ctx, session)
}

func hashToken(token string) digest { return sha256.Sum256([]byte(token)) }

func clip(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}

func (s *sessions) save(ctx context.Context, d digest, session Session) error {
	left := session.absolute() - session.Seen.Sub(session.Created)
	return s.values.Set(ctx, d.key(), session.bytes(), left)
}

// keep puts a session into memory, unless it is there already: what is there may
// have ended since.
func (s *sessions) keep(d digest, session Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live[d] == nil {
		s.live[d] = &liveSession{session: session, stored: session.Seen}
	}
}

// lookup gives the session of a token and counts it as used. data.ErrNotFound when
// there is none, or none any more.
func (s *sessions) lookup(ctx context.Context, token string) (Session, error) {
	d := hashToken(token)
	for {
		session, found, err := s.use(ctx, d)
		if found || err != nil {
			return session, err
		}
		stored, err := s.load(ctx, d)
		if err != nil {
			return Session{}, err
		}
		s.keep(d, stored)
	}
}

func (s *sessions) load(ctx context.Context, d digest) (Session, error) {
	value, err := s.values.Get(ctx, d.key())
	if err != nil {
		return Session{}, err
	}
	return parseSession(value)
}

// use counts a session that is in memory as used. The read lock keeps sweep from
// taking it away meanwhile, its own lock keeps an end from passing a write.
func (s *sessions) use(ctx context.Context, d digest) (session Session, found bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	l := s.live[d]
	if l == nil {
		return Session{}, false, nil
	}
	now := s.clock().UTC()
	l.mu.Lock()
	defer l.mu.Unlock()
	if over, err := s.over(ctx, l.session, now); l.ended || over || err != nil {
		return Session{}, true, orElse(err, data.ErrNotFound)
	}
	l.session.Seen = now
	if now.Sub(l.stored) < touchEvery {
		return l.session, true, nil
	}
	if err := s.save(ctx, d, l.session); err != nil {
		return Session{}, true, fmt.Errorf("touch session: %w", err)
	}
	l.stored = now
	return l.session, true, nil
}

func expired(s Session, now time.Time) bool {
	return now.Sub(s.Seen) >= s.idle() || now.Sub(s.Created) >= s.absolute()
}

// over says that a session has lasted as long as it may, by its own times or by those
// of the person's policies now.
func (s *sessions) over(ctx context.Context, session Session, now time.Time) (bool, error) {
	if s.limits == nil || session.Person == "" || expired(session, now) {
		return expired(session, now), nil
	}
	idle, absolute, err := s.limits(ctx, session.Person)
	if isNotFound(err) { // the account is gone
		return true, nil
	}
	if err != nil || now.Sub(session.Seen) >= idle || now.Sub(session.Created) >= absolute || s.outgrown == nil {
		return now.Sub(session.Seen) >= idle || now.Sub(session.Created) >= absolute, err
	}
	return s.outgrown(ctx, session)
}

// end ends one session by its token; without such a session it does nothing.
func (s *sessions) end(ctx context.Context, token string) error {
	d := hashToken(token)
	session, err := s.load(ctx, d)
	if errors.Is(err, data.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return s.endFor(ctx, d, session.Person)
}

// endFor ends one session, and what its person has open in the stores.
func (s *sessions) endFor(ctx context.Context, d digest, person string) error {
	err := s.endOne(ctx, d, person)
	if s.ended != nil {
		err = errors.Join(err, s.ended(ctx, person))
	}
	return err
}

// endOne marks the session in memory first: from then on no request gets in, even
// if the disk fails, and none that is being let in writes it back. The mark stays
// until the sweep, for a request may have read the vault just before.
func (s *sessions) endOne(ctx context.Context, d digest, person string) error {
	s.keep(d, Session{Seen: s.clock().UTC()})
	s.mu.RLock()
	defer s.mu.RUnlock()
	l := s.live[d]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended, l.session.Seen = true, s.clock().UTC()
	if err := errors.Join(s.values.Delete(ctx, d.key()), s.values.Delete(ctx, personKey(person, d))); err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// endAll ends every session of a person but the one of the token except ("" for none).
func (s *sessions) endAll(ctx context.Context, person, except string) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	digests, err := s.digests(ctx, person)
	if err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	spare := hashToken(except)
	for _, d := range digests {
		if d == spare {
			continue
		}
		if err := s.endFor(ctx, d, person); err != nil {
			return err
		}
	}
	return nil
}

// sweep forgets in memory what is not in use; the vault's own expiry does the rest.
func (s *sessions) sweep() {
	now := s.clock().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, l := range s.live {
		if now.Sub(l.session.Seen) > 2*touchEvery {
			delete(s.live, d)
		}
	}
}
