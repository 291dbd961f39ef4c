package app

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

type providerRow struct {
	ID       string   `json:"id"`
	Scope    string   `json:"scope"`
	Name     string   `json:"name"`
	Kind     string   `json:"kind"`
	Issuer   string   `json:"issuer"`
	ClientID string   `json:"clientId"`
	Domains  []string `json:"domains"`
	Role     string   `json:"role"`
	MFA      bool     `json:"mfa"`
	MFAACR   string   `json:"mfaAcr"`
	Redirect string   `json:"redirect"`
	Enabled  bool     `json:"enabled"`
	Links    int      `json:"links"`
}

func (p providerRow) state() string {
	if p.Enabled {
		return "on"
	}
	return "off"
}

// sso is single sign-on: providers, and who may come in through them only.
func (c *cli) sso() *cobra.Command {
	return group("sso", "Single sign-on: identity providers, and who signs in through them only",
		c.ssoAdd(), c.ssoList(), c.ssoShow(), c.ssoTest(), c.ssoSwitch("enable", true), c.ssoSwitch("disable", false), c.ssoRemove(), c.ssoPolicy(), c.ssoRequire(), c.ssoFree())
}

// ssoPath is the address of the appliance's, or of a tenant's.
func ssoPath(tenant string, rest ...string) string {
	path := "/api/v1"
	if tenant != "" {
		path += "/tenants/" + url.PathEscape(tenant)
	}
	for _, part := range rest {
		path += "/" + url.PathEscape(part)
	}
	return path
}

func ofTenant(cmd *cobra.Command, tenant *string) *cobra.Command {
	cmd.Flags().StringVar(tenant, "tenant", "", "of this tenant; of the appliance where it is not given")
	return cmd
}

// newProvider is what `sso add` says of a provider.
type newProvider struct {
	ID       string   `json:"id"`
	Name     string   `json:"name,omitempty"`
	Kind     string   `json:"kind"`
	Issuer   string   `json:"issuer,omitempty"`
	ClientID string   `json:"clientId"`
	Secret   string   `json:"clientSecret"`
	Domains  []string `json:"domains,omitempty"`
	Role     string   `json:"role,omitempty"`
	MFA      bool     `json:"mfa,omitempty"`
	MFAACR   string   `json:"mfaAcr,omitempty"`
}

func (p *newProvider) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.Kind, "kind", "oidc", "google, github, microsoft or oidc")
	f.StringVar(&p.Name, "name", "", "as the sign-in page says it")
	f.StringVar(&p.Issuer, "issuer", "", "https://... of the issuer; known for google and github")
	f.StringVar(&p.ClientID, "client-id", "", "what the provider calls this appliance")
	f.StringSliceVar(&p.Domains, "domain", nil, "only addresses of these domains")
	f.StringVar(&p.Role, "role", "", "make accounts at the first sign-in, with this role")
	f.BoolVar(&p.MFA, "trust-mfa", false, "its word on second factors counts")
	f.StringVar(&p.MFAACR, "mfa-acr", "", "an acr that stands for a second factor")
}

func (c *cli) ssoAdd() *cobra.Command {
	var tenant string
	var stdin bool
	var body newProvider
	cmd := &cobra.Command{Use: "add ID --kind google|github|microsoft|oidc --client-id ID --client-secret-stdin", Short: "Add an identity provider",
		Long: "Adds an identity provider. The client's secret comes from standard input, or from HOLDFAST_CLIENT_SECRET.", Args: usage(cobra.ExactArgs(1))}
	body.flags(cmd)
	cmd.Flags().BoolVar(&stdin, "client-secret-stdin", false, "read the client's secret from standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		body.ID = args[0]
		if body.Secret, err = c.clientSecret(stdin); err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var p providerRow
			if err := cl.call(cmd.Context(), "POST", ssoPath(tenant, "identity-providers"), body, &p); err != nil {
				return err
			}
			return c.object(p, "%s is added as %s\nregister this address there: %s", p.Name, p.ID, p.Redirect)
		})
	}
	return ofTenant(cmd, &tenant)
}

// clientSecret never comes from an argument, where other users of the host see it.
func (c *cli) clientSecret(stdin bool) (string, error) {
	if stdin {
		return c.secret()
	}
	if s := os.Getenv("HOLDFAST_CLIENT_SECRET"); s != "" {
		return s, nil
	}
	return "", fmt.Errorf("%w: pipe the client's secret in and say --client-secret-stdin, or set HOLDFAST_CLIENT_SECRET", errUsage)
}

