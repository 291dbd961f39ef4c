package app

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

type accessRow struct {
	ID        string `json:"id"`
	Tenant    string `json:"tenant"`
	Requester struct {
		ID    string `json:"id"`
		Email string `json:"email"`
	} `json:"requester"`
	Role      string  `json:"role"`
	Glass     bool    `json:"glass"`
	Emergency bool    `json:"emergency"`
	Lasts     string  `json:"lasts"`
	Why       string  `json:"why"`
	Asked     string  `json:"asked"`
	Expires   string  `json:"expires"`
	State     string  `json:"state"`
	Until     *string `json:"until"`
	Note      string  `json:"note"`
	MayDecide string  `json:"mayDecide"`
}

func (r accessRow) who() string {
	if r.Requester.Email == "" {
		return r.Requester.ID
	}
	return r.Requester.Email
}

func (c *cli) access() *cobra.Command {
	return group("access", "Requests to be let into a tenant for a while, and what was read by them",
		c.accessRequest(), c.accessList(), c.accessReads(),
		c.accessDecide("approve", "Give what somebody else asked for, from now", "approve", "%s has %s on %s until %s"),
		c.accessDecide("refuse", "Answer no", "refuse", "the request of %s for %s on %s is refused"),
		c.accessEnd(), c.accessWithdraw())
}

func (c *cli) accessRequest() *cobra.Command {
	var body struct {
		Role      string `json:"role,omitempty"`
		Export    bool   `json:"export,omitempty"`
		Lasts     string `json:"lasts,omitempty"`
		Why       string `json:"why"`
		Emergency bool   `json:"emergency,omitempty"`
	}
	cmd := c.inTenant("request TENANT --why TEXT", "Ask a tenant's owners for access: to read records, or for a role", 1, func(ctx context.Context, cl *client, path string, args []string) error {
		var r accessRow
		if err := cl.call(ctx, "POST", path+"/access-requests", body, &r); err != nil {
			return err
		}
		return c.object(r, "request %s waits for an owner of %s until %s", r.ID, args[0], r.Expires)
	})
	cmd.Flags().StringVar(&body.Why, "why", "", "reason; the tenant reads it")
	cmd.Flags().StringVar(&body.Lasts, "for", "", "how long, as 30m, 2h (at most 8h to read), 7d (at most 90d with a role)")
	cmd.Flags().StringVar(&body.Role, "role", "", "a role of the tenant; left out: only to read records, each use recorded")
	cmd.Flags().BoolVar(&body.Export, "export", false, "without a role: to take whole collections out, too")
	cmd.Flags().BoolVar(&body.Emergency, "emergency", false, "two operators may approve it, if the tenant's policy allows that")
	return cmd
}

func (c *cli) accessList() *cobra.Command {
	var state string
	cmd := &cobra.Command{Use: "list [TENANT]", Short: "List requests: a tenant's, or those that concern you", Args: usage(cobra.MaximumNArgs(1))}
	cmd.Flags().StringVar(&state, "state", "", "open, approved or past")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := "/api/v1/access-requests"
		if len(args) == 1 {
			tenant, err := tenantPath(args[0])
			if err != nil {
				return err
			}
			path = tenant + "/access-requests"
		}
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[accessRow](cmd.Context(), cl, path+"?state="+url.QueryEscape(state))
			if err != nil {
				return err
			}
			return table(c, items, "ID TENANT WHO ROLE FOR STATE UNTIL WHY", func(r accessRow) []any {
				return []any{r.ID, r.Tenant, r.who(), r.Role, r.Lasts, r.State, orDash(r.Until), r.Why}
			})
		})
	}
	return cmd
}

// accessDecide is a command with a note about one request.
func (c *cli) accessDecide(verb, short, tail, done string) *cobra.Command {
	var note string
	cmd := c.inTenant(verb+" TENANT ID", short, 2, func(ctx context.Context, cl *client, path string, args []string) error {
		var r accessRow
		if err := cl.call(ctx, "POST", path+"/access-requests/"+url.PathEscape(args[1])+"/"+tail, map[string]string{"note": note}, &r); err != nil {
			return err
		}
		said := []any{r.who(), r.Role, r.Tenant, orDash(r.Until)}
		return c.object(r, done, said[:strings.Count(done, "%s")]...)
	})
	cmd.Flags().StringVar(&note, "note", "", "for who asked, and for the log")
	return cmd
}

func (c *cli) accessEnd() *cobra.Command {
	return c.inTenant("end TENANT ID", "End at once what a request brought", 2, func(ctx context.Context, cl *client, path string, args []string) error {
		var r accessRow
		if err := cl.call(ctx, "POST", path+"/access-requests/"+url.PathEscape(args[1])+"/end", nil, &r); err != nil {
			return err
		}
		return c.object(r, "%s has no access to %s by this request any more", r.who(), args[0])
	})
}

func (c *cli) accessWithdraw() *cobra.Command {
	return &cobra.Command{Use: "withdraw ID", Short: "Withdraw your own request, or give back what it brought", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			var r accessRow
			if err := cl.call(cmd.Context(), "DELETE", "/api/v1/access-requests/"+url.PathEscape(args[0]), nil, &r); err != nil {
				return err
			}
			return c.object(r, "request %s is %s", r.ID, r.State)
		})
	}}
}

type accessReadRow struct {
	At     string `json:"at"`
	Store  string `json:"store"`
	Person struct {
		ID    string `json:"id"`
		Email string `json:"email"`
	} `json:"person"`
	Request string `json:"request"`
	What    string `json:"what"`
	Name    string `json:"name"`
	Query   string `json:"query"`
}

func (c *cli) accessReads() *cobra.Command {
	return c.inTenant("reads TENANT", "List each use of access that was given for reading", 1, func(ctx context.Context, cl *client, path string, _ []string) error {
		items, err := all[accessReadRow](ctx, cl, path+"/access-reads")
		if err != nil {
			return err
		}
		return table(c, items, "AT WHO ENV COLLECTION HOW REQUEST", func(r accessReadRow) []any {
			who := r.Person.Email
			if who == "" {
				who = r.Person.ID
			}
			return []any{r.At, who, r.Store, r.Name, r.What, r.Request}
		})
	})
}

// tenantPolicy shows or sets what a tenant allows without its owners.
func (c *cli) tenantPolicy() *cobra.Command {
	var emergency string
	cmd := c.inTenant("policy SLUG [--emergency yes|no]", "Whether two operators may approve an emergency without an owner of the tenant", 1, func(ctx context.Context, cl *client, path string, args []string) error {
		var p struct {
			Emergency bool `json:"emergency"`
		}
		method, body := "GET", any(nil)
		if emergency != "" {
			if emergency != "yes" && emergency != "no" {
				return fmt.Errorf("%w: --emergency is yes or no, not %q", errUsage, emergency)
			}
			method, body = "PUT", map[string]bool{"emergency": emergency == "yes"}
		}
		if err := cl.call(ctx, method, path+"/policies/access", body, &p); err != nil {
			return err
		}
		if p.Emergency {
			return c.object(p, "two operators may let a third read %s in an emergency", args[0])
		}
		return c.object(p, "only an owner of %s lets anybody read it", args[0])
	})
	cmd.Flags().StringVar(&emergency, "emergency", "", "yes or no")
	return cmd
}
