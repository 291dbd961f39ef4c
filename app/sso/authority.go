package sso

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Errors of an authority. Any other says that it cannot be reached or is out of order.
var (
	// ErrRefused: what came back is not an answer to what was asked.
	ErrRefused = errors.New("the provider's answer does not hold")
	// ErrClient: the provider does not know this application, or not under this secret.
	ErrClient = errors.New("the provider does not accept the client id and secret")
)

// authority is a provider that can be asked. Safe for concurrent use.
type authority interface {
	// address is where a browser is sent.
	address(j journey) string
	// redeem trades a code for what the provider says. ErrRefused, ErrClient.
	redeem(ctx context.Context, j journey, code string) (claims, error)
	// names says whether iss, as it came back beside the code, is this provider's.
	names(iss string) bool
	// steps says whether it can be made to ask its people again.
	steps() bool
	// alive says whether it answers, and shows what it has to.
	alive(ctx context.Context) error
	// try asks for something that shows whether it knows the client. ErrClient.
	try(ctx context.Context) error
}

// openID is an issuer of OpenID Connect.
type openID struct {
	row      row
	client   *http.Client
	provider *oidc.Provider
	oauth    oauth2.Config
	meta     metadata
	now      func() time.Time
}

// metadata is what discovery says beyond what the library keeps.
type metadata struct {
	Authorize string   `json:"authorization_endpoint"`
	Keys      string   `json:"jwks_uri"`
	SaysIss   bool     `json:"authorization_response_iss_parameter_supported"`
	ClientBy  []string `json:"token_endpoint_auth_methods_supported"`
}

// discover asks an issuer about itself. Its own word must name the very issuer that
// was configured.
func (s *Service) discover(ctx context.Context, r row) (*openID, error) {
	client := s.outside.client(r.Scope)
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, client), r.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discover %s: %w", r.ID, err)
	}
	a := &openID{row: r, client: client, provider: p, now: s.config.Clock}
	if err := p.Claims(&a.meta); err != nil {
		return nil, fmt.Errorf("discover %s: %w", r.ID, err)
	}
	u, err := url.Parse(a.meta.Authorize)
	if err != nil || !secure(u.Scheme, u.Hostname(), s.config.Loopback) { // a browser is sent there
		return nil, fmt.Errorf("discover %s: its authorization endpoint: %w", r.ID, ErrNotSecure)
	}
	a.oauth = oauth2.Config{ClientID: r.ClientID, ClientSecret: r.Secret, Endpoint: p.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "email", "profile"}}
	a.oauth.Endpoint.AuthStyle = oauth2.AuthStyleInHeader // the specification's default
	if by := a.meta.ClientBy; len(by) > 0 && !slices.Contains(by, "client_secret_basic") {
		a.oauth.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return a, nil
}

