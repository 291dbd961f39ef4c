package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"holdfast/app/api"
	"holdfast/data/signin"
)

// A code by mail is a weak second factor: whoever reads somebody's mail has it, and
// reset links too. It is asked for only where the appliance's policy says so, and only
// of people who have enrolled nothing better.

const (
	wayMailCode  = "mail-code"
	mailCodeLife = 10 * time.Minute
)

// newMailCode is six digits, evenly chosen.
func newMailCode() (string, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return "", fmt.Errorf("make code: %w", err)
	}
	return fmt.Sprintf("%06d", n), nil
}

const mailCodeText = `Hello %s,

your code to sign in at %s is

    %s

It works once, for 10 minutes, in the browser that asked for it. Nobody who
means well will ask you for it. If you are not signing in just now, somebody
knows your password: change it.
`

// askMailCode answers 202: the password was right, and a code is on its way. The code
// itself is kept as a hash, in memory.
func (s *Service) askMailCode(w http.ResponseWriter, r *http.Request, p Person) error {
	if err := s.admit(accountName("mail-code/"+p.ID), signin.AddressOf(r.RemoteAddr)); err != nil { // mails cost
		return err
	}
	code, err := newMailCode()
	if err != nil {
		return err
	}
	expires := s.now().Add(mailCodeLife)
	if err := s.record(r.Context(), "session.code", p.ID, api.OK, map[string]string{"address": signin.AddressOf(r.RemoteAddr)}); err != nil {
		return err
	}
	err = s.config.Post.Send(r.Context(), Letter{To: p.Email, Kind: "code", Subject: "Your code to sign in", Expires: expires,
		Text: fmt.Sprintf(mailCodeText, p.Name, s.config.URL(), code)})
	if err != nil {
		return err
	}
	s.origins.Forgive(signin.AddressOf(r.RemoteAddr))
	token := newToken()
	s.pending.put(hashToken(token).key(), pending{person: p.ID, method: ByPassword, secret: mailCodeDigest(token, code), expires: expires})
	cookie := s.pendingCookie(r, token)
	cookie.MaxAge = int(mailCodeLife.Seconds())
	http.SetCookie(w, cookie)
	return api.Respond(w, http.StatusAccepted, PendingSignIn{Factors: []string{wayMailCode}, Expires: expires})
}

// mailCodeDigest binds the code to the browser's pending token.
func mailCodeDigest(token, code string) string { return hashToken(token + "\n" + code).key() }

// checkMailCode compares a code with the one that is pending.
func (s *Service) checkMailCode(r *http.Request, pending, typed string) bool {
	typed = strings.Join(strings.Fields(typed), "")
	got := mailCodeDigest(s.pendingToken(r), typed)
	return pending != "" && subtle.ConstantTimeCompare([]byte(got), []byte(pending)) == 1
}

// wantsMailCode says whether somebody who has enrolled nothing is asked for a code.
func (s *Service) wantsMailCode(ctx context.Context, person string, enrolled int) (bool, error) {
	if enrolled > 0 || !s.mailCodesOn() {
		return false, nil
	}
	st, err := s.standing(ctx, person)
	if err != nil || s.refusesMailCodes(st) {
		return false, err
	}
	return s.mailCodes(ctx)
}
