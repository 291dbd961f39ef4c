package app

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"holdfast/app/review"
)

func (c *cli) review() *cobra.Command {
	return group("review", "Access reviews: confirm or revoke what people and keys may", c.reviewStart(), c.reviewList(), c.reviewShow(), c.reviewDecide(), c.reviewPolicy(), c.reviewReport(), c.reviewVerify())
}

func (c *cli) reviewStart() *cobra.Command {
	return &cobra.Command{Use: "start [TENANT]", Short: "Begin a review of the appliance, or of a tenant", Args: usage(cobra.MaximumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		path := "/api/v1/reviews"
		if len(args) == 1 {
			tenant, err := tenantPath(args[0])
			if err != nil {
				return err
			}
			path = tenant + "/reviews"
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var r review.Review
			if err := cl.call(cmd.Context(), "POST", path, nil, &r); err != nil {
				return err
			}
			return c.object(r, "review %s of %s: %d roles and keys to decide until %s", r.ID, r.Name, r.Summary.Waiting, r.Due.Format("2006-01-02"))
		})
	}}
}

func (c *cli) reviewList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List reviews, those under way first", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[review.Review](cmd.Context(), cl, "/api/v1/reviews")
			if err != nil {
				return err
			}
			return table(c, items, "ID OF STATE WAITING CONFIRMED REVOKED LAPSED KEPT STARTED ENDS", func(r review.Review) []any {
				n := r.Summary
				return []any{r.ID, r.Name, r.State, n.Waiting, n.Confirmed, n.Revoked, n.Lapsed, n.Kept, r.Started.Format("2006-01-02"), r.Ends.Format("2006-01-02")}
			})
		})
	}}
}

// reviewPath is a review's address.
func reviewPath(id string) string { return "/api/v1/reviews/" + url.PathEscape(id) }

func (c *cli) reviewShow() *cobra.Command {
	return &cobra.Command{Use: "show ID", Short: "Show what a review asks about, and what was decided", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[review.Item](cmd.Context(), cl, reviewPath(args[0])+"/items")
			if err != nil {
				return err
			}
			return table(c, items, "ITEM KIND NAME MAY DETAIL LAST-USED DECISION", func(it review.Item) []any {
				used := "never"
				if it.Used != nil {
					used = it.Used.Format("2006-01-02")
				}
				return []any{it.ID, it.Kind, it.Name, it.Role, it.Detail, used, orNone(it.Decision)}
			})
		})
	}}
}

func (c *cli) reviewDecide() *cobra.Command {
	var confirm, revoke bool
	var d review.Decision
	cmd := &cobra.Command{Use: "decide ID ITEM --confirm|--revoke", Short: "Confirm a role or key, or revoke it at once", Args: usage(cobra.ExactArgs(2))}
	cmd.Flags().BoolVar(&confirm, "confirm", false, "it is needed, and goes on")
	cmd.Flags().BoolVar(&revoke, "revoke", false, "it is not needed, and ends at once")
	cmd.Flags().StringVar(&d.Note, "note", "", "why")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if confirm == revoke {
			return fmt.Errorf("%w: say --confirm or --revoke", errUsage)
		}
		d.Decision = review.Confirmed
		if revoke {
			d.Decision = review.Revoked
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var it review.Item
			if err := cl.call(cmd.Context(), "PATCH", reviewPath(args[0])+"/items/"+url.PathEscape(args[1]), d, &it); err != nil {
				return err
			}
			return c.object(it, "%s, %s: %s", it.Name, it.Role, it.Decision)
		})
	}
	return cmd
}

// reviewDays are the fields of the policy by their flags.
func reviewDays(p *review.Policy) map[string]*int {
	return map[string]*int{"every": &p.Every, "answer": &p.Answer, "notice": &p.Notice, "dormant": &p.Dormant, "warn": &p.Warn, "unused-keys": &p.UnusedKeys}
}

// reviewPolicy shows the policy, or changes what the flags name.
func (c *cli) reviewPolicy() *cobra.Command {
	var said review.Policy
	cmd := &cobra.Command{Use: "policy", Short: "Show or change when access is reviewed and unused accounts and keys are disabled", Args: usage(cobra.NoArgs)}
	for name, about := range map[string]string{
		"every": "days between campaigns of a scope; 0: only on demand", "answer": "days to answer, until notice is given", "notice": "days from the notice until what is unanswered is revoked",
		"dormant": "days without a sign-in until an account is disabled; 0: never", "warn": "days before that its person is warned", "unused-keys": "days without use until a key is disabled; 0: never",
	} {
		cmd.Flags().IntVar(reviewDays(&said)[name], name, 0, about)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			var p review.Policy
			if err := cl.call(cmd.Context(), "GET", "/api/v1/reviews/policy", nil, &p); err != nil {
				return err
			}
			if changeDays(cmd, reviewDays(&p), reviewDays(&said)) {
				if err := cl.call(cmd.Context(), "PUT", "/api/v1/reviews/policy", p, &p); err != nil {
					return err
				}
			}
			return c.object(p, "reviews every %d days, %d to answer and %d of notice; accounts are disabled after %d days (warned %d before), keys after %d",
				p.Every, p.Answer, p.Notice, p.Dormant, p.Warn, p.UnusedKeys)
		})
	}
	return cmd
}

// changeDays sets what the flags name, and says whether there was any.
func changeDays(cmd *cobra.Command, fields, said map[string]*int) (changed bool) {
	for name, field := range fields {
		if cmd.Flags().Changed(name) {
			*field, changed = *said[name], true
		}
	}
	return changed
}

func (c *cli) reviewReport() *cobra.Command {
	var file string
	cmd := &cobra.Command{Use: "report ID -o FILE", Short: "Write the signed report of a closed review",
		Long: "Writes the report as JSON and its signature beside it (FILE.sig); as a page for people when FILE ends in .html.", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVarP(&file, "output", "o", "", "file to write")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" {
			return fmt.Errorf("%w: name the file with -o", errUsage)
		}
		return c.with(cmd.Context(), func(cl *client) error { return c.saveReport(cmd.Context(), cl, reviewPath(args[0])+"/report", file) })
	}
	return cmd
}

func (c *cli) reviewVerify() *cobra.Command {
	return verifySigned("the report of a review", func(report, signature []byte, key string) error {
		r, appliance, err := review.CheckReport(report, signature, key)
		if err != nil {
			return err
		}
		return c.object(map[string]any{"ok": true, "id": r.ID, "appliance": appliance, "closed": r.Closed, "summary": r.Summary},
			"ok: %s reviewed %s until %s: %d confirmed, %d revoked, %d lapsed", appliance, r.Name, r.Closed.Format("2006-01-02 15:04:05 MST"), r.Summary.Confirmed, r.Summary.Revoked, r.Summary.Lapsed)
	})
}
