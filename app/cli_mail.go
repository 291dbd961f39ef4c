package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

type mailRow struct {
	Set         bool   `json:"set"`
	Host        string `json:"host"`
	Port        int    `json:"port"`
	TLS         string `json:"tls"`
	User        string `json:"user"`
	HasPassword bool   `json:"hasPassword"`
	From        string `json:"from"`
	Waiting     int    `json:"waiting"`
	Failed      int    `json:"failed"`
}

func (c *cli) mail() *cobra.Command {
	return group("mail", "The mail server for invites, resets and alerts", c.mailShow(), c.mailSet(), c.mailTest(), c.mailList(), c.mailRemove())
}

const mailPath = "/api/v1/mail"

func (c *cli) withMail(use, short string, n int, run func(context.Context, *client, []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: usage(cobra.ExactArgs(n)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error { return run(cmd.Context(), cl, args) })
	}}
}

func (c *cli) mailShow() *cobra.Command {
	return c.withMail("show", "Show how mail is sent", 0, func(ctx context.Context, cl *client, _ []string) error {
		var m mailRow
		if err := cl.call(ctx, "GET", mailPath, nil, &m); err != nil {
			return err
		}
		return c.object(m, "%s", m.words())
	})
}

func (m mailRow) words() string {
	if !m.Set {
		return "no mail is set up; links are shown to who asks for them"
	}
	return fmt.Sprintf("mail goes out from %s through %s:%d (%s); %s wait, %d failed lately", m.From, m.Host, m.Port, m.TLS, counted(m.Waiting, "letter"), m.Failed)
}

// mailFlags are what `mail set` is told beside the host.
type mailFlags struct {
	from, user, tls, roots string
	stdin                  bool
}

func (m *mailFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&m.from, "mail-from", "", "sender, as holdfast@example.org")
	f.StringVar(&m.user, "mail-user", "", "name to sign in to the server with")
	f.StringVar(&m.tls, "mail-tls", "starttls", "starttls (port 587), tls (465), or none (25) for a server on this host")
	f.StringVar(&m.roots, "mail-roots", "", "PEM file of the server's own certificate authority")
	f.BoolVar(&m.stdin, "password-stdin", false, "read the password from standard input")
}

func (c *cli) mailSet() *cobra.Command {
	var m mailFlags
	cmd := &cobra.Command{Use: "set HOST[:PORT] --mail-from ADDRESS", Short: "Set the mail server", Args: usage(cobra.ExactArgs(1)),
		Long: "Sets the mail server. The password is read from standard input, or from HOLDFAST_MAIL_PASSWORD."}
	m.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := c.mailSettings(args[0], m)
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var m mailRow
			if err := cl.call(cmd.Context(), "PUT", mailPath, body, &m); err != nil {
				return err
			}
			return c.object(m, "%s\nTry it: holdfast mail test YOUR-ADDRESS", m.words())
		})
	}
	return cmd
}

// mailSettings is what the server is told; the password comes from where nobody else
// of this host sees it.
func (c *cli) mailSettings(host string, m mailFlags) (map[string]any, error) {
	body, err := mailServer(host)
	if err != nil {
		return nil, err
	}
	body["from"], body["user"], body["tls"] = m.from, m.user, m.tls
	if m.roots != "" {
		pem, err := os.ReadFile(m.roots)
		if err != nil {
			return nil, fmt.Errorf("%w: --mail-roots: %w", errUsage, err)
		}
		body["roots"] = string(pem)
	}
	if password, given := os.LookupEnv("HOLDFAST_MAIL_PASSWORD"); given {
		body["password"] = password
	}
	if m.stdin {
		body["password"], err = c.ask("Password of the mail server: ")
	}
	return body, err
}

// mailServer reads HOST[:PORT]; without a port the one that is usual is taken.
func mailServer(text string) (map[string]any, error) {
	if !strings.Contains(text, ":") || net.ParseIP(text) != nil {
		return map[string]any{"host": text}, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: want HOST or HOST:PORT", errUsage, text)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is no port", errUsage, port)
	}
	return map[string]any{"host": host, "port": n}, nil
}

func (c *cli) mailTest() *cobra.Command {
	return c.withMail("test ADDRESS", "Send a letter now, and say how it went", 1, func(ctx context.Context, cl *client, args []string) error {
		var out struct {
			OK    bool   `json:"ok"`
			Error string `json:"error,omitempty"`
		}
		if err := cl.call(ctx, "POST", mailPath+"/test", map[string]string{"to": args[0]}, &out); err != nil {
			return err
		}
		if !out.OK {
			return fmt.Errorf("the mail server did not take it: %s", out.Error)
		}
		return c.object(out, "the mail server took a letter to %s; look into the inbox", args[0])
	})
}

type letterRow struct {
	To      string `json:"to"`
	Kind    string `json:"kind"`
	State   string `json:"state"`
	Tries   int    `json:"tries"`
	Created string `json:"created"`
	Error   string `json:"error,omitempty"`
}

func (c *cli) mailList() *cobra.Command {
	return c.withMail("list", "List the letters of the last 30 days", 0, func(ctx context.Context, cl *client, _ []string) error {
		items, err := all[letterRow](ctx, cl, mailPath+"/outbox")
		if err != nil {
			return err
		}
		return table(c, items, "CREATED TO KIND STATE TRIES ERROR", func(l letterRow) []any {
			return []any{l.Created, l.To, l.Kind, l.State, l.Tries, l.Error}
		})
	})
}

func (c *cli) mailRemove() *cobra.Command {
	return c.withMail("remove", "Forget the mail server; links are shown to who asks from then on", 0, func(ctx context.Context, cl *client, _ []string) error {
		if err := cl.call(ctx, "DELETE", mailPath, nil, nil); err != nil {
			return err
		}
		return c.object(map[string]any{"removed": true}, "no mail is sent any more")
	})
}
