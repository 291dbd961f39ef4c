package store

import (
	"errors"
	"fmt"
	"net"

	"code.dny.dev/ssrf"
	"github.com/pocketbase/pocketbase/core"
)

// errNoMail is what a tenant's client sees in the log of its request.
var errNoMail = errors.New("no mail can be sent: set up SMTP in the settings")

// guardMail lets mail go only through the tenant's own SMTP server, and that only
// where its name stands for public addresses: without SMTP PocketBase would call
// the host's sendmail. (The name is resolved again when PocketBase dials; a name
// that changes in between gets through. It can then reach an SMTP port at most.)
func (s *Store) guardMail(e *core.MailerEvent) error {
	smtp := e.App.Settings().SMTP
	if !smtp.Enabled {
		return errNoMail
	}
	if s.pool.config.PrivateMail {
		return e.Next()
	}
	addresses, err := net.DefaultResolver.LookupNetIP(s.closing, "ip", smtp.Host)
	if err != nil {
		return fmt.Errorf("mail server %s: %w", smtp.Host, err)
	}
	guard := ssrf.New()
	for _, a := range addresses {
		if err := guard.SafeAddr(a.Unmap()); err != nil {
			return fmt.Errorf("mail server %s: %w", smtp.Host, err)
		}
	}
	return e.Next()
}
