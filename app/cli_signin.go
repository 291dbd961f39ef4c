package app

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// person is what can be done to somebody's account from the host: the way back for
// who has locked themselves out.
func (c *cli) person() *cobra.Command {
	act := func(use, short, method, tail, done string) *cobra.Command {
		return &cobra.Command{Use: use + " EMAIL", Short: short, Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(cl *client) error {
				id, err := findOperator(cmd.Context(), cl, args[0])
				if err != nil {
					return err
				}
				if err := cl.call(cmd.Context(), method, "/api/v1/people/"+url.PathEscape(id)+"/"+tail, nil, nil); err != nil {
					return err
				}
				return c.object(map[string]string{"id": id, "email": args[0]}, done, args[0])
			})
		}}
	}
	return group("person", "Accounts of operators: lock, unlock, lost factors, sessions",
		act("lock", "Lock an account and end its sessions", "POST", "lock", "%s is locked; the sessions have ended"),
		act("unlock", "Unlock an account", "POST", "unlock", "%s may sign in again"),
		act("reset-factors", "Take lost second factors and recovery codes away; the password stays", "DELETE", "factors", "%s signs in with the password alone until there is a new factor"),
		c.personReset(),
		act("sign-out", "End all sessions of an account", "DELETE", "sessions", "%s is signed out everywhere"))
}

type signInPolicy struct {
	Required bool       `json:"required"`
	Roles    []string   `json:"roles"`
	Everyone bool       `json:"everyone"`
	From     *time.Time `json:"from"`
}

// secondFactor shows or sets who needs a second factor.
func (c *cli) secondFactor() *cobra.Command {
	return group("second-factor", "Who needs a second factor to be let in", c.secondFactorShow(), c.secondFactorRequire(), c.secondFactorFree())
}

// policyAddress is the appliance's, or a tenant's where one is named.
func policyAddress(args []string) string {
	if len(args) == 0 {
		return "/api/v1/policies/sign-in"
	}
	return "/api/v1/tenants/" + url.PathEscape(args[0]) + "/policies/sign-in"
}

func (c *cli) secondFactorShow() *cobra.Command {
	return &cobra.Command{Use: "show [TENANT]", Short: "Show the policy of the appliance or a tenant", Args: usage(cobra.MaximumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			var p signInPolicy
			if err := cl.call(cmd.Context(), "GET", policyAddress(args), nil, &p); err != nil {
				return err
			}
			return c.object(p, "%s", p.words())
		})
	}}
}

func (c *cli) secondFactorRequire() *cobra.Command {
	p := signInPolicy{Required: true}
	var from string
	cmd := &cobra.Command{Use: "require [TENANT]", Short: "Ask for one, of all roles or some, at once or from a date", Args: usage(cobra.MaximumNArgs(1))}
	cmd.Flags().StringSliceVar(&p.Roles, "role", nil, "only these roles")
	cmd.Flags().BoolVar(&p.Everyone, "everyone", false, "the people of every tenant, too")
	cmd.Flags().StringVar(&from, "from", "", "let people in without until this day, as 2026-12-31")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if from != "" {
			day, err := time.Parse(time.DateOnly, from)
			if err != nil {
				return fmt.Errorf("%w: --from %q: want a day as 2026-12-31", errUsage, from)
			}
			p.From = &day
		}
		return c.putPolicy(cmd.Context(), args, p)
	}
	return cmd
}

func (c *cli) secondFactorFree() *cobra.Command {
	return &cobra.Command{Use: "free [TENANT]", Short: "Leave it to each person", Args: usage(cobra.MaximumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.putPolicy(cmd.Context(), args, signInPolicy{})
	}}
}

func (c *cli) putPolicy(ctx context.Context, args []string, p signInPolicy) error {
	return c.with(ctx, func(cl *client) error {
		if err := cl.call(ctx, "PUT", policyAddress(args), p, &p); err != nil {
			return err
		}
		return c.object(p, "%s", p.words())
	})
}

func (p signInPolicy) words() string {
	if !p.Required {
		return "a second factor is everybody's own choice"
	}
	text := "a second factor is asked for"
	if len(p.Roles) > 0 {
		text += " of " + strings.Join(p.Roles, ", ")
	}
	if p.Everyone {
		text += ", in every tenant too"
	}
	if p.From != nil {
		text += ", from " + p.From.Format(time.DateOnly)
	}
	return text
}
