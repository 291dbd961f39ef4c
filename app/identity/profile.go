package identity

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"
	"golang.org/x/text/language"

	"holdfast/app/api"
	"holdfast/data"
)

// Profile is what people say of themselves; what is left out stays.
type Profile struct {
	Name     *string `json:"name,omitempty"`
	Language *string `json:"language,omitempty" doc:"how dates and numbers are written, as en-GB; empty: as the browser's"`
	TimeZone *string `json:"timeZone,omitempty" doc:"as Europe/Berlin; empty: the browser's"`
}

// MyProfile is the part of it that the console draws with.
type MyProfile struct {
	Language string `json:"language"`
	TimeZone string `json:"timeZone"`
}

// zonePattern is the form of names in the time zone database. Which of them there are
// is the browser's to know: it draws the times.
var zonePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$`)

// check brings the fields to their one form and says what is wrong with them.
func (p *Profile) check() error {
	var wrong []api.FieldError
	if p.Name != nil {
		name := strings.TrimSpace(*p.Name)
		p.Name = &name
		if name == "" || utf8.RuneCountInString(name) > 100 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
			wrong = append(wrong, api.FieldError{Field: "name", Message: "1 to 100 characters on one line"})
		}
	}
	if p.Language != nil && *p.Language != "" {
		if tag, err := language.Parse(*p.Language); err != nil || len(*p.Language) > 35 {
			wrong = append(wrong, api.FieldError{Field: "language", Message: "is not a language, as en-GB"})
		} else {
			name := tag.String()
			p.Language = &name
		}
	}
	if p.TimeZone != nil && *p.TimeZone != "" && (len(*p.TimeZone) > 60 || !zonePattern.MatchString(*p.TimeZone)) {
		wrong = append(wrong, api.FieldError{Field: "timeZone", Message: "is not a time zone, as Europe/Berlin"})
	}
	if len(wrong) > 0 {
		return api.Invalid(wrong...)
	}
	return nil
}

func (s *Service) serveProfile(w http.ResponseWriter, r *http.Request, person string) error {
	var in Profile
	if err := api.Read(r, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	if err := s.setProfile(r.Context(), person, in); err != nil {
		return err
	}
	return s.respondMe(w, r, http.StatusOK, data.ActorFrom(r.Context()))
}

func (s *Service) setProfile(ctx context.Context, person string, p Profile) error {
	if err := s.record(ctx, "person.profile", person, api.OK, nil); err != nil {
		return err
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE persons SET name = coalesce(?, name), language = coalesce(?, language),
			time_zone = coalesce(?, time_zone), updated = ? WHERE id = ?`, p.Name, p.Language, p.TimeZone, millis(s.now()), person)
		return changedOne(done, err)
	})
	if err != nil {
		return fmt.Errorf("change profile: %w", err)
	}
	return nil
}

// myProfile reads it. data.ErrNotFound.
func (s *Service) myProfile(ctx context.Context, person string) (*MyProfile, error) {
	var row struct {
		Language string `db:"language"`
		TimeZone string `db:"time_zone"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &row, `SELECT language, time_zone FROM persons WHERE id = ?`, person))
	})
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	return &MyProfile{row.Language, row.TimeZone}, nil
}
