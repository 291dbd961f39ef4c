package users

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"

	"holdfast/data/signin"
)

// Policy is how the users of one auth collection sign in. The zero value is
// PocketBase as it is.
type Policy struct {
	TOTP         bool     `json:"totp" doc:"users may add an authenticator app"`
	Passkeys     bool     `json:"passkeys" doc:"users may add passkeys, and sign in with one alone"`
	SecondFactor string   `json:"secondFactor" enum:"enrolled,always" doc:"enrolled: asked of who has one; always: who has none adds one while signing in"`
	Origins      []string `json:"origins" doc:"pages beside the tenant's own host where passkeys work, as https://app.example.com"`
	// KeepUnproven is off in the default: who signs up first with somebody's address is
	// not to have the account once its owner proves the address.
	KeepUnproven bool     `json:"keepUnproven" doc:"a password that was set before the address was verified goes on although who verifies it showed neither that password nor a token"`
	Password     Password `json:"password"`
	Sessions     Sessions `json:"sessions"`
	Attempts     Attempts `json:"attempts"`
}

// Password is what a new password must be.
type Password struct {
	MinLength    int  `json:"minLength" doc:"characters; 0: PocketBase's own rule of the field"`
	RefuseCommon bool `json:"refuseCommon" doc:"refuse common passwords and those that contain the user's address"`
	MinBits      int  `json:"minBits" doc:"least estimated strength in bits; 0: any"`
	History      int  `json:"history" doc:"how many former passwords are refused; 0 to 10"`
}

// Sessions is how long tokens live.
type Sessions struct {
	TokenSeconds  int64 `json:"tokenSeconds" doc:"life of a token; 0: the collection's own"`
	MaxAgeSeconds int64 `json:"maxAgeSeconds" doc:"how long after the sign-in a token can be refreshed; 0: for ever"`
	EndOnChange   bool  `json:"endOnChange" doc:"a change of factors ends all other tokens, as one of the password always does"`
}

// Attempts is the patience with failed sign-ins.
type Attempts struct {
	Account     int `json:"account" doc:"failed tries for one account before it has to wait; 0: no limit"`
	Address     int `json:"address" doc:"failed tries from one address before it has to wait; 0: no limit"`
	LongestWait int `json:"longestWait" doc:"seconds that the wait grows to"`
}

// When a second factor is asked for.
const (
	Enrolled = "enrolled"
	Always   = "always"
)

// Bounds of a policy.
const (
	maxOrigins = 20
	maxHistory = 10
	maxLength  = 64
	maxBits    = 100
	maxSeconds = 3 * 365 * 24 * 3600
	maxTries   = 10_000
	maxWait    = 24 * 3600
)

// Check says what is wrong with a policy; ErrInvalid.
func (p Policy) Check() error {
	if p.SecondFactor != Enrolled && p.SecondFactor != Always {
		return fmt.Errorf("%w: secondFactor: enrolled or always", ErrInvalid)
	}
	if p.SecondFactor == Always && !p.TOTP && !p.Passkeys {
		return fmt.Errorf("%w: secondFactor: switch authenticator apps (totp) or passkeys on to ask everybody for one", ErrInvalid)
	}
	if len(p.Origins) > maxOrigins {
		return fmt.Errorf("%w: origins: at most %d", ErrInvalid, maxOrigins)
	}
	for _, o := range p.Origins {
		if u, err := url.Parse(o); err != nil || u.Scheme+"://"+u.Host != o || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
			return fmt.Errorf("%w: origins: %q is none; write https://app.example.com", ErrInvalid, o)
		}
	}
	for _, n := range []struct {
		name      string
		is, least int64
		most      int64
	}{
		{"password.minLength", int64(p.Password.MinLength), 0, maxLength}, {"password.minBits", int64(p.Password.MinBits), 0, maxBits},
		{"password.history", int64(p.Password.History), 0, maxHistory}, {"sessions.tokenSeconds", p.Sessions.TokenSeconds, 0, maxSeconds},
		{"sessions.maxAgeSeconds", p.Sessions.MaxAgeSeconds, 0, maxSeconds}, {"attempts.account", int64(p.Attempts.Account), 0, maxTries},
		{"attempts.address", int64(p.Attempts.Address), 0, maxTries}, {"attempts.longestWait", int64(p.Attempts.LongestWait), 1, maxWait},
	} {
		if n.is < n.least || n.is > n.most {
			return fmt.Errorf("%w: %s: from %d to %d", ErrInvalid, n.name, n.least, n.most)
		}
	}
	return nil
}

// Default is what a collection gets to begin with when it is first edited.
func Default() Policy {
	return Policy{
		SecondFactor: Enrolled, Origins: []string{},
		Sessions: Sessions{EndOnChange: true},
		Attempts: Attempts{Account: 10, Address: 50, LongestWait: 60},
	}
}

// kinds are the factors that are switched on.
func (p Policy) kinds() []string {
	var on []string
	if p.TOTP {
		on = append(on, kindTOTP)
	}
	if p.Passkeys {
		on = append(on, kindPasskey)
	}
	return on
}

// patience with one account, and with one address. Quiet time is longer than the
// longest wait, or waiting would forgive.
func (p Policy) patience() (account, address signin.Patience) {
	longest := time.Duration(p.Attempts.LongestWait) * time.Second
	return signin.Patience{Free: p.Attempts.Account, Longest: longest, Quiet: max(15*time.Minute, 2*longest)},
		signin.Patience{Free: p.Attempts.Address, Longest: longest, Quiet: max(time.Hour, 2*longest)}
}

// PolicyOf gives a collection's policy, and whether it was ever set.
func (s *Service) PolicyOf(c *core.Collection) (Policy, bool) {
	if p, ok := (*s.policies.Load())[c.Id]; ok {
		return p, true
	}
	return Default(), false
}

// SetPolicy changes it from now on; ErrInvalid.
func (s *Service) SetPolicy(ctx context.Context, app core.App, c *core.Collection, p Policy) error {
	if p.Origins == nil {
		p.Origins = []string{}
	}
	if err := p.Check(); err != nil {
		return err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := s.record(ctx, Event{Action: "user.policy.set", Target: c.Name, Detail: map[string]string{"policy": string(text)}}); err != nil {
		return err
	}
	err = s.exec(ctx, app, `INSERT INTO _hf_user_policies(collection, policy, history) VALUES ({:collection}, {:policy}, {:history})
		ON CONFLICT(collection) DO UPDATE SET policy = excluded.policy, history = excluded.history`,
		dbx.Params{"collection": c.Id, "policy": string(text), "history": p.Password.History})
	if err != nil {
		return fmt.Errorf("set the policy of %s: %w", c.Name, err)
	}
	return s.loadPolicies(ctx)
}

// loadPolicies reads all of them, in place of what was known.
func (s *Service) loadPolicies(ctx context.Context) error {
	var rows []struct {
		Collection string `db:"collection"`
		Policy     string `db:"policy"`
	}
	if err := s.all(ctx, s.config.App, &rows, `SELECT collection, policy FROM _hf_user_policies`, nil); err != nil {
		return err
	}
	found := map[string]Policy{}
	for _, r := range rows {
		p := Default()
		if err := json.Unmarshal([]byte(r.Policy), &p); err != nil {
			return fmt.Errorf("policy of %s: %w", r.Collection, err)
		}
		found[r.Collection] = p
	}
	s.policies.Store(&found)
	return nil
}

// Collections are the ids of the collections that have a policy.
func (s *Service) Collections() []string { return slices.Sorted(maps.Keys(*s.policies.Load())) }
