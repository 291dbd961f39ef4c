package sso

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Kinds of providers.
const (
	Google    = "google"
	GitHub    = "github"
	Microsoft = "microsoft"
	OIDC      = "oidc"
)

// issuers are those of the kinds that have one.
var issuers = map[string]string{Google: "https://accounts.google.com", GitHub: "https://github.com"}

// Provider is an identity provider as it is shown. Its secret is not.
type Provider struct {
	ID       string    `json:"id"`
	Scope    string    `json:"scope" doc:"appliance, or a tenant's slug"`
	Name     string    `json:"name" doc:"as the sign-in page says it"`
	Kind     string    `json:"kind" enum:"google,github,microsoft,oidc"`
	Issuer   string    `json:"issuer"`
	ClientID string    `json:"clientId"`
	Domains  []string  `json:"domains" doc:"of addresses that may come in; empty: any that has an account"`
	Role     string    `json:"role" doc:"of accounts made just in time; empty: none are made"`
	MFA      bool      `json:"mfa" doc:"its word on second factors counts"`
	MFAACR   string    `json:"mfaAcr" doc:"an acr that stands for a second factor"`
	Redirect string    `json:"redirect" doc:"the address to be registered there"`
	Enabled  bool      `json:"enabled" doc:"false: switched off; nobody signs in through it, and its links stay"`
	Links    int       `json:"links" doc:"accounts that use it"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`
}

// NewProvider is what a provider is made of.
type NewProvider struct {
	ID           string   `json:"id" doc:"a-z, 0-9 and -; part of the address to be registered there"`
	Name         string   `json:"name,omitempty" doc:"made of the kind when left out"`
	Kind         string   `json:"kind" enum:"google,github,microsoft,oidc"`
	Issuer       string   `json:"issuer,omitempty" doc:"left out for google and github.com"`
	ClientID     string   `json:"clientId"`
	ClientSecret string   `json:"clientSecret" secret:"true"`
	Domains      []string `json:"domains,omitempty"`
	Role         string   `json:"role,omitempty"`
	MFA          bool     `json:"mfa,omitempty"`
	MFAACR       string   `json:"mfaAcr,omitempty"`
}

// ProviderChange leaves alone what is left out. Kind and issuer stay: links are of the
// issuer that made them.
type ProviderChange struct {
	Name         *string   `json:"name,omitempty"`
	ClientID     *string   `json:"clientId,omitempty"`
	ClientSecret *string   `json:"clientSecret,omitempty" secret:"true"`
	Domains      *[]string `json:"domains,omitempty"`
	Role         *string   `json:"role,omitempty"`
	MFA          *bool     `json:"mfa,omitempty"`
	MFAACR       *string   `json:"mfaAcr,omitempty"`
	Enabled      *bool     `json:"enabled,omitempty"`
}

// row is a provider as the table holds it.
type row struct {
	ID        string `db:"id"`
	Scope     string `db:"scope"`
	Name      string `db:"name"`
	Kind      string `db:"kind"`
	Issuer    string `db:"issuer"`
	ClientID  string `db:"client_id"`
	Secret    string `db:"client_secret"`
	DomainsJS string `db:"domains"`
	Role      string `db:"role"`
	MFA       bool   `db:"mfa"`
	MFAACR    string `db:"mfa_acr"`
	Disabled  bool   `db:"disabled"`
	Created   int64  `db:"created"`
	Updated   int64  `db:"updated"`
	By        string `db:"updated_by"`
	Links     int    `db:"links"`

	copies []string // tenants that are copies of its scope
}

const (
	columns    = `id, scope, name, kind, issuer, client_id, client_secret, domains, role, mfa, mfa_acr, disabled, created, updated, updated_by`
	selectRows = `SELECT ` + columns + `, (SELECT count(*) FROM sso_links l WHERE l.provider = p.id) AS links FROM sso_providers p`
)

func (r row) domains() []string {
	all := []string{}
	_ = json.Unmarshal([]byte(r.DomainsJS), &all) // written by us; nothing is an empty list
	return all
}

func (r *row) setDomains(all []string) {
	clean := []string{}
	for _, d := range all {
		if d = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(d), "@")); d != "" && !slices.Contains(clean, d) {
			clean = append(clean, d)
		}
	}
	text, _ := json.Marshal(clean) // strings always can
	r.DomainsJS = string(text)
}

// generation tells one version of a provider's settings from the next.
func (r row) generation() string { return fmt.Sprintf("%s %d", r.ID, r.Updated) }

var (
	idShape     = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$`)
	domainShape = regexp.MustCompile(`^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$`)
	tenantID    = regexp.MustCompile(`^https://login\.microsoftonline\.com/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/v2\.0$`)
)

