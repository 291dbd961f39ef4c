package users

import (
	"strings"
	"time"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/security"
)

// sinceClaim is in the tokens of collections with a policy: when their user last
// signed in. PocketBase signs and checks it with the rest and asks no more of it.
const sinceClaim = "hfSince"

// Fresh is how long after a sign-in factors can be changed.
const Fresh = 10 * time.Minute

// token is PocketBase's, with a life by the policy's rules and the time of the sign-in.
func (s *Service) token(r *core.Record, p Policy, since time.Time) (string, error) {
	life := r.Collection().AuthToken.DurationTime()
	if p.Sessions.TokenSeconds > 0 {
		life = time.Duration(p.Sessions.TokenSeconds) * time.Second
	}
	if p.Sessions.MaxAgeSeconds > 0 {
		life = min(life, s.left(p, since))
	}
	claims := map[string]any{
		core.TokenClaimType: core.TokenTypeAuth, core.TokenClaimId: r.Id, core.TokenClaimCollectionId: r.Collection().Id,
		core.TokenClaimRefreshable: true, sinceClaim: since.Unix(),
	}
	return security.NewJWT(claims, r.TokenKey()+r.Collection().AuthToken.Secret, life)
}

// left is how long a session that began then may still be refreshed.
func (s *Service) left(p Policy, since time.Time) time.Duration {
	return since.Add(time.Duration(p.Sessions.MaxAgeSeconds) * time.Second).Sub(s.now())
}

// refresh renews a token within the session's age. PocketBase has checked the
// present one; who has one has shown whatever was asked when it was made.
func (s *Service) refresh(e *core.RecordAuthRequestEvent, p Policy) error {
	token := bearer(e.RequestEvent)
	if e.Token == token {
		return e.Next() // one that is not to be renewed
	}
	since := s.since(e.RequestEvent, e.Record)
	if p.Sessions.MaxAgeSeconds > 0 && s.left(p, since) <= 0 {
		return e.UnauthorizedError("The session is too old. Sign in again.", nil)
	}
	fresh, err := s.token(e.Record, p, since)
	if err != nil {
		return err
	}
	e.Token = fresh
	return e.Next()
}

func bearer(e *core.RequestEvent) string {
	token := e.Request.Header.Get("Authorization")
	if len(token) > 7 && strings.EqualFold(token[:7], "bearer ") {
		return token[7:]
	}
	return token
}

// since is when the request's user signed in. A token from before the policy says
// only when it ends; its user signed in no later than its life before that.
func (s *Service) since(e *core.RequestEvent, r *core.Record) time.Time {
	claims, err := security.ParseUnverifiedJWT(bearer(e)) // PocketBase has verified it
	if err != nil {
		return time.Time{}
	}
	if at, ok := claims[sinceClaim].(float64); ok {
		return time.Unix(int64(at), 0)
	}
	ends, _ := claims["exp"].(float64)
	return time.Unix(int64(ends), 0).Add(-r.Collection().AuthToken.DurationTime())
}
