package app

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

type memberRow struct {
	ID    string  `json:"id"`
	Email string  `json:"email"`
	Name  string  `json:"name"`
	State string  `json:"state"`
	Grant string  `json:"grant"`
	Role  string  `json:"role"`
	Since string  `json:"since"`
	Until *string `json:"until"`
	Why   string  `json:"why"`
	Glass bool    `json:"glass"`
}

// account is how a member is named on the command line.
func (m memberRow) account() string {
	if m.Email == "" {
		return m.ID
	}
	return m.Email
}

func (c *cli) member() *cobra.Command {
	return group("member", "People of a tenant and their roles", c.memberAdd(), c.memberList(), c.memberRole(), c.memberConfirm(), c.memberRemove())
}

// tenantPath is the REST path of a tenant, of which no environment is meant.
func tenantPath(slug string) (string, error) {
	if slug == "" || strings.ContainsAny(slug, "/?#% ") {
		return "", fmt.Errorf("%w: TENANT is a slug here, not %q", errUsage, slug)
	}
	return "/api/v1/tenants/" + slug, nil
}

// inTenant is a command about a tenant, the first of its n arguments.
func (c *cli) inTenant(use, short string, n int, run func(context.Context, *client, string, []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: usage(cobra.ExactArgs(n)), RunE: func(cmd *cobra.Command, args []string) error {
		path, err := tenantPath(args[0])
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error { return run(cmd.Context(), cl, path, args) })
	}}
}

func (c *cli) memberAdd() *cobra.Command {
	var role, why, until string
	cmd := c.inTenant("add TENANT EMAIL --role ROLE", "Give somebody who has an account a role on a tenant", 2, func(ctx context.Context, cl *client, path string, args []string) error {
		body := map[string]any{"email": args[1], "role": role, "why": why}
		if until != "" {
			end, err := parseMoment(until)
			if err != nil {
				return err
			}
			body["until"] = end
		}
		var m memberRow
		if err := cl.call(ctx, "POST", path+"/members", body, &m); err != nil {
			return noAccount(err, args[0], args[1])
		}
		return c.object(m, "%s is %s of %s", m.account(), m.Role, args[0])
	})
	cmd.Flags().StringVar(&role, "role", "viewer", "owner, admin, developer, analyst, viewer, auditor, or one of the tenant's own")
	cmd.Flags().StringVar(&why, "why", "", "reason, for the log")
	cmd.Flags().StringVar(&until, "until", "", "when it ends: 2026-12-31, or a moment as RFC 3339")
	return cmd
}

// noAccount says what to do where the server asked for the password of a new account.
func noAccount(err error, tenant, email string) error {
	var p *problem
	if errors.As(err, &p) && len(p.Errors) == 1 && p.Errors[0].Field == "password" {
		return fmt.Errorf("%s has no account (not found); invite them: holdfast invite create %s --tenant %s", email, email, tenant)
	}
	return err
}

// parseMoment reads a day (its end, UTC) or a moment.
func parseMoment(s string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%w: %q is neither a day (2026-12-31) nor a moment (2026-12-31T12:00:00Z)", errUsage, s)
	}
	return t, nil
}

func (c *cli) memberList() *cobra.Command {
	return c.inTenant("list TENANT", "List the people of a tenant", 1, func(ctx context.Context, cl *client, path string, _ []string) error {
		items, err := all[memberRow](ctx, cl, path+"/members")
		if err != nil {
			return err
		}
		return table(c, items, "ACCOUNT NAME ROLE STATE UNTIL WHY", func(m memberRow) []any {
			return []any{m.account(), m.Name, m.Role, m.State, orDash(m.Until), m.Why}
		})
	})
}

func orDash(s *string) string {
	if s == nil || *s == "" {
		return "-"
	}
	return *s
}

// findMember gives the id of a member by address ("host" for the local socket's).
func findMember(ctx context.Context, cl *client, path, account string) (string, error) {
	items, err := all[memberRow](ctx, cl, path+"/members?filter="+url.QueryEscape(account))
	for _, m := range items {
		if strings.EqualFold(m.account(), account) || m.ID == account {
			return m.ID, err
		}
	}
	if err == nil {
		err = &problem{Status: 404, Detail: fmt.Sprintf("%s has no role there (not found)", account)}
	}
	return "", err
}

func (c *cli) memberRole() *cobra.Command {
	return c.inTenant("role TENANT EMAIL ROLE", "Give a person of a tenant one role in place of all others", 3, func(ctx context.Context, cl *client, path string, args []string) error {
		id, err := findMember(ctx, cl, path, args[1])
		if err != nil {
			return err
		}
		var m memberRow
		if err := cl.call(ctx, "PATCH", path+"/members/"+id, map[string]string{"role": args[2]}, &m); err != nil {
			return err
		}
		return c.object(m, "%s is %s of %s", m.account(), m.Role, args[0])
	})
}

func (c *cli) memberRemove() *cobra.Command {
	return c.inTenant("remove TENANT EMAIL", "Take all roles on a tenant from a person, at once", 2, func(ctx context.Context, cl *client, path string, args []string) error {
		id, err := findMember(ctx, cl, path, args[1])
		if err != nil {
			return err
		}
		if err := cl.call(ctx, "DELETE", path+"/members/"+id, nil, nil); err != nil {
			return err
		}
		return c.object(map[string]any{"id": id, "removed": true}, "%s has no role on %s any more", args[1], args[0])
	})
}

func (c *cli) memberConfirm() *cobra.Command {
	return c.inTenant("confirm TENANT EMAIL", "Confirm that somebody is who they were after an operator opened their account anew", 2, func(ctx context.Context, cl *client, path string, args []string) error {
		id, err := findMember(ctx, cl, path, args[1])
		if err != nil {
			return err
		}
		if err := cl.call(ctx, "POST", path+"/members/"+id+"/confirm", nil, nil); err != nil {
			return err
		}
		return c.object(map[string]any{"id": id, "confirmed": true}, "%s may see and change the records of %s again", args[1], args[0])
	})
}
