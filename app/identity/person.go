package identity

import (
	"context"
	"fmt"
	"net/mail"
	"strings"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Person is one human, one account.
type Person struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Name  string `json:"name"`
}

const active = "active"

// personRow is a person as the table holds it.
type personRow struct {
	ID         string `db:"id"`
	Email      string `db:"email"`
	Name       string `db:"name"`
	State      string `db:"state"`
	Password   string `db:"password"`
	LastSignIn int64  `db:"last_sign_in"`
	Created    int64  `db:"created"`
}

const personColumns = `id, email, name, state, password, last_sign_in, created`

func (r personRow) person() Person { return Person{r.ID, r.Email, r.Name} }

// personByEmail gives data.ErrNotFound when there is none.
func (s *Service) personByEmail(ctx context.Context, email string) (personRow, error) {
	return s.onePerson(ctx, "email = ?", email)
}

func (s *Service) personByID(ctx context.Context, id string) (personRow, error) {
	return s.onePerson(ctx, "id = ?", id)
}

func (s *Service) onePerson(ctx context.Context, where, value string) (personRow, error) {
	var row personRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &row, `SELECT `+personColumns+` FROM persons WHERE `+where, value))
	})
	if err != nil {
		return row, fmt.Errorf("find person: %w", err)
	}
	return row, nil
}

// NewPerson is what an account is made of.
type NewPerson struct {
	Email    string `json:"email"`
	Name     string `json:"name"`
	Password string `json:"password"`

	first     bool // the password is to be changed at the first sign-in
	federated bool // signs in through an identity provider only: has no password
}

// clean brings the fields to their one form and says what is wrong with them; weak is
// Service.weak.
func (n *NewPerson) clean(weak func(password, email, name string) string) []api.FieldError {
	var wrong []api.FieldError
	email, ok := cleanEmail(n.Email)
	if !ok {
		wrong = append(wrong, api.FieldError{Field: "email", Message: "is not an e-mail address"})
	}
	n.Email, n.Name = email, strings.TrimSpace(n.Name)
	if n.Name == "" {
		n.Name = localPart(email)
	}
	if utf8.RuneCountInString(n.Name) > 100 || strings.ContainsFunc(n.Name, func(r rune) bool { return r < ' ' }) {
		wrong = append(wrong, api.FieldError{Field: "name", Message: "at most 100 characters on one line"})
	}
	if n.federated {
		return wrong
	}
	if weak := weak(n.Password, n.Email, n.Name); weak != "" {
		wrong = append(wrong, api.FieldError{Field: "password", Message: weak})
	}
	return wrong
}

// cleanEmail gives the one form of an address: bare and in lower case.
func cleanEmail(s string) (string, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > 254 || !strings.Contains(s, "@") {
		return "", false
	}
	return s, true
}

// insertPerson adds an account; a taken address is a 409 that names the field.
func insertPerson(ctx context.Context, tx *sqlx.Tx, id string, n NewPerson, hash string, now int64) error {
	var taken bool
	if err := tx.GetContext(ctx, &taken, `SELECT EXISTS (SELECT 1 FROM persons WHERE email = ?)`, n.Email); err != nil {
		return err
	}
	if taken {
		p := api.Errorf(409, "exists", "There is an account with this address.").Because(data.ErrExists)
		p.Errors = []api.FieldError{{Field: "email", Message: "is taken"}}
		return p
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO persons
		(id, email, name, password, password_changed, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		id, n.Email, n.Name, hash, now, now, now)
	if err == nil && n.first && hash != "" {
		err = markFirst(ctx, tx, id)
	}
	return err
}