// check says what is wrong with a provider's settings.
func (r row) check(loopback bool) []api.FieldError {
	var wrong []api.FieldError
	say := func(bad bool, field, message string) {
		if bad {
			wrong = append(wrong, api.FieldError{Field: field, Message: message})
		}
	}
	say(!idShape.MatchString(r.ID), "id", "1 to 40 of a-z, 0-9 and -")
	say(r.Name == "" || utf8.RuneCountInString(r.Name) > 60 || strings.ContainsFunc(r.Name, func(c rune) bool { return c < ' ' }), "name", "1 to 60 characters on one line")
	say(!slices.Contains([]string{Google, GitHub, Microsoft, OIDC}, r.Kind), "kind", "is not google, github, microsoft or oidc")
	say(len(r.ClientID) == 0 || len(r.ClientID) > 300, "clientId", "is what the provider calls this application")
	say(len(r.Secret) == 0 || len(r.Secret) > 1000, "clientSecret", "is what the provider gave with the client id")
	say(len(r.MFAACR) > 200, "mfaAcr", "is too long")
	say(r.MFA && r.Kind == GitHub, "mfa", "GitHub does not say whether a second factor was shown")
	if problem := r.checkIssuer(loopback); problem != "" {
		say(true, "issuer", problem)
	}
	for _, d := range r.domains() {
		say(!domainShape.MatchString(d), "domains", d+" is not a domain")
	}
	say(r.Role == owner, "role", "nobody becomes an owner by signing in")
	say(r.Role != "" && len(r.domains()) == 0, "domains", "name the domains whose people get an account")
	say(r.Scope != Appliance && len(r.domains()) == 0, "domains", "name the domains of the tenant's people")
	return wrong
}

func (r row) checkIssuer(loopback bool) string {
	u, err := url.Parse(r.Issuer)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(r.Issuer) > 500:
		return "is an address such as https://login.example.org"
	case !secure(u.Scheme, u.Hostname(), loopback):
		return "must begin with https://"
	case r.Kind == Microsoft && !tenantID.MatchString(r.Issuer) && !isLoopback(u.Hostname()):
		return "is https://login.microsoftonline.com/DIRECTORY-ID/v2.0 with the id of one directory; common would let in the whole world"
	case r.Kind == Google && r.Issuer != issuers[Google] && !isLoopback(u.Hostname()):
		return "is " + issuers[Google]
	}
	return ""
}

// row makes the table's form of new settings.
func (n NewProvider) row(scope string) row {
	r := row{ID: n.ID, Scope: scope, Name: strings.TrimSpace(n.Name), Kind: n.Kind, Issuer: strings.TrimSpace(n.Issuer), ClientID: strings.TrimSpace(n.ClientID),
		Secret: strings.TrimSpace(n.ClientSecret), Role: n.Role, MFA: n.MFA, MFAACR: strings.TrimSpace(n.MFAACR)}
	if r.Issuer == "" {
		r.Issuer = issuers[r.Kind]
	}
	if r.Name == "" {
		r.Name = map[string]string{Google: "Google", GitHub: "GitHub", Microsoft: "Microsoft", OIDC: "Single sign-on"}[r.Kind]
	}
	r.setDomains(n.Domains)
	return r
}

// apply changes what the change names.
func (c ProviderChange) apply(r *row) {
	set(&r.Name, c.Name)
	set(&r.ClientID, c.ClientID)
	set(&r.Secret, c.ClientSecret)
	set(&r.Role, c.Role)
	set(&r.MFA, c.MFA)
	set(&r.MFAACR, c.MFAACR)
	if c.Enabled != nil {
		r.Disabled = !*c.Enabled
	}
	if c.Domains != nil {
		r.setDomains(*c.Domains)
	}
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// provider finds one. data.ErrNotFound.
func (s *Service) provider(ctx context.Context, id string) (r row, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &r, selectRows+` WHERE id = ?`, id))
	})
	if err != nil {
		return r, fmt.Errorf("find provider: %w", err)
	}
	r.copies = s.lineage.Load().copies[r.Scope]
	return r, nil
}

// providers are those of the scopes, the appliance's first.
func (s *Service) providers(ctx context.Context, scopes ...string) (rows []row, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		q, args, err := sqlx.In(selectRows+` WHERE scope IN (?) ORDER BY scope != 'appliance', name, id`, scopes)
		if err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, q, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("list providers: %w", err)
	}
	for i := range rows {
		rows[i].copies = s.lineage.Load().copies[rows[i].Scope]
	}
	return rows, nil
}

// all are the providers of the appliance and of every tenant.
func (s *Service) all(ctx context.Context) (rows []row, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, selectRows+` ORDER BY id`)
	})
	return rows, err
}

// admissible checks settings before they are stored. Who says by whom people are
// vouched for could be any of them: it takes all that an owner may. before is what was
// stored, if anything.
func (s *Service) admissible(ctx context.Context, r, before row) error {
	if wrong := r.check(s.config.Loopback); len(wrong) > 0 {
		return api.Invalid(wrong...)
	}
	if err := s.config.People.MayGive(ctx, r.Scope, owner); err != nil || r.Role == "" {
		return err
	}
	if err := s.confirmed(ctx, r, before); err != nil {
		return err
	}
	return s.config.People.MayGive(ctx, r.Scope, r.Role)
}