func (a *openID) address(j journey) string {
	options := []oauth2.AuthCodeOption{oidc.Nonce(j.nonce), oauth2.S256ChallengeOption(j.verifier)}
	if j.purpose == toStepUp {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	if a.row.MFAACR != "" {
		options = append(options, oauth2.SetAuthURLParam("acr_values", a.row.MFAACR))
	}
	return a.at(j).AuthCodeURL(j.state, options...)
}

// at is the configuration of one journey: its way back is at the host where it began.
func (a *openID) at(j journey) *oauth2.Config {
	c := a.oauth
	c.RedirectURL = j.redirect
	return &c
}

// Google knows no prompt=login; it says nothing of when somebody signed in.
func (a *openID) steps() bool { return a.row.Kind != Google }

// names compares exactly. Whoever said in its discovery that it names itself must.
func (a *openID) names(iss string) bool {
	if iss == "" {
		return !a.meta.SaysIss
	}
	return iss == a.row.Issuer
}

func (a *openID) redeem(ctx context.Context, j journey, code string) (claims, error) {
	ctx = oidc.ClientContext(ctx, a.client)
	token, err := a.at(j).Exchange(ctx, code, oauth2.VerifierOption(j.verifier))
	if err != nil {
		return claims{}, exchangeError(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return claims{}, fmt.Errorf("%w: it holds no ID token", ErrRefused)
	}
	c, err := a.verified(ctx, raw, j)
	if err != nil {
		return claims{}, err
	}
	if c.Email == "" {
		return a.withUserInfo(ctx, c, token)
	}
	return c, nil
}

// verified checks signature, issuer, audience and times (the library), then that the
// token answers this journey.
func (a *openID) verified(ctx context.Context, raw string, j journey) (claims, error) {
	verifier := a.provider.VerifierContext(oidc.ClientContext(context.WithoutCancel(ctx), a.client), &oidc.Config{ClientID: a.row.ClientID, Now: a.now})
	token, err := verifier.Verify(ctx, raw)
	if err != nil {
		return claims{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	var text json.RawMessage
	if err := token.Claims(&text); err != nil {
		return claims{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	c, err := parseClaims(text)
	switch {
	case err != nil:
		return claims{}, fmt.Errorf("%w: %w", ErrRefused, err)
	case subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(j.nonce)) != 1:
		return claims{}, fmt.Errorf("%w: the ID token has another nonce", ErrRefused)
	case (c.Party != "" || len(token.Audience) > 1) && c.Party != a.row.ClientID:
		return claims{}, fmt.Errorf("%w: the ID token was made for %q", ErrRefused, c.Party)
	}
	return c, nil
}

// withUserInfo asks for the address where the ID token has none. The answer is not
// signed: it counts only for the same subject.
func (a *openID) withUserInfo(ctx context.Context, c claims, token *oauth2.Token) (claims, error) {
	if a.provider.UserInfoEndpoint() == "" {
		return c, nil
	}
	info, err := a.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return claims{}, fmt.Errorf("ask who it is: %w", err)
	}
	var text json.RawMessage
	if err := info.Claims(&text); err != nil {
		return claims{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	more, err := parseClaims(text)
	if err != nil || more.Subject != c.Subject {
		return claims{}, fmt.Errorf("%w: it speaks of somebody else", ErrRefused)
	}
	c.Email, c.EmailVerified, c.Name, c.HostedDomain = more.Email, more.EmailVerified, more.Name, more.HostedDomain
	return c, nil
}

// exchangeError tells whose fault it is that a code was not taken.
func exchangeError(err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return fmt.Errorf("trade the code: %w", err)
	}
	switch code := refused.ErrorCode; {
	case code == "invalid_client", code == "unauthorized_client", code == "incorrect_client_credentials":
		return fmt.Errorf("%w: %s", ErrClient, code)
	case refused.Response != nil && refused.Response.StatusCode >= 500:
		return fmt.Errorf("trade the code: status %d", refused.Response.StatusCode)
	case code == "" && refused.Response != nil && refused.Response.StatusCode == http.StatusUnauthorized:
		return ErrClient
	default:
		return fmt.Errorf("%w: the code was not taken (%s)", ErrRefused, code)
	}
}

// try brings a code that nobody gave: a provider that knows the client refuses the
// code, another one the client.
func (a *openID) try(ctx context.Context) error {
	_, err := a.at(journey{redirect: "https://holdfast.invalid/"}).Exchange(oidc.ClientContext(ctx, a.client), "test", oauth2.VerifierOption(secret()))
	if err = exchangeError(err); errors.Is(err, ErrRefused) {
		return a.alive(ctx)
	}
	return err
}

// alive sees that the issuer shows the keys that it signs with.
func (a *openID) alive(ctx context.Context) error {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := getJSON(ctx, a.client, a.meta.Keys, "", &set); err != nil {
		return fmt.Errorf("read its keys: %w", err)
	}
	if len(set.Keys) == 0 {
		return errors.New("it shows no keys")
	}
	return nil
}

// authorities keeps what was discovered for a while, by provider: not long, for who is
// sent to one that is down reads their browser's words instead of ours. Failures are
// kept for seconds, so that a crowd does not hammer what is down.
type authorities struct {
	clock func() time.Time
	mu    sync.Mutex
	byID  map[string]*found
}

type found struct {
	mu         sync.Mutex // one discovery at a time
	generation string
	authority  authority
	err        error
	at         time.Time
}

const (
	discoveryKept = time.Minute
	failureKept   = 5 * time.Second
)

func newAuthorities(clock func() time.Time) *authorities {
	return &authorities{clock: clock, byID: map[string]*found{}}
}

func (as *authorities) of(id string) *found {
	as.mu.Lock()
	defer as.mu.Unlock()
	f := as.byID[id]
	if f == nil {
		f = &found{}
		as.byID[id] = f
	}
	return f
}

// authority gives a provider ready to be asked.
func (s *Service) authority(ctx context.Context, r row) (authority, error) {
	f := s.known.of(r.ID)
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := discoveryKept
	if f.err != nil {
		kept = failureKept
	}
	if age := s.config.Clock().Sub(f.at); f.generation == r.generation() && age >= 0 && age < kept {
		return f.authority, f.err
	}
	// Whoever waits for it gets it: the first one's hanging up must not spoil it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	f.authority, f.err = s.ask(ctx, r)
	f.generation, f.at = r.generation(), s.config.Clock()
	return f.authority, f.err
}

func (s *Service) ask(ctx context.Context, r row) (authority, error) {
	if r.Kind == GitHub {
		return newGitHub(r, s.outside.client(r.Scope)), nil
	}
	a, err := s.discover(ctx, r)
	if err != nil {
		return nil, err
	}
	return a, nil
}
