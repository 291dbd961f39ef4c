package identity

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// Letter is a mail to one person, as plain text.
type Letter struct {
	To      string
	Kind    string // "invite", "reset", "code", "alert": what lists call it
	Subject string
	Text    string
	Expires time.Time // it is not sent after this
}

// Post is how identity writes to people. It is safe for concurrent use.
type Post interface {
	// Ready says whether mail is set up. Where it is not, links are shown to the one
	// who asked for them.
	Ready(ctx context.Context) (bool, error)
	// Changed says when the mail server was last set, and by which actor; the zero time
	// where none is.
	Changed(ctx context.Context) (at time.Time, by string, err error)
	// Send keeps the letter until it is handed over, or is of no use any more. It is
	// durable when it returns.
	Send(ctx context.Context, l Letter) error
}

// noPost is an appliance without mail.
type noPost struct{}

func (noPost) Ready(context.Context) (bool, error) { return false, nil }
func (noPost) Changed(context.Context) (at time.Time, by string, err error) {
	return at, "", nil
}
func (noPost) Send(context.Context, Letter) error { return nil }

// alertLife is how long an alert is worth sending.
const alertLife = 24 * time.Hour

// link is an address of the console with a secret in the fragment, which browsers
// send to nobody and servers write into no log.
func (s *Service) link(page, token string) string {
	return strings.TrimSuffix(s.config.URL(), "/") + "/" + page + "#token=" + token
}

const alertFoot = `
If this was you, there is nothing to do.
If it was not, sign in at %s, change your password under "Profile and
security", sign out all other devices, and tell who runs the appliance.
`

// Alert writes to a person what happened to the account, for other rooms.
func (s *Service) Alert(ctx context.Context, person, subject, what string) {
	s.alert(ctx, person, subject, what)
}

// alert writes to a person what happened to the account. What cannot be written is
// logged and holds nothing up: it has happened.
func (s *Service) alert(ctx context.Context, person, subject, what string) {
	row, err := s.personByID(ctx, person)
	if err == nil {
		err = s.write(ctx, Letter{To: row.Email, Kind: "alert", Subject: subject,
			Text: fmt.Sprintf("Hello %s,\n\n%s\n"+alertFoot, row.Name, what, s.config.URL()), Expires: s.now().Add(alertLife)})
	}
	if err != nil {
		s.config.Logger.ErrorContext(ctx, "an alert was not sent", "person", person, "error", err)
	}
}

// Writes says whether mail is set up.
func (s *Service) Writes(ctx context.Context) (bool, error) { return s.config.Post.Ready(ctx) }

// Write sends a letter for other rooms, where mail is set up.
func (s *Service) Write(ctx context.Context, l Letter) error { return s.write(ctx, l) }

// write sends a letter where mail is set up.
func (s *Service) write(ctx context.Context, l Letter) error {
	ready, err := s.config.Post.Ready(ctx)
	if err != nil || !ready {
		return err
	}
	return s.config.Post.Send(ctx, l)
}

// stamp is a moment in a person's own time zone, or in UTC.
func (s *Service) stamp(ctx context.Context, person string, at time.Time) string {
	zone := ""
	_ = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &zone, `SELECT time_zone FROM persons WHERE id = ?`, person)
	}) // without one it is UTC
	if place, err := time.LoadLocation(zone); err == nil && zone != "" {
		return at.In(place).Format("2 January 2006, 15:04 MST")
	}
	return at.UTC().Format("2 January 2006, 15:04 UTC")
}
