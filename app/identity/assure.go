package identity

import (
	"net/http"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

var _ api.Assurer = (*Service)(nil)

// FreshFor is how long a shown factor counts as fresh.
const FreshFor = 10 * time.Minute

// Assure decides whether the request's session meets the assurance. A person
// without a second factor is asked for the password again, which is all there is.
func (s *Service) Assure(r *http.Request, actor data.Actor, want api.Assurance) error {
	if actor.Kind == data.Key && want.StepsUp() { // a program has no factor to show
		return api.ErrForbidden
	}
	if actor.Kind != data.Person || want == api.Bare {
		return nil
	}
	session, err := s.sessions.lookup(r.Context(), s.token(r))
	if isNotFound(err) {
		return api.ErrUnauthenticated
	}
	if err != nil {
		return err
	}
	if err := barredHere(r, session); err != nil {
		return err
	}
	if want != api.Enrol {
		if err := s.satisfied(r.Context(), actor.ID, session); err != nil {
			return err
		}
	}
	if err := s.throughFederation(r, actor.ID, session); err != nil {
		return err
	}
	if age := s.now().Sub(session.Fresh); want.StepsUp() && (age < 0 || age >= FreshFor) { // the clock may have been set back
		return api.ErrStepUp
	}
	return nil
}
