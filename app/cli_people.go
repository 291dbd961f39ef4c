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
	var stdin bool
	cmd := &cobra.Command{Use: "create EMAIL --password-stdin", Short: "Create an operator", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVar(&name, "name", "", "name of the person")
	cmd.Flags().StringVar(&role, "role", "owner", "role")
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !stdin {
			return fmt.Errorf("%w: pipe the password in and say --password-stdin", errUsage)
		}
		password, err := c.secret()
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var o operatorRow
			body := map[string]string{"email": args[0], "name": name, "role": role, "password": password}
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
