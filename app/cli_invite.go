package app

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"
)

type inviteRow struct {
	ID      string  `json:"id"`
	Email   string  `json:"email"`
	Role    string  `json:"role"`
	Until   *string `json:"until"`
	State   string  `json:"state"`
	Mailed  bool    `json:"mailed"`
	Expires string  `json:"expires"`
	Link    string  `json:"link,omitempty"`
}

func (c *cli) invite() *cobra.Command {
	return group("invite", "Invite people to a tenant, or as operators", c.inviteCreate(), c.inviteList(), c.inviteRevoke())
}

// atInvites is a command about the invites of a tenant, or of the appliance where none is
// named.
func (c *cli) atInvites(use, short string, n int, run func(context.Context, *client, string, []string) error) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{Use: use, Short: short, Args: usage(cobra.ExactArgs(n))}
	cmd.Flags().StringVar(&tenant, "tenant", "", "of this tenant; of the appliance where it is not given")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := "/api/v1"
		if tenant != "" {
			var err error
			if path, err = tenantPath(tenant); err != nil {
				return err
			}
		}
		return c.with(cmd.Context(), func(cl *client) error { return run(cmd.Context(), cl, path+"/invites", args) })
	}
	return cmd
}

func (c *cli) inviteCreate() *cobra.Command {
	var role, why, until string
	cmd := c.atInvites("create EMAIL [--tenant TENANT] --role ROLE", "Invite somebody; the link goes out by mail, or is printed where no mail is set up", 1, func(ctx context.Context, cl *client, path string, args []string) error {
		body := map[string]any{"email": args[0], "role": role, "why": why}
		if until != "" {
			end, err := parseMoment(until)
			if err != nil {
				return err
			}
			body["until"] = end
		}
		return c.makeInvite(ctx, cl, path, body)
	})
	cmd.Flags().StringVar(&role, "role", "", "role; viewer of a tenant, support of the appliance where it is not given")
	cmd.Flags().StringVar(&why, "why", "", "reason, for the log")
	cmd.Flags().StringVar(&until, "until", "", "when the role ends: 2026-12-31, or a moment as RFC 3339")
	return cmd
}

// makeInvite says where the link went, or prints it.
func (c *cli) makeInvite(ctx context.Context, cl *client, path string, body map[string]any) error {
	var out inviteRow
	if err := cl.call(ctx, "POST", path, body, &out); err != nil {
		return err
	}
	if out.Mailed {
		return c.object(out, "an invite is on its way to %s", out.Email)
	}
	return c.object(out, "No mail is set up. Hand this link to %s; it works once, until %s:\n\n    %s\n", out.Email, out.Expires, out.Link)
}

func (c *cli) inviteList() *cobra.Command {
	return c.atInvites("list [--tenant TENANT]", "List invites", 0, func(ctx context.Context, cl *client, path string, _ []string) error {
		items, err := all[inviteRow](ctx, cl, path)
		if err != nil {
			return err
		}
		return table(c, items, "ID EMAIL ROLE STATE MAILED EXPIRES", func(i inviteRow) []any {
			return []any{i.ID, i.Email, i.Role, i.State, i.Mailed, i.Expires}
		})
	})
}

func (c *cli) inviteRevoke() *cobra.Command {
	return c.atInvites("revoke ID [--tenant TENANT]", "Take an invite back that nobody has used", 1, func(ctx context.Context, cl *client, path string, args []string) error {
		if err := cl.call(ctx, "DELETE", path+"/"+url.PathEscape(args[0]), nil, nil); err != nil {
			return err
		}
		return c.object(map[string]any{"id": args[0], "revoked": true}, "the invite %s is taken back", args[0])
	})
}

// personReset makes a link for a new password.
func (c *cli) personReset() *cobra.Command {
	return &cobra.Command{Use: "reset-link EMAIL", Short: "Send a link for a new password, or print it where no mail is set up", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			id, err := findOperator(cmd.Context(), cl, args[0])
			if err != nil {
				return err
			}
			var out struct {
				Mailed  bool   `json:"mailed"`
				Link    string `json:"link,omitempty"`
				Expires string `json:"expires"`
			}
			if err := cl.call(cmd.Context(), "POST", "/api/v1/people/"+url.PathEscape(id)+"/reset", nil, &out); err != nil {
				return err
			}
			if out.Mailed {
				return c.object(out, "a link for a new password is on its way to %s", args[0])
			}
			return c.object(out, "No mail is set up. Hand this link to %s; it works once, for 30 minutes:\n\n    %s\n", args[0], out.Link)
		})
	}}
}