// confirmed wants an operator where a tenant's provider is to make accounts: an address
// can have one account here, so whose addresses they are is not the tenant's to say.
func (s *Service) confirmed(ctx context.Context, r, before row) error {
	if r.Scope == Appliance || before.Role != "" && before.DomainsJS == r.DomainsJS {
		return nil
	}
	err := s.config.People.Runs(ctx)
	if errors.Is(err, api.ErrForbidden) {
		return api.Errorf(403, "operator-confirms", "Whose addresses get accounts by themselves is the operators' to say. Ask who runs this appliance to set the role, or invite people.").Because(err)
	}
	return err
}

const owner = "owner"

// add stores a provider. A 409 when its id is taken.
func (s *Service) add(ctx context.Context, r row) error {
	r.Created, r.Updated, r.By = s.now().UnixMilli(), s.now().UnixMilli(), data.ActorFrom(ctx).String()
	if err := s.admissible(ctx, r, row{}); err != nil {
		return err
	}
	if _, err := s.provider(ctx, r.ID); err == nil {
		return errTaken()
	}
	if err := s.record(ctx, "sso.provider.add", r.ID, api.OK, r.detail()); err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `INSERT INTO sso_providers (`+columns+`) VALUES
			(:id, :scope, :name, :kind, :issuer, :client_id, :client_secret, :domains, :role, :mfa, :mfa_acr, :disabled, :created, :updated, :updated_by)`, r)
		return err
	})
}

func errTaken() error {
	p := api.Errorf(409, "exists", "There is a provider with this id.").Because(data.ErrExists)
	p.Errors = []api.FieldError{{Field: "id", Message: "is taken"}}
	return p
}

// detail is what the log tells of a provider: never the secret.
func (r row) detail() map[string]string {
	d := map[string]string{"scope": r.Scope, "kind": r.Kind, "issuer": r.Issuer, "client": r.ClientID}
	for name, value := range map[string]string{"domains": strings.Join(r.domains(), " "), "role": r.Role} {
		if value != "" {
			d[name] = value
		}
	}
	if r.MFA {
		d["mfa"] = "trusted"
	}
	if r.Disabled {
		d["state"] = "off"
	}
	return d
}

// change stores changed settings.
func (s *Service) change(ctx context.Context, r row) error {
	r.Updated, r.By = max(s.now().UnixMilli(), r.Updated+1), data.ActorFrom(ctx).String()
	before, err := s.provider(ctx, r.ID)
	if err != nil {
		return err
	}
	if err := s.admissible(ctx, r, before); err != nil {
		return err
	}
	if err := s.mayDisable(ctx, r, before); err != nil {
		return err
	}
	if err := s.record(ctx, "sso.provider.change", r.ID, api.OK, r.detail()); err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.NamedExecContext(ctx, `UPDATE sso_providers SET name = :name, client_id = :client_id, client_secret = :client_secret,
			domains = :domains, role = :role, mfa = :mfa, mfa_acr = :mfa_acr, disabled = :disabled, updated = :updated, updated_by = :updated_by WHERE id = :id`, r)
		return changedOne(done, err)
	})
}

// drop forgets a provider and its links, but not the last one where nothing else is
// a way in, nor somebody's. It takes an owner, as all about providers does.
func (s *Service) drop(ctx context.Context, r row) error {
	if err := s.config.People.MayGive(ctx, r.Scope, owner); err != nil {
		return err
	}
	if err := s.notTheLast(ctx, r); err != nil {
		return err
	}
	if err := s.strandsNobody(ctx, r); err != nil {
		return err
	}
	if err := s.record(ctx, "sso.provider.remove", r.ID, api.OK, map[string]string{"scope": r.Scope}); err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM sso_links WHERE provider = ?`, r.ID); err != nil {
			return err
		}
		done, err := tx.ExecContext(ctx, `DELETE FROM sso_providers WHERE id = ?`, r.ID)
		return changedOne(done, err)
	})
}

func (s *Service) notTheLast(ctx context.Context, r row) error {
	for scope := range *s.only.Load() {
		left, err := s.providers(ctx, s.waysTo(scope)...)
		if err != nil {
			return err
		}
		left = slices.DeleteFunc(left, func(p row) bool { return p.ID == r.ID || p.Disabled })
		if len(left) > 0 || r.Scope != Appliance && !r.covers(scope) {
			continue
		}
		gone, err := s.gone(ctx, scope)
		if err != nil {
			return err
		}
		if !gone {
			return errLastProvider()
		}
	}
	return nil
}

func errLastProvider() error {
	return api.Errorf(409, "last-way-in", "Passwords are refused, and this is the last provider: nobody could sign in any more. Allow passwords again first.")
}

// EndTenant forgets the providers, links and policy of a tenant that is gone.
func (s *Service) EndTenant(ctx context.Context, tenant string) error {
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		for _, q := range []string{`DELETE FROM sso_links WHERE provider IN (SELECT id FROM sso_providers WHERE scope = ?)`,
			`DELETE FROM sso_providers WHERE scope = ?`, `DELETE FROM sso_only WHERE scope = ?`, `DELETE FROM sso_copies WHERE ? IN (copy, original)`} {
			if _, err := tx.ExecContext(ctx, q, tenant); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("end the single sign-on of %s: %w", tenant, err)
	}
	return errors.Join(s.loadLineage(ctx), s.loadPolicies(ctx))
}
