package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/app/api"
	"holdfast/app/identity"
	"holdfast/app/mail"
	"holdfast/app/review"
	"holdfast/app/tenant"
	"holdfast/data"
)

// openReviews joins access reviews with who may what, the tenants and the log.
func (h *house) openReviews(ctx context.Context, a *Appliance) (err error) {
	held := reviewed{h}
	h.reviews, err = review.New(ctx, review.Config{
		DB: h.system, Access: held, Accounts: held, Recorder: h.audit, Signer: h.audit, Tell: h.tellOfReview(a), Clock: a.now, Logger: a.logger,
	})
	return err
}

// tellOfReview sends notices by mail, where mail is set up: of a review to the owners
// of its scope, of an unused account to its person.
func (h *house) tellOfReview(a *Appliance) func(context.Context, review.Notice) error {
	return func(ctx context.Context, n review.Notice) error {
		ready, err := h.mail.Ready(ctx)
		if err != nil || !ready {
			return err
		}
		to, err := h.toldOf(ctx, n)
		for _, address := range to {
			subject, text := wordsOf(n, a.BaseURL())
			err = errors.Join(err, h.mail.Send(ctx, mail.Letter{To: address, Kind: n.Kind, Subject: subject, Text: text, Expires: n.Until}))
		}
		return err
	}
}

func (h *house) toldOf(ctx context.Context, n review.Notice) (to []string, err error) {
	if n.Address != "" {
		return []string{n.Address}, nil
	}
	grants, err := h.identity.LiveGrants(ctx, n.Scope)
	for _, g := range grants {
		if g.Role == identity.Owner && g.Email != "" {
			to = append(to, g.Email)
		}
	}
	return to, err
}

func wordsOf(n review.Notice, base string) (subject, text string) {
	until := n.Until.Format("2 January 2006")
	switch n.Kind {
	case review.NoticeIdle:
		return "Your account is not used", fmt.Sprintf("Your account has not been used for long. It is disabled on %s, unless you sign in before:\n\n%s\n", until, base)
	case review.NoticeIdleKeys:
		return "API keys are not used", fmt.Sprintf("%d API keys of %s have not been used for long. The first is disabled on %s, unless something uses it before:\n\n%s\n", n.Waiting, n.Name, until, base)
	case review.NoticeWaiting:
		return "Access is about to be revoked", fmt.Sprintf("The access review of %s is overdue. %d roles and keys are revoked on %s if nobody confirms them:\n\n%s/reviews/%s\n", n.Name, n.Waiting, until, base, n.Review)
	}
	return "An access review has begun", fmt.Sprintf("Please look at who and what may something in %s: %d roles and keys. What nobody confirms is revoked on %s:\n\n%s/reviews/%s\n", n.Name, n.Waiting, until, base, n.Review)
}

// reviewed is identity and the tenants as reviews ask for them.
type reviewed struct{ *house }

func (v reviewed) Reach(ctx context.Context, actor data.Actor, p api.Permission) (api.Reach, error) {
	return v.identity.Reach(ctx, actor, p)
}

// Scopes are the appliance, reviewed first a period after it was set up, and the
// live tenants.
func (v reviewed) Scopes(ctx context.Context) ([]review.Scope, error) {
	since, err := v.identity.Beginning(ctx)
	if err != nil {
		return nil, err
	}
	scopes := []review.Scope{{ID: review.Appliance, Name: review.ApplianceName, Since: since}}
	items, _, err := v.tenants.List(ctx, tenant.Listing{Paging: api.Paging{Page: 1, PerPage: 1 << 20}, State: tenant.Live, Reach: api.Reach{All: true}})
	for _, t := range items {
		scopes = append(scopes, review.Scope{ID: t.ID, Name: t.Slug, Since: t.Created})
	}
	return scopes, err
}

func (v reviewed) Tenant(ctx context.Context, slug string) (review.Scope, error) {
	id, err := v.tenants.Store(ctx, slug, data.Prod)
	return review.Scope{ID: id.Tenant, Name: slug}, err
}

// Held lists the grants of a scope and its API keys.
func (v reviewed) Held(ctx context.Context, scope string) (held []review.Held, err error) {
	grants, err := v.identity.LiveGrants(ctx, scope)
	for _, g := range grants {
		held = append(held, heldGrant(g))
	}
	keys, e := v.identity.LiveKeys(ctx, scope)
	return append(held, heldKeys(keys)...), errors.Join(err, e)
}

func heldGrant(g identity.LiveGrant) review.Held {
	h := review.Held{Kind: review.KindGrant, ID: g.ID, Holder: data.Actor{Kind: data.Person, ID: g.Person}, Name: g.Name, Detail: g.Email, Role: g.Role,
		Since: g.From, Until: g.Until, Used: g.LastSignIn}
	if g.Person == "host" {
		h.Holder, h.Name, h.Detail = data.Actor{Kind: data.Host}, "Command line of the host", "whoever runs holdfast there"
	}
	return h
}

func heldKeys(keys []identity.HeldKey) (held []review.Held) {
	for _, k := range keys {
		h := review.Held{Kind: review.KindKey, ID: k.ID, Store: k.Store, Name: k.Name, Role: string(k.Scope), Since: k.Created, Until: k.Expires}
		if k.LastUsed != nil {
			h.Used = *k.LastUsed
		}
		h.Detail = reachOfKey(k)
		if k.Store == "" {
			h.Holder = data.ParseActor(k.CreatedBy)
		}
		held = append(held, h)
	}
	return held
}

// reachOfKey words how far a key reaches.
func reachOfKey(k identity.HeldKey) string {
	if k.Store == "" {
		var names []string
		for _, p := range k.Permissions {
			names = append(names, string(p))
		}
		return strings.Join(names, ", ")
	}
	id, _ := data.ParseStoreID(k.Store)
	switch {
	case len(k.Collections) > 0:
		return id.Environment + ": " + strings.Join(k.Collections, ", ")
	case k.Scope == identity.ScopeSnapshot:
		return id.Environment + ": snapshots"
	}
	return id.Environment + ": all collections"
}

// End takes a grant or a key away.
func (v reviewed) End(ctx context.Context, h review.Held) error {
	if h.Kind == review.KindKey {
		return v.identity.RevokeHeldKey(ctx, h.Store, h.ID)
	}
	return lastOwner(v.identity.EndGrant(ctx, h.ID))
}

// lastOwner words identity's refusal for the reviews.
func lastOwner(err error) error {
	if identity.IsLastOwner(err) {
		return fmt.Errorf("%w: %w", review.ErrLastOwner, err)
	}
	return err
}

func (v reviewed) Idle(ctx context.Context, since time.Time) ([]review.Account, error) {
	idle, err := v.identity.IdleAccounts(ctx, since)
	out := make([]review.Account, len(idle))
	for i, a := range idle {
		out[i] = review.Account{ID: a.ID, Name: a.Name, Email: a.Email, Since: a.Since}
	}
	return out, err
}

func (v reviewed) Disable(ctx context.Context, id, why string) error {
	return lastOwner(v.identity.DisablePerson(ctx, id, why))
}

func (v reviewed) UnusedKeys(ctx context.Context, since time.Time) ([]review.Held, error) {
	keys, err := v.identity.UnusedKeys(ctx, since)
	return heldKeys(keys), err
}

func (v reviewed) DisableKey(ctx context.Context, h review.Held, why string) error {
	return v.identity.DisableKey(ctx, h.Store, h.ID, why)
}
