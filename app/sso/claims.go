package sso

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// claims are what a provider says of somebody, in the words of OpenID Connect.
type claims struct {
	Subject       string   `json:"sub"`
	Email         string   `json:"email"`
	EmailVerified flag     `json:"email_verified"`
	Name          string   `json:"name"`
	Nonce         string   `json:"nonce"`
	Party         string   `json:"azp"`
	HostedDomain  string   `json:"hd"`       // Google: the organisation that manages the account
	DomainOwner   flag     `json:"xms_edov"` // Microsoft: the domain's owner vouches for the address
	ACR           string   `json:"acr"`
	AMR           []string `json:"amr"`
	AuthTime      int64    `json:"auth_time"` // Unix seconds
}

// maxSubject is the specification's bound.
const maxSubject = 255

// flag is a boolean that some providers write as a string or a number.
type flag bool

// UnmarshalJSON takes true, "true", 1 and "1" for true, anything else for false.
func (f *flag) UnmarshalJSON(b []byte) error {
	text := string(b)
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	*f = text == "true" || text == "1"
	return nil
}

// parseClaims reads the claims of a token whose signature was checked.
func parseClaims(b []byte) (c claims, err error) {
	if err := json.Unmarshal(b, &c); err != nil {
		return claims{}, fmt.Errorf("read claims: %w", err)
	}
	if c.Subject == "" || len(c.Subject) > maxSubject {
		return claims{}, fmt.Errorf("read claims: a subject of %d bytes", len(c.Subject))
	}
	c.Email = strings.ToLower(strings.TrimSpace(c.Email))
	return c, nil
}

func domainOf(email string) string {
	_, domain, _ := strings.Cut(email, "@")
	return domain
}

// owns says whether the provider can know that the address is this person's. An
// address in a token alone proves nothing: at Microsoft anybody can write any into
// their own directory, and at Google an account may carry a foreign one.
func (r row) owns(c claims) bool {
	domain := domainOf(c.Email)
	switch {
	case domain == "":
		return false
	case r.Kind == Google:
		return bool(c.EmailVerified) && (domain == "gmail.com" || domain == c.HostedDomain)
	case r.Kind == Microsoft:
		return bool(c.DomainOwner) || slices.Contains(r.domains(), domain) // of the one directory that was configured
	}
	return bool(c.EmailVerified)
}

// The kinds of things that the methods of RFC 8176 show.
var methods = map[string]string{
	"pwd": "known", "pin": "known", "kba": "known",
	"otp": "had", "hwk": "had", "swk": "had", "sms": "had", "tel": "had", "sc": "had", "pop": "had",
	"fpt": "been", "face": "been", "iris": "been", "retina": "been", "vbm": "been",
}

// strong says whether a second factor was shown, by the word of a provider that is
// trusted in this.
func (r row) strong(c claims) bool {
	if !r.MFA {
		return false
	}
	if r.MFAACR != "" && c.ACR == r.MFAACR || slices.Contains(c.AMR, "mfa") {
		return true
	}
	shown := map[string]bool{}
	for _, m := range c.AMR {
		if kind := methods[m]; kind != "" {
			shown[kind] = true
		}
	}
	return len(shown) > 1
}

// skew is how far a provider's clock may be from ours.
const skew = time.Minute

// shownAt is when a factor was shown: as the provider tells, or, where it does not
// tell, just now.
func shownAt(c claims, now time.Time) time.Time {
	at := time.Unix(c.AuthTime, 0).UTC()
	if c.AuthTime <= 0 || at.After(now) {
		return now
	}
	return at
}

// shownAgain says whether a factor was shown since the journey began.
func shownAgain(c claims, j journey) bool {
	return c.AuthTime > 0 && !time.Unix(c.AuthTime, 0).Before(j.begun.Add(-skew))
}
