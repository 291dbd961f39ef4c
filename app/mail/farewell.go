package mail

import (
	"context"
	"fmt"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// pair is what a route takes by which one person could read everybody's codes and links.
func pair(title string) *api.Pair { return &api.Pair{Action: "mail.set", Title: title} }

const farewellText = `Hello,

letters of this appliance do not go through %s any more, from %s on.
%s set %s.

Who has the mail server can read every code and every link for a new password. If
nobody of you knows why this was done, look at the audit log, and at who operates
the appliance. This letter is the last one that took the old way.
`

// farewell writes to those who run the appliance through the server that was: who has the
// new one need not hand over what says so. It is tried once, beside the request: a server
// that is replaced may be one that is gone.
func (s *Service) farewell(ctx context.Context, was, next *Settings) {
	if was == nil || s.config.Watchers == nil || next != nil && was.reader() == next.reader() {
		return
	}
	by, now := data.ActorFrom(ctx).String(), "no other one"
	if next != nil {
		now = fmt.Sprintf("%s:%d", next.Host, next.Port)
	}
	l := Letter{Kind: "alert", Subject: "This appliance's mail takes another way",
		Text: fmt.Sprintf(farewellText, was.Host, s.now().Format("2 January 2006, 15:04 UTC"), by, now)}
	to, err := s.config.Watchers(ctx)
	if err != nil {
		s.config.Logger.ErrorContext(ctx, "nobody was told of another mail server through the old one", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(to) > 0 && s.ctx.Err() == nil {
		s.work.Go(func() { s.lastLetters(*was, to, l) })
	}
}

func (s *Service) lastLetters(was Settings, to []string, l Letter) {
	for _, l.To = range to {
		ctx, end := context.WithTimeout(s.ctx, carryLimit)
		if err := s.config.Carrier.Carry(ctx, was, system.NewID(), l); err != nil {
			s.config.Logger.WarnContext(ctx, "a last letter was not taken by the old mail server", "error", err)
		}
		end()
	}
}

// reader is who gets to read the letters.
func (s Settings) reader() string { return fmt.Sprintf("%s:%d %s %s", s.Host, s.Port, s.TLS, s.Roots) }
