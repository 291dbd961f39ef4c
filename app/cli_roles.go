package app

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

type roleRow struct {
	Name   string   `json:"name"`
	Where  string   `json:"where"`
	About  string   `json:"about"`
	Allow  []string `json:"allow"`
	Deny   []string `json:"deny"`
	Custom bool     `json:"custom"`
}

func (c *cli) role() *cobra.Command {
	return group("role", "Roles: built-in ones and those of a tenant's own", c.roleList(), c.roleCreate(), c.roleDelete())
}

func (c *cli) roleList() *cobra.Command {
	return &cobra.Command{Use: "list [TENANT]", Short: "List the roles of a tenant, or the built-in ones", Args: usage(cobra.MaximumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		path := "/api/v1"
		if len(args) == 1 {
			var err error
			if path, err = tenantPath(args[0]); err != nil {
				return err
			}
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var out list[roleRow]
			if err := cl.call(cmd.Context(), "GET", path+"/roles", nil, &out); err != nil {
				return err
			}
			return table(c, out.Items, "ROLE OF ALLOWS DENIES ABOUT", func(r roleRow) []any {
				return []any{r.Name, r.Where, len(r.Allow), len(r.Deny), r.About}
			})
		})
	}}
}

func (c *cli) roleCreate() *cobra.Command {
	var about string
	var allow, deny []string
	cmd := c.inTenant("create TENANT NAME --allow P,P", "Make a role of a tenant's own", 2, func(ctx context.Context, cl *client, path string, args []string) error {
		var r roleRow
		body := map[string]any{"name": args[1], "about": about, "allow": allow, "deny": deny}
		if err := cl.call(ctx, "POST", path+"/roles", body, &r); err != nil {
			return err
		}
		return c.object(r, "%s has the role %s", args[0], r.Name)
	})
	cmd.Flags().StringVar(&about, "about", "", "what it is for, in one line")
	cmd.Flags().StringSliceVar(&allow, "allow", nil, "permissions, separated by commas")
	cmd.Flags().StringSliceVar(&deny, "deny", nil, "permissions that are refused whatever other roles allow")
	return cmd
}

func (c *cli) roleDelete() *cobra.Command {
	return c.inTenant("delete TENANT NAME", "Delete a role that nobody has", 2, func(ctx context.Context, cl *client, path string, args []string) error {
		if err := cl.call(ctx, "DELETE", path+"/roles/"+url.PathEscape(args[1]), nil, nil); err != nil {
			return err
		}
		return c.object(map[string]any{"name": args[1], "deleted": true}, "%s has no role %s any more", args[0], args[1])
	})
}

type permissionRow struct {
	Name  string `json:"name"`
	Where string `json:"where"`
	About string `json:"about"`
}

func (c *cli) permission() *cobra.Command {
	ls := &cobra.Command{Use: "list", Short: "List the permissions that roles are made of", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			var out list[permissionRow]
			if err := cl.call(cmd.Context(), "GET", "/api/v1/permissions", nil, &out); err != nil {
				return err
			}
			return table(c, out.Items, "PERMISSION OF ABOUT", func(p permissionRow) []any { return []any{p.Name, p.Where, p.About} })
		})
	}}
	return group("permission", "Permissions: what roles are made of", ls)
}

// findOperator gives an operator's id by address.
func findOperator(ctx context.Context, cl *client, email string) (string, error) {
	items, err := all[operatorRow](ctx, cl, "/api/v1/operators?filter="+url.QueryEscape(email))
	for _, o := range items {
		if strings.EqualFold(o.Email, email) {
			return o.ID, err
		}
	}
	if err == nil {
		err = &problem{Status: 404, Detail: fmt.Sprintf("%s is no operator (not found)", email)}
	}
	return "", err
}

func (c *cli) operatorRole() *cobra.Command {
	return &cobra.Command{Use: "role EMAIL ROLE", Short: "Give an operator another role", Args: usage(cobra.ExactArgs(2)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			id, err := findOperator(cmd.Context(), cl, args[0])
			if err != nil {
				return err
			}
			var o operatorRow
			if err := cl.call(cmd.Context(), "PATCH", "/api/v1/operators/"+id, map[string]string{"role": args[1]}, &o); err != nil {
				return err
			}
			return c.object(o, "%s is %s now", o.Email, o.Role)
		})
	}}
}

func (c *cli) operatorEnd() *cobra.Command {
	return &cobra.Command{Use: "end EMAIL", Short: "Take all roles on the appliance from a person, at once", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			id, err := findOperator(cmd.Context(), cl, args[0])
			if err != nil {
				return err
			}
			if err := cl.call(cmd.Context(), "DELETE", "/api/v1/operators/"+id, nil, nil); err != nil {
				return err
			}
			return c.object(map[string]any{"id": id, "ended": true}, "%s is no operator any more", args[0])
		})
	}}
}
