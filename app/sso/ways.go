package sso

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Linked says whether a person can come in through a provider now: a link to one that
// may not sign them in any more is none.
func (s *Service) Linked(ctx context.Context, person string) (bool, error) {
	p, err := s.config.People.ByID(ctx, person)
	if err != nil {
		return false, err
	}
	return s.comesThrough(ctx, p, func(link) bool { return false })
}

// comesThrough says whether a person has a link that is good and not left out.
func (s *Service) comesThrough(ctx context.Context, p Person, without func(link) bool) (bool, error) {
	mine, err := s.linksOf(ctx, p.ID)
	if err != nil {
		return false, err
	}
	for _, l := range mine {
		if without(l) {
			continue
		}
		r, err := s.provider(ctx, l.Provider)
		if err != nil && !errors.Is(err, data.ErrNotFound) {
			return false, err
		}
		if err == nil && r.admits(p) == nil {
			return true, nil
		}
	}
	return false, nil
}

// hasWay says whether a person can come in though some links are left out.
func (s *Service) hasWay(ctx context.Context, p Person, without func(link) bool) (bool, error) {
	if ok, err := s.comesThrough(ctx, p, without); ok || err != nil {
		return ok, err
	}
	return s.config.People.HasOtherWay(ctx, p.ID)
}

// Admits says whether there is a provider through which a person can come to a tenant:
// one of the tenant's, or of one that it is a copy of, that may sign them in, or one of the appliance's where they are
// linked or whose domains their address is of.
func (s *Service) Admits(ctx context.Context, person, tenant string) (bool, error) {
	p, err := s.config.People.ByID(ctx, person)
	if err != nil {
		return false, err
	}
	rows, err := s.providers(ctx, s.waysTo(tenant)...)
	if err != nil {
		return false, err
	}
	for _, r := range rows {
		if r.admits(p) != nil {
			continue
		}
		if r.Scope != Appliance || len(r.domains()) == 0 || slices.Contains(r.domains(), domainOf(p.Email)) {
			return true, nil
		}
		if _, err := s.linkOf(ctx, r.ID, p.ID); !errors.Is(err, data.ErrNotFound) {
			return err == nil, err
		}
	}
	return false, nil
}

// NamesRole says whether a provider of a tenant gives a role to new accounts.
func (s *Service) NamesRole(ctx context.Context, tenant, role string) (named bool, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &named, `SELECT EXISTS (SELECT 1 FROM sso_providers WHERE scope = ? AND role = ?)`, tenant, role)
	})
	if err != nil {
		return false, fmt.Errorf("find a role's providers: %w", err)
	}
	return named, nil
}

// strandsNobody refuses to forget a provider that somebody has as the only way in. Who
// runs the host may: a provider that is in wrong hands must go at once.
func (s *Service) strandsNobody(ctx context.Context, r row) error {
	if data.ActorFrom(ctx).Kind == data.Host {
		return nil
	}
	var persons []string
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &persons, `SELECT person FROM sso_links WHERE provider = ?`, r.ID)
	})
	if err != nil {
		return fmt.Errorf("list a provider's people: %w", err)
	}
	stranded := 0
	for _, id := range persons {
		left, err := s.stranded(ctx, r, id)
		if err != nil {
			return err
		}
		if left {
			stranded++
		}
	}
	if stranded > 0 {
		return api.Errorf(http.StatusConflict, "last-way-in", "%d of the people who sign in with it have no other way in. Let them set a password or link another account first; on the host, holdfast sso remove does it all the same.", stranded)
	}
	return nil
}

// stranded says that a provider is the only way in of somebody whom it may sign in.
func (s *Service) stranded(ctx context.Context, r row, person string) (bool, error) {
	p, err := s.config.People.ByID(ctx, person)
	if errors.Is(err, data.ErrNotFound) {
		return false, nil
	}
	if err != nil || r.admits(p) != nil {
		return false, err
	}
	ok, err := s.hasWay(ctx, p, func(l link) bool { return l.Provider == r.ID })
	return !ok, err
}
