package sso

import (
	"context"
	"net/http"

	"holdfast/app/api"
)

// open refuses whatever goes through a provider that is switched off. Its links stay, so
// that switching it on again is all that it takes.
func (r row) open() error {
	if !r.Disabled {
		return nil
	}
	return api.Errorf(http.StatusForbidden, "provider-off", "Sign-in through %s is switched off. Use another way.", r.Name)
}

// mayDisable asks before a provider is switched off what is asked before one is removed:
// it is neither the last where nothing else is a way in, nor somebody's only one. A
// journey that is on its way ends by itself, because the settings changed.
func (s *Service) mayDisable(ctx context.Context, r, before row) error {
	if !r.Disabled || before.Disabled {
		return nil
	}
	if err := s.notTheLast(ctx, before); err != nil {
		return err
	}
	return s.strandsNobody(ctx, before)
}
