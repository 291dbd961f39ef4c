package sso

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Policy says whether people may come in through a provider only.
type Policy struct {
	Only bool `json:"only" doc:"passwords and passkeys alone are refused, and no password is kept"`
}

// loadPolicies reads all of them into memory: each request asks.
func (s *Service) loadPolicies(ctx context.Context) error {
	var scopes []string
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &scopes, `SELECT scope FROM sso_only`)
	})
	if err != nil {
		return fmt.Errorf("read single sign-on policies: %w", err)
	}
	found := map[string]bool{}
	for _, scope := range scopes {
		found[scope] = true
	}
	s.only.Store(&found)
	return nil
}

// Only says whether a scope (Appliance or a tenant's id) wants single sign-on only.
func (s *Service) Only(scope string) bool { return (*s.only.Load())[scope] }

// setPolicy turns single sign-on only on or off. Who turns it on has shown that it
// works by having come in that way; the local socket cannot be shut out.
func (s *Service) setPolicy(r *http.Request, scope string, p Policy) error {
	ctx := r.Context()
	if err := s.config.People.MaySet(ctx, scope); err != nil {
		return err
	}
	if err := s.config.People.MayGive(ctx, scope, owner); err != nil {
		return err
	}
	if p.Only {
		if err := s.ready(r, scope); err != nil {
			return err
		}
	}
	if err := s.record(ctx, "sso.policy", scope, api.OK, map[string]string{"only": fmt.Sprint(p.Only)}); err != nil {
		return err
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) (err error) {
		if p.Only {
			_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO sso_only (scope, updated, updated_by) VALUES (?, ?, ?)`, scope, s.now().UnixMilli(), data.ActorFrom(ctx).String())
		} else {
			_, err = tx.ExecContext(ctx, `DELETE FROM sso_only WHERE scope = ?`, scope)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("set single sign-on policy: %w", err)
	}
	if err := s.loadPolicies(ctx); err != nil || !p.Only {
		return err
	}
	return s.config.People.Enforce(ctx)
}

// ready refuses a policy that would shut everybody out.
func (s *Service) ready(r *http.Request, scope string) error {
	rows, err := s.providers(r.Context(), s.waysTo(scope)...)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(rows, func(p row) bool { return !p.Disabled }) {
		return api.Errorf(http.StatusConflict, "no-provider", "Add an identity provider first: without one nobody could sign in.")
	}
	if data.ActorFrom(r.Context()).Kind != data.Person {
		return nil
	}
	came, err := s.config.People.CameThrough(r)
	if err == nil && !came {
		err = api.Errorf(http.StatusConflict, "come-through-it-first", "Sign in through the identity provider yourself first, so that you are not shut out.")
	}
	if err != nil {
		return err
	}
	return s.ownerLinked(r.Context(), scope)
}

// ownerLinked wants an owner who can come in through a provider.
func (s *Service) ownerLinked(ctx context.Context, scope string) error {
	owners, err := s.config.People.Owners(ctx, scope)
	if err != nil {
		return err
	}
	for _, id := range owners {
		if ok, err := s.Linked(ctx, id); ok || err != nil {
			return err
		}
	}
	return api.Errorf(http.StatusConflict, "no-owner-linked", "No owner could come in any more: an owner signs in through an identity provider, or links an account there, first.")
}
