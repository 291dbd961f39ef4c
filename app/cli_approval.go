package app

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app/identity"
)

// approval is what takes two persons: keys, and whole data, that leave the host.
func (c *cli) approval() *cobra.Command {
	return group("approval", "What takes two persons: requests that wait for a second one, and whether there are any",
		c.approvalList(), c.approvalShow(),
		c.approvalDecide("approve", "Let who asked carry it out, once; the other operators are told that the host approved it", "%s may do it once until %s: %s"),
		c.approvalDecide("refuse", "Answer no", "refused; %s asked until %s: %s"),
		c.approvalPolicy())
}

func (c *cli) approvalList() *cobra.Command {
	var state string
	cmd := &cobra.Command{Use: "list", Short: "List requests, and what the host did alone, newest first", Args: usage(cobra.NoArgs)}
	cmd.Flags().StringVar(&state, "state", "", "open, approved, alone or past")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[identity.Approval](cmd.Context(), cl, "/api/v1/approvals?state="+url.QueryEscape(state))
			if err != nil {
				return err
			}
			return table(c, items, "ID STATE WHO ASKED WHAT BY", func(a identity.Approval) []any {
				by := "-"
				if a.DecidedBy != nil {
					by = whoIs(*a.DecidedBy)
				}
				return []any{a.ID, a.State, whoIs(a.Requester), when(&a.Asked), a.Title + factsOf(a), by}
			})
		})
	}
	return cmd
}

func whoIs(p identity.Person) string { return nameOr(p.Email, p.ID) }

// factsOf words what was asked for.
func factsOf(a identity.Approval) string {
	var parts []string
	for _, f := range a.Facts {
		if f.Value != "" {
			parts = append(parts, f.Name+" "+f.Value)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func (c *cli) approvalShow() *cobra.Command {
	return &cobra.Command{Use: "show ID", Short: "Show one request: all that was asked for, but for secrets", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			var a identity.Approval
			if err := cl.call(cmd.Context(), "GET", "/api/v1/approvals/"+url.PathEscape(args[0]), nil, &a); err != nil {
				return err
			}
			return c.object(a, "%s asked at %s: %s%s\nstate %s, until %s, digest %s", whoIs(a.Requester), when(&a.Asked), a.Title, factsOf(a), a.State, when(&a.Expires), a.Digest)
		})
	}}
}

func (c *cli) approvalDecide(verb, short, done string) *cobra.Command {
	var note string
	cmd := &cobra.Command{Use: verb + " ID", Short: short, Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVar(&note, "note", "", "for who asked, and for the log")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			var a identity.Approval
			if err := cl.call(cmd.Context(), "POST", "/api/v1/approvals/"+url.PathEscape(args[0])+"/"+verb, identity.AccessNote{Note: note}, &a); err != nil {
				return err
			}
			return c.object(a, done, whoIs(a.Requester), when(&a.Expires), a.Title+factsOf(a))
		})
	}
	return cmd
}

func (c *cli) approvalPolicy() *cobra.Command {
	return &cobra.Command{Use: "policy [auto|on|off]", Short: "Show or say whether what takes keys or whole data out of the host takes two persons", Args: usage(cobra.MaximumNArgs(1)),
		Long: `auto  while at least two persons could approve, and seven days longer (as it is unless said otherwise)
on    always: who is alone needs this command line
off   one person is enough`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(cl *client) error { return c.pairPolicy(cmd.Context(), cl, args) })
		}}
}

func (c *cli) pairPolicy(ctx context.Context, cl *client, args []string) error {
	var p identity.PairPolicy
	method, body := "GET", any(nil)
	if len(args) == 1 {
		method, body = "PUT", identity.NewPairPolicy{Mode: args[0]}
	}
	if err := cl.call(ctx, method, "/api/v1/policies/two-persons", body, &p); err != nil {
		return err
	}
	if c.json {
		return c.object(p, "")
	}
	fmt.Fprintf(c.stdout, "two persons: %s\n\n", p.Mode)
	return table(c, p.Force, "PERMISSION PERSONS TWO-SINCE ONE-IS-ENOUGH-FROM", func(f identity.PairForce) []any {
		since, until := "one is enough", "-"
		if f.Since != nil {
			since = when(f.Since)
		}
		if f.Until != nil {
			until = when(f.Until)
		}
		return []any{f.Permission, f.Could, since, until}
	})
}
