package sso

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/oauth2"
)

// gitHub signs in with OAuth 2 alone: there is no ID token, so who it is is asked for
// with the access token, which came over TLS from the token endpoint itself. Every
// provider has a way back of its own, so no other one's code gets here.
type gitHub struct {
	row    row
	client *http.Client
	oauth  oauth2.Config
	api    string
}

func newGitHub(r row, client *http.Client) *gitHub {
	base := strings.TrimSuffix(r.Issuer, "/")
	g := &gitHub{row: r, client: client, api: base + "/api/v3"} // of GitHub Enterprise
	if base == issuers[GitHub] {
		g.api = "https://api.github.com"
	}
	g.oauth = oauth2.Config{ClientID: r.ClientID, ClientSecret: r.Secret, Scopes: []string{"user:email"}, Endpoint: oauth2.Endpoint{
		AuthURL: base + "/login/oauth/authorize", TokenURL: base + "/login/oauth/access_token", AuthStyle: oauth2.AuthStyleInParams}}
	return g
}

func (g *gitHub) at(j journey) *oauth2.Config {
	c := g.oauth
	c.RedirectURL = j.redirect
	return &c
}

func (g *gitHub) address(j journey) string {
	return g.at(j).AuthCodeURL(j.state, oauth2.S256ChallengeOption(j.verifier))
}

// GitHub cannot be made to ask again.
func (g *gitHub) steps() bool { return false }

func (g *gitHub) names(iss string) bool {
	return iss == "" || iss == g.row.Issuer || iss == g.row.Issuer+"/login/oauth"
}

func (g *gitHub) redeem(ctx context.Context, j journey, code string) (claims, error) {
	token, err := g.trade(ctx, j, code)
	if err != nil {
		return claims{}, err
	}
	var user, emails json.RawMessage
	if err := getJSON(ctx, g.client, g.api+"/user", token.AccessToken, &user); err != nil {
		return claims{}, fmt.Errorf("ask who it is: %w", err)
	}
	if err := getJSON(ctx, g.client, g.api+"/user/emails?per_page=100", token.AccessToken, &emails); err != nil {
		return claims{}, fmt.Errorf("ask for the address: %w", err)
	}
	c, err := parseGitHub(user, emails)
	if err != nil {
		return claims{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return c, nil
}

func (g *gitHub) trade(ctx context.Context, j journey, code string) (*oauth2.Token, error) {
	token, err := g.at(j).Exchange(context.WithValue(ctx, oauth2.HTTPClient, g.client), code, oauth2.VerifierOption(j.verifier))
	if err != nil {
		return nil, exchangeError(err)
	}
	return token, nil
}

// alive is content with any answer that is not a failure: what the pages say is made
// for people.
func (g *gitHub) alive(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, g.oauth.Endpoint.AuthURL, nil)
	if err != nil {
		return err
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

func (g *gitHub) try(ctx context.Context) error {
	if _, err := g.trade(ctx, journey{redirect: "https://holdfast.invalid/"}, "test"); !errors.Is(err, ErrRefused) {
		return err
	}
	return nil
}

// parseGitHub reads who it is. The number of an account is never given to another, its
// name is; of the addresses only the primary one counts, and only when it is verified.
func parseGitHub(user, emails []byte) (claims, error) {
	var u struct {
		ID    int64  `json:"id"`
		Login string `json:"login"`
		Name  string `json:"name"`
	}
	var all []struct {
		Email    string `json:"email"`
		Primary  bool   `json:"primary"`
		Verified bool   `json:"verified"`
	}
	if err := errors.Join(json.Unmarshal(user, &u), json.Unmarshal(emails, &all)); err != nil {
		return claims{}, fmt.Errorf("read GitHub's answer: %w", err)
	}
	if u.ID <= 0 {
		return claims{}, errors.New("read GitHub's answer: it names no account")
	}
	c := claims{Subject: strconv.FormatInt(u.ID, 10), Name: u.Name}
	if c.Name == "" {
		c.Name = u.Login
	}
	for _, e := range all {
		if e.Primary && e.Verified {
			c.Email, c.EmailVerified = strings.ToLower(strings.TrimSpace(e.Email)), true
		}
	}
	return c, nil
}

// getJSON asks for one JSON value; the client bounds it in size and time.
func getJSON(ctx context.Context, client *http.Client, address, token string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
