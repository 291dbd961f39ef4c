package identity

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// Claimed holds an account that a provider of the appliance takes over by its address
// alone, as one that an operator opened anew is held (see recovered): who runs the
// appliance chooses its providers, and "single sign-on only" leaves people without the
// password that they would have come in with. An account that nobody came in to yet is
// as new, unless it operates; one with a factor asks for that after the provider. The
// context's actor is who set the provider.
func (s *Service) Claimed(ctx context.Context, person, provider string) error {
	row, err := s.personByID(ctx, person)
	if err != nil {
		return err
	}
	operates, err := s.operates(ctx, person)
	if err != nil || row.LastSignIn == 0 && !operates {
		return err
	}
	factors, err := s.factors(ctx, person)
	if err != nil || len(factors) > 0 {
		return err
	}
	by := data.ActorFrom(ctx).String()
	ctx = data.WithActor(ctx, data.Actor{Kind: data.System})
	if err := s.tellTenants(ctx, person, "sso.claim", map[string]string{"provider": provider, "set by": by}); err != nil {
		return err
	}
	defer s.grants.forget()
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		return s.recovered(ctx, tx, person, by)
	})
	if err != nil {
		return fmt.Errorf("hold a claimed account: %w", err)
	}
	s.alert(ctx, person, "Your account was opened through single sign-on", "an identity provider signed somebody in to your account by its address. "+
		"Until an owner of each tenant confirms that it is you, the account reaches no records there.")
	return nil
}
