package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/signin"
)

// errBadCredentials is one answer for a wrong password, an unknown address and a
// locked account: who does not know the password learns nothing.
func errBadCredentials() error {
	return api.Errorf(401, "bad-credentials", "The address or the password is wrong.").Because(api.ErrUnauthenticated)
}

func tooMany(wait time.Duration) error {
	seconds := int(math.Ceil(wait.Seconds()))
	return api.Errorf(429, "too-many", "Too many attempts. Try again in %d seconds.", seconds).
		WithHeader("Retry-After", strconv.Itoa(seconds))
}

// admit counts an attempt by account (as typed, there or not) and by address.
func (s *Service) admit(account, address string) error {
	if wait := s.origins.Attempt(address); wait > 0 {
		return tooMany(wait)
	}
	if account == "" {
		return nil
	}
	if wait := s.accounts.Attempt(account); wait > 0 {
		return tooMany(wait)
	}
	return nil
}

// accountName keeps typed addresses out of memory, and their length bounded.
func accountName(email string) string {
	sum := sha256.Sum256([]byte(email))
	return hex.EncodeToString(sum[:])
}

// verify finds the person whose address and password these are.
func (s *Service) verify(ctx context.Context, email, password, address string) (Person, error) {
	email, _ = cleanEmail(email)
	account := accountName(email)
	if err := s.admit(account, address); err != nil {
		return Person{}, err
	}
	row, err := s.personByEmail(ctx, email)
	if err != nil && !errors.Is(err, data.ErrNotFound) {
		return Person{}, err
	}
	if len(password) > MaxPassword*utf8.UTFMax { // none that long was ever accepted
		password, row.Password = "", ""
	}
	ok, err := s.hasher.matches(ctx, password, row.Password)
	if err != nil {
		return Person{}, fmt.Errorf("check password: %w", err)
	}
	if ok { // one that is left over counts for nothing
		only, err := s.onlyFederated(ctx, row.ID)
		if err != nil {
			return Person{}, err
		}
		ok = !only
	}
	if !ok || row.State != active {
		return Person{}, s.signInFailed(ctx, row.ID, ByPassword, address, errBadCredentials())
	}
	s.accounts.Forget(account)
	s.origins.Forgive(address)
	return row.person(), s.rehash(ctx, row, password)
}

// signInFailed records the failure against the person, if there is one, and gives the
// answer. What was typed for an address may be a password in the wrong field and
// is not kept.
func (s *Service) signInFailed(ctx context.Context, person string, m Method, address string, answer error) error {
	target := "unknown"
	if person != "" {
		target = person
	}
	err := s.record(ctx, "session.create", target, api.Failed, map[string]string{"address": address, "method": string(m)})
	if person != "" {
		err = errors.Join(err, s.keepSignIn(ctx, &signIn{Person: person, Outcome: api.Failed, Method: m, Address: address}))
	}
	return errors.Join(err, answer)
}

// rehash brings an old hash to today's cost, now that the password is at hand.
func (s *Service) rehash(ctx context.Context, row personRow, password string) error {
	if !s.hasher.stale(row.Password) {
		return nil
	}
	fresh, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE persons SET password = ? WHERE id = ? AND password = ?`, fresh, row.ID, row.Password)
		return err
	})
}

// signIn starts a session for a person who has shown who they are. It always makes
// a new token, and ends the session that the browser had.
func (s *Service) signIn(w http.ResponseWriter, r *http.Request, p Person, m Method) error {
	return s.signInAt(w, r, p, m, s.now(), "")
}

// signInAt is signIn with a factor that was shown at some time, through a provider of
// the scope if it is not empty.
func (s *Service) signInAt(w http.ResponseWriter, r *http.Request, p Person, m Method, fresh time.Time, scope string) error {
	ctx := data.WithActor(r.Context(), data.Actor{Kind: data.Person, ID: p.ID})
	if old := s.token(r); old != "" {
		if err := s.sessions.end(ctx, old); err != nil {
			return err
		}
	}
	address := signin.AddressOf(r.RemoteAddr)
	token, err := s.sessions.create(ctx, Session{
		Person: p.ID, Address: address, Agent: r.UserAgent(), Method: m, Strong: m.strong(), Fresh: fresh, Scope: scope,
	})
	if err != nil {
		return err
	}
	if err := s.record(ctx, "session.create", p.ID, api.OK, map[string]string{"address": address, "method": string(m)}); err != nil {
		return errors.Join(err, s.sessions.end(context.WithoutCancel(ctx), token))
	}
	if err := s.noteSignIn(ctx, p.ID, m, address, r.UserAgent()); err != nil {
		return err
	}
	http.SetCookie(w, s.cookie(r, token))
	return nil
}

// AuthenticateRequest tells who sent a request to the base host: the person of
// its session, an API key of the control plane (or of a store's snapshots), or a
// guest. Other keys belong to tenants' hosts and are refused here, so that nobody
// takes one for working.
func (s *Service) AuthenticateRequest(r *http.Request) (data.Actor, error) {
	guest := data.Actor{Kind: data.Guest}
	if raw := KeyFromRequest(r); raw != "" {
		return s.keyHere(r, raw)
	}
	token := s.token(r)
	if token == "" {
		return guest, nil
	}
	session, err := s.sessions.lookup(r.Context(), token)
	if errors.Is(err, data.ErrNotFound) {
		return guest, nil
	}
	if err != nil {
		return guest, fmt.Errorf("find session: %w", err)
	}
	return data.Actor{Kind: data.Person, ID: session.Person}, nil
}

// EndSessions ends all of a person's sessions.
func (s *Service) EndSessions(ctx context.Context, person string) error {
	return s.sessions.endAll(ctx, person, "")
}
