package identity

import (
	"context"
	"fmt"
	"net/http"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

const locked = "locked"

// personRoutes are what is done to other people's accounts.
func (s *Service) personRoutes() []api.Route {
	const one = "/api/v1/people/{id}"
	return []api.Route{
		{Method: http.MethodPost, Path: one + "/lock", Permission: api.OperatorManage,
			Summary: "Lock an account: its sessions end, nobody signs in with it", Handler: s.serveLock},
		{Method: http.MethodPost, Path: one + "/unlock", Permission: api.OperatorManage, Assurance: api.Fresh,
			Summary: "Unlock an account", Handler: s.serveUnlock},
		{Method: http.MethodDelete, Path: one + "/factors", Permission: api.OperatorManage, Assurance: api.Fresh,
			Summary: "Take all second factors and recovery codes from somebody who has lost them; the sessions end", Handler: s.serveResetFactors},
	}
}

// errOneself refuses what would shut out the one who asks.
func errOneself() error {
	return api.Errorf(http.StatusConflict, "oneself", "This would be your own account. Let somebody else do it, or use the command line on the host.")
}

// another is the path's person, who must be there and not be the one who asks.
func (s *Service) another(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if data.ActorFrom(r.Context()) == (data.Actor{Kind: data.Person, ID: id}) {
		return "", errOneself()
	}
	_, err := s.personByID(r.Context(), id)
	return id, err
}

func (s *Service) serveLock(w http.ResponseWriter, r *http.Request) error {
	person, err := s.another(r)
	if err != nil {
		return err
	}
	if err := s.setState(r.Context(), "person.lock", person, locked); err != nil {
		return err
	}
	if err := s.EndSessions(r.Context(), person); err != nil {
		return err
	}
	return api.NoContent(w)
}

func (s *Service) serveUnlock(w http.ResponseWriter, r *http.Request) error {
	person, err := s.another(r)
	if err != nil {
		return err
	}
	if err := s.setState(r.Context(), "person.unlock", person, active); err != nil {
		return err
	}
	return api.NoContent(w)
}

// setState locks or unlocks an account. With the lock ends all that its person asked for
// or was let into, and what they have open.
func (s *Service) setState(ctx context.Context, action, person, state string) error {
	err := s.ending(ctx, func(tx *sqlx.Tx) (over []holding, err error) {
		done, err := tx.ExecContext(ctx, `UPDATE persons SET state = ?, updated = ? WHERE id = ?`, state, millis(s.now()), person)
		if err := changedOne(done, err); err != nil {
			return nil, err
		}
		if state != active {
			over, err = s.shutOut(ctx, tx, person, "the account was locked")
		}
		if err != nil {
			return nil, err
		}
		if err := s.record(ctx, action, person, api.OK, nil); err != nil {
			return nil, err
		}
		return over, s.tellTenants(ctx, person, action, nil)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}

func (s *Service) serveResetFactors(w http.ResponseWriter, r *http.Request) error {
	person, err := s.another(r)
	if err != nil {
		return err
	}
	if err := s.resetFactors(r.Context(), person); err != nil {
		return err
	}
	if err := s.EndSessions(r.Context(), person); err != nil {
		return err
	}
	return api.NoContent(w)
}

// resetFactors leaves the password alone, and refuses where there is none.
func (s *Service) resetFactors(ctx context.Context, person string) error {
	linked, err := s.config.Federation.Linked(ctx, person)
	if err != nil {
		return err
	}
	if err := s.record(ctx, "factor.reset", person, api.OK, nil); err != nil {
		return err
	}
	if err := s.tellTenants(ctx, person, "factor.reset", nil); err != nil {
		return err
	}
	defer s.grants.forget()
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		for _, table := range []string{"factors", "recovery_codes"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE person = ?`, person); err != nil {
				return fmt.Errorf("reset factors: %w", err)
			}
		}
		if err := stillLetsIn(ctx, tx, person, linked); err != nil {
			return err
		}
		return s.recovered(ctx, tx, person, data.ActorFrom(ctx).String())
	})
	if err == nil {
		s.alert(ctx, person, "Your second factors were taken away", "somebody who runs the appliance took the second factors and recovery codes of your account away.")
	}
	return err
}
