package sso

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// link says whose an account at a provider is.
type link struct {
	ID       string `db:"id"`
	Provider string `db:"provider"`
	Subject  string `db:"subject"`
	Person   string `db:"person"`
	Email    string `db:"email"`
	Created  int64  `db:"created"`
	LastUsed int64  `db:"last_used"`
}

const selectLinks = `SELECT id, provider, subject, person, email, created, last_used FROM sso_links`

// Link is one's own account at a provider.
type Link struct {
	ID       string     `json:"id"`
	Provider Way        `json:"provider"`
	Email    string     `json:"email" doc:"as the provider last told it"`
	Created  time.Time  `json:"created"`
	LastUsed *time.Time `json:"lastUsed"`
}

// Links are one's own, and the providers that could be added.
type Links struct {
	Links []Link `json:"links"`
	More  []Way  `json:"more"`
}

func (s *Service) oneLink(ctx context.Context, where string, args ...any) (l link, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &l, selectLinks+` WHERE `+where, args...))
	})
	if err != nil {
		return l, fmt.Errorf("find link: %w", err)
	}
	return l, nil
}

// linked finds the link of a provider's subject. data.ErrNotFound.
func (s *Service) linked(ctx context.Context, provider, subject string) (link, error) {
	return s.oneLink(ctx, `provider = ? AND subject = ?`, provider, subject)
}

// linkOf finds a person's link at a provider. data.ErrNotFound.
func (s *Service) linkOf(ctx context.Context, provider, person string) (link, error) {
	return s.oneLink(ctx, `provider = ? AND person = ?`, provider, person)
}

func (s *Service) linksOf(ctx context.Context, person string) (all []link, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &all, selectLinks+` WHERE person = ? ORDER BY created, id`, person)
	})
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return all, nil
}

// link makes the provider's subject the person's. Neither may have another: an
// address that came to somebody else at the provider does not bring the account along.
func (s *Service) link(ctx context.Context, r row, person string, c claims) error {
	if there, err := s.linked(ctx, r.ID, c.Subject); err == nil && there.Person == person {
		return s.used(ctx, there, c)
	} else if err == nil {
		return api.Errorf(http.StatusConflict, "linked-elsewhere", "This account of %s is linked to somebody else here.", r.Name)
	} else if !errors.Is(err, data.ErrNotFound) {
		return err
	}
	if _, err := s.linkOf(ctx, r.ID, person); err == nil {
		return api.Errorf(http.StatusConflict, "linked-otherwise", "Another account of %s is linked here already. Sign in with that one, or unlink it first.", r.Name)
	} else if !errors.Is(err, data.ErrNotFound) {
		return err
	}
	p, err := s.config.People.ByID(ctx, person)
	if err != nil {
		return err
	}
	l := link{ID: system.NewID(), Provider: r.ID, Subject: c.Subject, Person: person, Email: c.Email, Created: s.now().UnixMilli(), LastUsed: s.now().UnixMilli()}
	detail := map[string]string{"provider": r.ID, "link": l.ID}
	if err := s.record(ctx, "sso.link", person, api.OK, detail); err != nil {
		return err
	}
	if err := s.showTenants(ctx, p, "sso.link", detail); err != nil {
		return err
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `INSERT INTO sso_links (id, provider, subject, person, email, created, last_used)
			VALUES (:id, :provider, :subject, :person, :email, :created, :last_used)`, l)
		return err
	})
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	s.config.People.Alert(ctx, person, "A new way to sign in to your account", "an account of "+r.Name+" ("+c.Email+") was linked to yours: it signs you in from now on.")
	return nil
}

func (s *Service) used(ctx context.Context, l link, c claims) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE sso_links SET last_used = ?, email = ? WHERE id = ?`, s.now().UnixMilli(), c.Email, l.ID)
		return err
	})
}

func (s *Service) linkRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodGet, Path: "/api/v1/session/links", Permission: api.Signed, Assurance: api.Bare, Summary: "One's own accounts at providers", Response: Links{}, Handler: s.serveLinks},
		{Method: http.MethodDelete, Path: "/api/v1/session/links/{id}", Permission: api.Signed, Assurance: api.Fresh, Summary: "Unlink one's account at a provider, but not the last way in", Handler: s.serveUnlink},
	}
}

func ownPerson(r *http.Request) (string, error) {
	actor := data.ActorFrom(r.Context())
	if actor.Kind != data.Person {
		return "", errNoPerson()
	}
	return actor.ID, nil
}

func (s *Service) serveLinks(w http.ResponseWriter, r *http.Request) error {
	person, err := ownPerson(r)
	if err != nil {
		return err
	}
	p, err := s.config.People.ByID(r.Context(), person)
	if err != nil {
		return err
	}
	out, err := s.describeLinks(r.Context(), p)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, out)
}

func (s *Service) describeLinks(ctx context.Context, p Person) (Links, error) {
	out := Links{Links: []Link{}, More: []Way{}}
	mine, err := s.linksOf(ctx, p.ID)
	if err != nil {
		return out, err
	}
	rows, err := s.providers(ctx, append([]string{Appliance}, p.Scopes...)...)
	if err != nil {
		return out, err
	}
	byID := map[string]link{}
	for _, l := range mine {
		byID[l.Provider] = l
	}
	for _, r := range rows {
		if l, ok := byID[r.ID]; ok {
			out.Links = append(out.Links, Link{ID: l.ID, Provider: r.way(), Email: l.Email, Created: fromMillis(l.Created), LastUsed: moment(l.LastUsed)})
		} else if r.admits(p) == nil {
			out.More = append(out.More, r.way())
		}
	}
	return out, nil
}

func (s *Service) serveUnlink(w http.ResponseWriter, r *http.Request) error {
	person, err := ownPerson(r)
	if err != nil {
		return err
	}
	tenant, err := s.config.People.Tenant(r)
	if err == nil && tenant != "" {
		err = errTenantSession()
	}
	if err != nil {
		return err
	}
	if err := s.unlink(r.Context(), person, r.PathValue("id")); err != nil {
		return err
	}
	return api.NoContent(w)
}

func (s *Service) unlink(ctx context.Context, person, id string) error {
	mine, err := s.linksOf(ctx, person)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(mine, func(l link) bool { return l.ID == id }) {
		p, err := s.config.People.ByID(ctx, person)
		if err != nil {
			return err
		}
		other, err := s.hasWay(ctx, p, func(l link) bool { return l.ID == id })
		if err != nil {
			return err
		}
		if !other {
			return api.Errorf(http.StatusConflict, "last-way-in", "You could not sign in any more. Add a passkey or another account first.")
		}
	}
	if err := s.record(ctx, "sso.unlink", person, api.OK, map[string]string{"link": id}); err != nil {
		return err
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `DELETE FROM sso_links WHERE id = ? AND person = ?`, id, person)
		return changedOne(done, err)
	})
	if err == nil {
		s.config.People.Alert(ctx, person, "A way to sign in to your account was removed", "an account at an identity provider was unlinked from yours: it signs you in no more.")
	}
	return err
}

// StepUps are the providers at which a person can sign in again to step up.
func (s *Service) StepUps(ctx context.Context, person string) ([]Way, error) {
	ways := []Way{}
	p, err := s.config.People.ByID(ctx, person)
	if err != nil {
		return ways, err
	}
	mine, err := s.linksOf(ctx, person)
	for _, l := range mine {
		if r, err := s.provider(ctx, l.Provider); err == nil && r.admits(p) == nil && r.Kind != GitHub && r.Kind != Google {
			ways = append(ways, r.way())
		}
	}
	return ways, err
}