func (c *cli) ssoList() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{Use: "list", Short: "List identity providers", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[providerRow](cmd.Context(), cl, ssoPath(tenant, "identity-providers"))
			if err != nil {
				return err
			}
			return table(c, items, "ID NAME KIND ISSUER DOMAINS ROLE STATE ACCOUNTS", func(p providerRow) []any {
				return []any{p.ID, p.Name, p.Kind, p.Issuer, orAny(p.Domains), orNobody(p.Role), p.state(), p.Links}
			})
		})
	}}
	return ofTenant(cmd, &tenant)
}

func orNobody(role string) string {
	if role == "" {
		return "-"
	}
	return role
}

func (c *cli) ssoShow() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{Use: "show ID", Short: "Show an identity provider and the address to register there", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			var p providerRow
			if err := cl.call(cmd.Context(), "GET", ssoPath(tenant, "identity-providers", args[0]), nil, &p); err != nil {
				return err
			}
			return c.object(p, "%s (%s), %s\nstate    %s\nclient   %s\ndomains  %s\nrole     %s\naccounts %d\nredirect %s",
				p.Name, p.Kind, p.Issuer, p.state(), p.ClientID, orAny(p.Domains), orNobody(p.Role), p.Links, p.Redirect)
		})
	}}
	return ofTenant(cmd, &tenant)
}

func (c *cli) ssoTest() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{Use: "test ID", Short: "Ask an identity provider whether it answers and knows this appliance", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			var t struct {
				OK   bool   `json:"ok"`
				Text string `json:"text"`
			}
			if err := cl.call(cmd.Context(), "POST", ssoPath(tenant, "identity-providers", args[0], "test"), nil, &t); err != nil {
				return err
			}
			if err := c.object(t, "%s", t.Text); err != nil || t.OK {
				return err
			}
			return fmt.Errorf("%s failed its test", args[0])
		})
	}}
	return ofTenant(cmd, &tenant)
}

// ssoSwitch switches a provider on or off; its links stay either way.
func (c *cli) ssoSwitch(name string, on bool) *cobra.Command {
	var tenant string
	short := "Let people sign in through an identity provider again"
	if !on {
		short = "Let nobody sign in through an identity provider until it is enabled; its links stay"
	}
	cmd := &cobra.Command{Use: name + " ID", Short: short, Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			var p providerRow
			if err := cl.call(cmd.Context(), "PATCH", ssoPath(tenant, "identity-providers", args[0]), map[string]bool{"enabled": on}, &p); err != nil {
				return err
			}
			return c.object(p, "%s is %s", p.Name, p.state())
		})
	}}
	return ofTenant(cmd, &tenant)
}

func (c *cli) ssoRemove() *cobra.Command {
	var tenant string
	var yes bool
	cmd := &cobra.Command{Use: "remove ID --yes", Short: "Remove an identity provider and its links", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		if !yes {
			return fmt.Errorf("%w: nobody can sign in through %s any more, and its links are forgotten; say --yes", errUsage, args[0])
		}
		return c.with(cmd.Context(), func(cl *client) error {
			if err := cl.call(cmd.Context(), "DELETE", ssoPath(tenant, "identity-providers", args[0]), nil, nil); err != nil {
				return err
			}
			return c.object(map[string]any{"id": args[0], "removed": true}, "%s is removed", args[0])
		})
	}}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return ofTenant(cmd, &tenant)
}

type ssoPolicy struct {
	Only bool `json:"only"`
}

func (p ssoPolicy) words() string {
	if p.Only {
		return "people sign in through an identity provider only; no password is kept"
	}
	return "people may sign in with a password or passkey, too"
}

func (c *cli) ssoPolicy() *cobra.Command {
	return &cobra.Command{Use: "policy [TENANT]", Short: "Show whether people sign in through an identity provider only", Args: usage(cobra.MaximumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.onPolicy(cmd.Context(), "GET", args, nil)
	}}
}

func (c *cli) ssoRequire() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{Use: "require [TENANT] --yes", Short: "Let people in through an identity provider only; their passwords are deleted", Args: usage(cobra.MaximumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		if !yes {
			return fmt.Errorf("%w: passwords are deleted, and sessions that began with one end; say --yes", errUsage)
		}
		return c.onPolicy(cmd.Context(), "PUT", args, ssoPolicy{true})
	}}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func (c *cli) ssoFree() *cobra.Command {
	return &cobra.Command{Use: "free [TENANT]", Short: "Allow other ways to sign in again", Args: usage(cobra.MaximumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.onPolicy(cmd.Context(), "PUT", args, ssoPolicy{})
	}}
}

func (c *cli) onPolicy(ctx context.Context, method string, args []string, in any) error {
	return c.with(ctx, func(cl *client) error {
		var p ssoPolicy
		if err := cl.call(ctx, method, ssoPath(strings.Join(args, ""), "policies", "single-sign-on"), in, &p); err != nil {
			return err
		}
		return c.object(p, "%s", p.words())
	})
}
