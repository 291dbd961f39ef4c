package app

import (
	"context"
	"net/http"
	"time"

	"holdfast/app/api"
	"holdfast/app/identity"
	"holdfast/app/sso"
	"holdfast/data"
)

// openSSO joins single sign-on with the people.
func (h *house) openSSO(ctx context.Context, a *Appliance) (err error) {
	h.sso, err = sso.New(ctx, sso.Config{
		DB: h.system, People: people{h.identity}, Tenants: h.tenants, Recorder: h.audit, URL: a.BaseURL,
		Clock: a.now, Logger: a.logger, Loopback: a.config.SSOLoopback, InsecureHTTP: a.config.InsecureHTTP,
	})
	if err != nil {
		return err
	}
	h.opened(h.sso.Close)
	return nil
}

// people is identity as single sign-on asks for it.
type people struct{ identity *identity.Service }

var _ sso.People = people{}

func personOf(a identity.Account, err error) (sso.Person, error) {
	return sso.Person{ID: a.ID, Email: a.Email, Name: a.Name, Active: a.Active, Scopes: a.Scopes}, err
}

func (p people) ByMail(ctx context.Context, email string) (sso.Person, error) {
	return personOf(p.identity.AccountByMail(ctx, email))
}

func (p people) ByID(ctx context.Context, id string) (sso.Person, error) {
	return personOf(p.identity.AccountByID(ctx, id))
}

func (p people) Make(ctx context.Context, email, name, role, scope string) (sso.Person, error) {
	return personOf(p.identity.MakeFederated(ctx, email, name, role, scope))
}

func (p people) MayGive(ctx context.Context, scope, role string) error {
	return p.identity.MayGive(ctx, scope, role)
}

func (p people) MaySet(ctx context.Context, scope string) error { return p.identity.MaySet(ctx, scope) }

func (p people) SignIn(w http.ResponseWriter, r *http.Request, v sso.Vouched) (any, error) {
	return p.identity.SignInFederated(w, r, identity.Federated(v))
}

func (p people) StepUp(w http.ResponseWriter, r *http.Request, v sso.Vouched) error {
	return p.identity.StepUpFederated(w, r, identity.Federated(v))
}

func (p people) Runs(ctx context.Context) error {
	return p.identity.Authorize(ctx, data.ActorFrom(ctx), api.OperatorManage, api.Scope{})
}

func (p people) Owners(ctx context.Context, scope string) ([]string, error) {
	return p.identity.OwnersOf(ctx, scope)
}

func (p people) Tenant(r *http.Request) (string, error) { return p.identity.TenantOfSession(r) }

func (p people) CameThrough(r *http.Request) (bool, error) { return p.identity.CameFederated(r) }

func (p people) HasOtherWay(ctx context.Context, person string) (bool, error) {
	return p.identity.HasWayIn(ctx, person)
}

func (p people) Alert(ctx context.Context, person, subject, what string) {
	p.identity.Alert(ctx, person, subject, what)
}

func (p people) Claimed(ctx context.Context, person, provider string) error {
	return p.identity.Claimed(ctx, person, provider)
}

func (p people) Writes(ctx context.Context) (bool, error) { return p.identity.Writes(ctx) }

func (p people) Write(ctx context.Context, to, subject, text string, expires time.Time) error {
	return p.identity.Write(ctx, identity.Letter{To: to, Kind: "confirm", Subject: subject, Text: text, Expires: expires})
}

func (p people) Enforce(ctx context.Context) error { return p.identity.EnforceFederation(ctx) }
func (p people) Address(r *http.Request) string    { return identity.AddressOf(r) }
func (p people) Ask(address string) error          { return p.identity.AskFrom(address) }
func (p people) Admit(address string) error        { return p.identity.AdmitFrom(address) }
func (p people) Forgive(address string)            { p.identity.ForgiveFrom(address) }

// federation is single sign-on as identity asks for it; identity is opened first.
type federation struct{ *house }

var _ identity.Federation = federation{}

func (f federation) Only(scope string) bool { return f.sso != nil && f.sso.Only(scope) }

func (f federation) Linked(ctx context.Context, person string) (bool, error) {
	return f.sso.Linked(ctx, person)
}

func (f federation) Admits(ctx context.Context, person, tenant string) (bool, error) {
	return f.sso.Admits(ctx, person, tenant)
}

func (f federation) Covers(tenant, scope string) bool {
	return tenant == scope || f.sso != nil && f.sso.Covers(tenant, scope)
}

func (f federation) NamesRole(ctx context.Context, tenant, role string) (bool, error) {
	return f.sso.NamesRole(ctx, tenant, role)
}

func (f federation) StepUps(ctx context.Context, person string) ([]identity.StepUpProvider, error) {
	ways, err := f.sso.StepUps(ctx, person)
	out := make([]identity.StepUpProvider, len(ways))
	for i, w := range ways {
		out[i] = identity.StepUpProvider{ID: w.ID, Name: w.Name}
	}
	return out, err
}

// providersAsked is how long the doctor waits for identity providers.
const providersAsked = 4 * time.Second

func (d doctor) ofSSO(ctx context.Context) (out []Ailment, err error) {
	ctx, cancel := context.WithTimeout(ctx, providersAsked)
	defer cancel()
	silent, err := d.sso.Silent(ctx)
	for _, p := range silent {
		out = append(out, Ailment{"identity-provider", warning, "The identity provider " + p.Name + " (" + p.ID + ") does not answer: nobody can sign in through it.",
			"holdfast sso test " + p.ID + " says what is wrong. Who has a password or a passkey can still use that, unless single sign-on only is set: holdfast sso free turns it off."})
	}
	return out, err
}
