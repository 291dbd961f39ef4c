// Package mail hands letters to the appliance's SMTP server: its settings, and an
// outbox that survives a crash, with retries until a letter is of no use any more.
package mail

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data/system"
)

// ErrNotSet refuses what needs mail where none is set up.
var ErrNotSet = errors.New("mail is not set up")

// Database is what mail needs of data/system.
type Database interface {
	Migrate(ctx context.Context, room string, ms []system.Migration) error
	Update(ctx context.Context, fn func(*sqlx.Tx) error) error
	View(ctx context.Context, fn func(*sqlx.Tx) error) error
}

// Letter is a mail to one person, as plain text.
type Letter struct {
	To      string
	Kind    string // what lists call it: "invite", "reset"
	Subject string
	Text    string
	Expires time.Time // it is not sent after this
}

// Carrier takes one letter to an SMTP server. It is safe for concurrent use.
type Carrier interface {
	// Carry returns when the server has taken the letter, or with an error that is
	// ErrRefused when trying again is no use.
	Carry(ctx context.Context, s Settings, id string, l Letter) error
}

// ErrRefused is a server's last word.
var ErrRefused = errors.New("the mail server refused it for good")

// Config is what a Service needs.
type Config struct {
	DB       Database         // required
	Recorder api.Recorder     // required
	Clock    func() time.Time // nil: time.Now
	Logger   *slog.Logger     // nil: discarded
	Carrier  Carrier          // nil: SMTP
	// Changed is told before letters go through another server, or through none: who has
	// the server reads codes and links. What it refuses is not done; may be nil.
	Changed func(ctx context.Context, action string, detail map[string]string) error
	// Watchers are the addresses that are told through the server that was; may be nil.
	Watchers func(ctx context.Context) ([]string, error)
}

// Service is the capability. It is safe for concurrent use.
type Service struct {
	config   Config
	settings atomic.Pointer[Settings] // nil: not set up
	desk     sync.Mutex               // one round of the outbox at a time
	mu       sync.Mutex
	first    atomic.Bool // a pressing letter came since the round looked
	busy     bool        // a round runs
	again    bool        // there is more for it
	stop     context.CancelFunc
	ctx      context.Context
	work     sync.WaitGroup
}

// New brings the tables up to date and reads the settings. What a process that was
// killed was handing over is tried again.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.DB == nil || c.Recorder == nil {
		return nil, errors.New("new mail: database and recorder are required")
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Carrier == nil {
		c.Carrier = smtpCarrier{}
	}
	if err := c.DB.Migrate(ctx, "mail", migrations); err != nil {
		return nil, fmt.Errorf("new mail: %w", err)
	}
	s := &Service{config: c}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.load(ctx); err != nil {
		return nil, fmt.Errorf("new mail: %w", err)
	}
	return s, nil
}

// Ready says whether mail is set up.
func (s *Service) Ready(context.Context) (bool, error) { return s.settings.Load() != nil, nil }

// Changed says when the server was last set, and who did it; the zero time where none is.
func (s *Service) Changed(ctx context.Context) (at time.Time, by string, err error) {
	var last struct {
		At int64  `db:"updated"`
		By string `db:"updated_by"`
	}
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &last, `SELECT updated, updated_by FROM mail_settings`)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return at, "", nil
	}
	if err != nil {
		return at, "", fmt.Errorf("read who set mail: %w", err)
	}
	return time.UnixMilli(last.At).UTC(), last.By, nil
}

// Sweep ends letters that are of no use any more, and tries those whose turn it is. The
// appliance's clock calls it about once a minute.
func (s *Service) Sweep(ctx context.Context, now time.Time) error {
	if err := s.expire(ctx, now); err != nil {
		return err
	}
	due, err := s.anyDue(ctx, now)
	if err == nil && due {
		s.kick()
	}
	return err
}

// kick starts a round in the background, or asks the one that runs for another.
func (s *Service) kick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		s.again = true
		return
	}
	if s.ctx.Err() != nil || s.settings.Load() == nil {
		return
	}
	s.busy = true
	s.work.Go(s.rounds)
}

func (s *Service) rounds() {
	for {
		if err := s.round(s.ctx); err != nil && s.ctx.Err() == nil {
			s.config.Logger.Error("the outbox was not worked through", "error", err)
		}
		s.mu.Lock()
		if !s.again || s.ctx.Err() != nil {
			s.busy = false
			s.mu.Unlock()
			return
		}
		s.again = false
		s.mu.Unlock()
	}
}

// Close ends what is being handed over; it is tried again at the next start.
func (s *Service) Close() error {
	s.stop()
	s.work.Wait()
	return nil
}

func (s *Service) now() time.Time { return s.config.Clock().UTC().Truncate(time.Millisecond) }
