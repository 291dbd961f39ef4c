package app

import (
	"context"

	"holdfast/app/identity"
	"holdfast/app/mail"
)

// post is mail as identity writes through it.
type post struct{ *mail.Service }

var _ identity.Post = post{}

func (p post) Send(ctx context.Context, l identity.Letter) error {
	return p.Service.Send(ctx, mail.Letter{To: l.To, Kind: l.Kind, Subject: l.Subject, Text: l.Text, Expires: l.Expires})
}

func (h *house) openMail(ctx context.Context, a *Appliance) (err error) {
	h.mail, err = mail.New(ctx, mail.Config{DB: h.system, Recorder: h.audit, Clock: a.now, Logger: a.logger})
	if err != nil {
		return err
	}
	h.opened(h.mail.Close)
	return nil
}
