package mail

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"strings"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// How the connection is encrypted.
const (
	StartTLS = "starttls" // asked for, and required; port 587
	TLS      = "tls"      // from the first byte; port 465
	NoTLS    = "none"     // in clear, without a password, to this host only; port 25
)

// Settings are the appliance's SMTP server.
type Settings struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	TLS      string `json:"tls"`
	User     string `json:"user"`
	Password string `json:"password"`
	From     string `json:"from"`
	Roots    string `json:"roots"` // PEM of the authority that signed the server's certificate; empty: the system's
}

// check brings the fields to their one form and says what is wrong with them.
func (s *Settings) check() error {
	var wrong []api.FieldError
	add := func(bad bool, field, message string) {
		if bad {
			wrong = append(wrong, api.FieldError{Field: field, Message: message})
		}
	}
	s.Host = strings.ToLower(strings.TrimSpace(s.Host))
	add(!hostLike(s.Host), "host", "is the name or address of a mail server")
	if s.TLS == "" {
		s.TLS = StartTLS
	}
	usual, known := map[string]int{StartTLS: 587, TLS: 465, NoTLS: 25}[s.TLS]
	add(!known, "tls", "is starttls, tls or none")
	if s.Port == 0 {
		s.Port = usual
	}
	add(s.Port < 1 || s.Port > 65535, "port", "is 1 to 65535")
	add(s.TLS == NoTLS && !loopback(s.Host), "tls", "none is for a mail server on this very host: links would cross the network in clear")
	add(s.TLS == NoTLS && s.Password != "", "password", "is not sent over a connection in clear")
	add(s.Password != "" && s.User == "", "user", "is needed with a password")
	add(tooLong(s.User), "user", "at most 255 characters on one line")
	add(tooLong(s.Password), "password", "at most 255 characters on one line")
	from, err := mail.ParseAddress(s.From)
	add(err != nil || len(s.From) > 320, "from", `is an address, as holdfast@example.org or "Acme <it@acme.example>"`)
	if err == nil {
		s.From = from.String()
	}
	add(s.Roots != "" && !pemLike(s.Roots), "roots", "is no certificate in PEM")
	if len(wrong) > 0 {
		return api.Invalid(wrong...)
	}
	return nil
}

func hostLike(host string) bool {
	return host != "" && len(host) <= 253 && (net.ParseIP(host) != nil || !strings.ContainsAny(host, " /@:?#%\\\t\r\n"))
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func tooLong(s string) bool {
	return len(s) > 255 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' })
}

func (s *Service) load(ctx context.Context) error {
	var text string
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &text, `SELECT settings FROM mail_settings`)
	})
	if errors.Is(err, sql.ErrNoRows) {
		s.settings.Store(nil)
		return nil
	}
	var found Settings
	if err == nil {
		err = json.Unmarshal([]byte(text), &found)
	}
	if err != nil {
		return fmt.Errorf("read mail settings: %w", err)
	}
	s.settings.Store(&found)
	return nil
}

// Set stores the settings; what waits in the outbox is tried with them.
func (s *Service) Set(ctx context.Context, next Settings) error {
	if err := next.check(); err != nil {
		return err
	}
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	detail := map[string]string{"from": next.From, "tls": next.TLS, "port": fmt.Sprint(next.Port)}
	if err := s.record(ctx, "mail.set", next.Host, detail); err != nil {
		return err
	}
	detail["host"] = next.Host
	if err := s.changing(ctx, "mail.set", detail); err != nil {
		return err
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO mail_settings (id, settings, updated, updated_by) VALUES (1, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET settings = excluded.settings, updated = excluded.updated, updated_by = excluded.updated_by`,
			string(text), s.now().UnixMilli(), data.ActorFrom(ctx).String()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE mail_outbox SET due = ? WHERE state IN ('waiting', 'sending')`, s.now().UnixMilli())
		return err
	})
	if err != nil {
		return fmt.Errorf("set mail: %w", err)
	}
	was := s.settings.Swap(&next)
	s.kick()
	s.farewell(ctx, was, &next)
	return nil
}

// Remove forgets the settings: links are shown to who asks from then on.
func (s *Service) Remove(ctx context.Context) error {
	if s.settings.Load() == nil {
		return data.ErrNotFound
	}
	if err := s.record(ctx, "mail.remove", "", nil); err != nil {
		return err
	}
	if err := s.changing(ctx, "mail.remove", nil); err != nil {
		return err
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM mail_settings`)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove mail: %w", err)
	}
	s.farewell(ctx, s.settings.Swap(nil), nil)
	return nil
}

// changing tells those whose letters take another way from now on.
func (s *Service) changing(ctx context.Context, action string, detail map[string]string) error {
	if s.config.Changed == nil {
		return nil
	}
	if err := s.config.Changed(ctx, action, detail); err != nil {
		return fmt.Errorf("tell of another mail server: %w", err)
	}
	return nil
}

func (s *Service) record(ctx context.Context, action, target string, detail map[string]string) error {
	err := s.config.Recorder.Record(ctx, api.Event{Action: action, Target: target, Outcome: api.OK, Detail: detail})
	if err != nil {
		return fmt.Errorf("record %s: %w", action, err)
	}
	return nil
}
