package app

import (
	"context"
	"errors"

	"holdfast/app/api"
	"holdfast/app/identity"
	"holdfast/app/mail"
	"holdfast/app/tenant"
	"holdfast/data"
)

// post is mail as identity writes through it.
type post struct{ *mail.Service }

var _ identity.Post = post{}

func (p post) Send(ctx context.Context, l identity.Letter) error {
	return p.Service.Send(ctx, mail.Letter{To: l.To, Kind: l.Kind, Subject: l.Subject, Text: l.Text, Expires: l.Expires})
}

func (h *house) openMail(ctx context.Context, a *Appliance) (err error) {
	h.mail, err = mail.New(ctx, mail.Config{DB: h.system, Recorder: h.audit, Clock: a.now, Logger: a.logger, Changed: h.tellOfMail,
		Watchers: func(ctx context.Context) ([]string, error) { return h.identity.MailWatchers(ctx) }})
	if err != nil {
		return err
	}
	h.opened(h.mail.Close)
	return nil
}

// tellOfMail enters another mail server into each tenant's log: whoever has it can read
// the codes and links of the tenant's people.
func (h *house) tellOfMail(ctx context.Context, action string, detail map[string]string) error {
	items, _, err := h.tenants.List(ctx, tenant.Listing{Paging: api.Paging{Page: 1, PerPage: 1 << 20}, State: tenant.Live, Reach: api.Reach{All: true}})
	for _, t := range items {
		store := data.StoreID{Tenant: t.ID, Environment: data.Prod}.String()
		err = errors.Join(err, h.audit.Record(ctx, api.Event{Action: action, Store: store, Outcome: api.OK, Detail: detail}))
	}
	return err
}
