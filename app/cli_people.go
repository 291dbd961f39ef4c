package app

import (
	"fmt"
	"strings"

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

type keyRow struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Scope       string   `json:"scope"`
	Collections []string `json:"collections"`
	Addresses   []string `json:"addresses,omitempty"`
	Created     string   `json:"created,omitempty"`
	Expires     string   `json:"expires"`
	LastUsed    string   `json:"lastUsed,omitempty"`
	State       string   `json:"state,omitempty"`
	Key         string   `json:"key,omitempty"`
}

func (c *cli) key() *cobra.Command {
	return group("key", "API keys of a tenant", c.keyCreate(), c.keyList(), c.keyRevoke())
}

func (c *cli) keyCreate() *cobra.Command {
	var k struct {
		Name        string   `json:"name"`
		Scope       string   `json:"scope"`
		Collections []string `json:"collections,omitempty"`
		Addresses   []string `json:"addresses,omitempty"`
		Expires     string   `json:"expires,omitempty"`
	}
	cmd := &cobra.Command{Use: "create TENANT --name NAME --scope read|write|admin", Short: "Create an API key; it is shown once", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVar(&k.Name, "name", "", "what the key is for")
	cmd.Flags().StringVar(&k.Scope, "scope", "read", "read, write or admin")
	cmd.Flags().StringSliceVar(&k.Collections, "collections", nil, "only these collections, separated by commas")
	cmd.Flags().StringSliceVar(&k.Addresses, "from", nil, "only from these addresses or networks, separated by commas")
	cmd.Flags().StringVar(&k.Expires, "expires", "90d", "how long it lasts: 90d, 12h")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := storePath(args[0])
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var out keyRow
			if err := cl.call(cmd.Context(), "POST", path+"/keys", k, &out); err != nil {
				return err
			}
			return c.object(out, "%s\nkey %s (%s) expires %s; it is not shown again", out.Key, out.ID, out.Scope, out.Expires)
		})
	}
	return cmd
}

func (c *cli) keyList() *cobra.Command {
	return &cobra.Command{Use: "list TENANT", Short: "List API keys", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		path, err := storePath(args[0])
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[keyRow](cmd.Context(), cl, path+"/keys")
			if err != nil {
				return err
			}
			return table(c, items, "ID NAME SCOPE COLLECTIONS FROM STATE EXPIRES", func(k keyRow) []any {
				return []any{k.ID, k.Name, k.Scope, orAll(k.Collections), orAny(k.Addresses), k.State, k.Expires}
			})
		})
	}}
}

func orAny(addresses []string) string {
	if len(addresses) == 0 {
		return "any"
	}
	return strings.Join(addresses, ",")
}

func orAll(names []string) string {
	if len(names) == 0 {
		return "all"
	}
	return strings.Join(names, ",")
}

func (c *cli) keyRevoke() *cobra.Command {
	return &cobra.Command{Use: "revoke TENANT ID", Short: "Revoke an API key at once", Args: usage(cobra.ExactArgs(2)), RunE: func(cmd *cobra.Command, args []string) error {
		path, err := storePath(args[0])
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			if err := cl.call(cmd.Context(), "DELETE", path+"/keys/"+args[1], nil, nil); err != nil {
				return err
			}
			return c.object(map[string]any{"id": args[1], "revoked": true}, "key %s is revoked", args[1])
		})
	}}
}
