package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// smtpTimeout bounds connecting, and each answer of the server.
const smtpTimeout = 20 * time.Second

// smtpCarrier speaks SMTP to the server of the settings. It has no connection open
// between letters.
type smtpCarrier struct{}

var _ Carrier = smtpCarrier{}

// Carry sends one letter over a connection of its own.
func (smtpCarrier) Carry(ctx context.Context, s Settings, id string, l Letter) error {
	msg, err := message(s, id, l)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err) // it will never be a letter
	}
	line := &line{secure: secure(s), direct: s.TLS == TLS}
	defer line.close()
	client, err := client(s, line)
	if err != nil {
		return err
	}
	if err := client.DialAndSendWithContext(ctx, msg); err != nil {
		return verdict(err)
	}
	return nil
}

// message is the letter as plain text with the usual headers of a program's mail.
func message(s Settings, id string, l Letter) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := msg.From(s.From); err != nil {
		return nil, err
	}
	if err := msg.To(l.To); err != nil {
		return nil, err
	}
	msg.Subject(oneLine(l.Subject))
	msg.SetMessageIDWithValue(id + "@" + senderDomain(s.From))
	msg.SetDate()
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(gomail.TypeTextPlain, l.Text)
	return msg, nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func senderDomain(from string) string {
	_, domain, _ := strings.Cut(from, "@")
	return strings.TrimRight(domain, "> ")
}

// secure trusts the system's authorities, or the settings' own alone.
func secure(s Settings) *tls.Config {
	c := &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12}
	if s.Roots != "" {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AppendCertsFromPEM([]byte(s.Roots))
	}
	return c
}

// line is the one connection of a letter: the library leaves it open where a server
// does not offer what is asked for.
type line struct {
	secure *tls.Config
	direct bool // TLS from the first byte
	conn   net.Conn
}

// dial bounds all that happens on the line by the context's deadline.
func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: smtpTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if until, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(until)
	}
	l.conn = conn
	if l.direct {
		return tls.Client(conn, l.secure), err
	}
	return conn, err
}

func (l *line) close() {
	if l.conn != nil {
		_ = l.conn.Close() // what was to be said has been said
	}
}

func client(s Settings, l *line) (*gomail.Client, error) {
	options := []gomail.Option{gomail.WithPort(s.Port), gomail.WithTimeout(smtpTimeout), gomail.WithTLSConfig(l.secure), gomail.WithDialContextFunc(l.dial), gomail.WithoutNoop()}
	switch s.TLS {
	case TLS:
		options = append(options, gomail.WithSSL())
	case NoTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if s.User != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.User), gomail.WithPassword(s.Password))
	}
	return gomail.NewClient(s.Host, options...)
}

// verdict tells a refusal for good from what may work later. A password that is
// refused may be mended: the letter waits.
func verdict(err error) error {
	var refused *gomail.SendError
	if errors.As(err, &refused) && !refused.IsTemp() && refused.ErrorCode() >= 500 && refused.ErrorCode() < 600 {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func pemLike(s string) bool { return x509.NewCertPool().AppendCertsFromPEM([]byte(s)) }
