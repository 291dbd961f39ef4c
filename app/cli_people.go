package app

import (
	"fmt"

	"github.com/spf13/cobra"
)

type operatorRow struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Name  string `json:"name"`
	Role  string `json:"role"`
}

func (c *cli) operator() *cobra.Command {
	return group("operator", "Operators: the people who run this appliance", c.operatorCreate(), c.operatorList(), c.operatorRole(), c.operatorEnd())
}

func (c *cli) operatorCreate() *cobra.Command {
	var name, role string
	var stdin, keep bool
	cmd := &cobra.Command{Use: "create EMAIL", Short: "Invite an operator, or make the account with a first password", Args: usage(cobra.ExactArgs(1)),
		Long: `Makes a link, good once, with which the person chooses a password or a passkey. It
goes out by mail, or is printed where no mail is set up. For automation
--password-stdin makes the account at once; its password is to be changed at the
first sign-in, unless --keep-password says that it is the person's own.`}
	cmd.Flags().StringVar(&name, "name", "", "name of the person, with a password")
	cmd.Flags().StringVar(&role, "role", "owner", "role")
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read a first password from standard input")
	cmd.Flags().BoolVar(&keep, "keep-password", false, "that password is the person's own, and need not be changed")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case keep && !stdin:
			return fmt.Errorf("%w: --keep-password goes with --password-stdin", errUsage)
		case !stdin:
			return c.with(cmd.Context(), func(cl *client) error {
				return c.makeInvite(cmd.Context(), cl, "/api/v1/invites", map[string]any{"email": args[0], "role": role})
			})
		}
		password, err := c.secret()
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var o operatorRow
			body := map[string]any{"email": args[0], "name": name, "role": role, "password": password, "changePassword": !keep}
			if err := cl.call(cmd.Context(), "POST", "/api/v1/operators", body, &o); err != nil {
				return err
			}
			return c.object(o, "operator %s (%s) may sign in", o.Email, o.Role)
		})
	}
	return cmd
}

func (c *cli) operatorList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List operators", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[operatorRow](cmd.Context(), cl, "/api/v1/operators")
			if err != nil {
				return err
			}
			return table(c, items, "EMAIL NAME ROLE", func(o operatorRow) []any { return []any{o.Email, o.Name, o.Role} })
		})
	}}
}
