package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

type tenantRow struct {
	ID           string `json:"id"`
	Slug         string `json:"slug"`
	Name         string `json:"name"`
	State        string `json:"state"`
	URL          string `json:"url"`
	Created      string `json:"created"`
	ParkedUntil  string `json:"parkedUntil,omitempty"`
	Environments []struct {
		Name  string `json:"name"`
		State string `json:"state"`
		URL   string `json:"url"`
	} `json:"environments"`
}

func (c *cli) tenant() *cobra.Command {
	return group("tenant", "Tenants: customers or teams whose data stands apart",
		c.tenantCreate(), c.tenantList(), c.tenantShow(), c.tenantSet(), c.tenantPolicy(), c.tenantDelete(), c.tenantUndelete())
}

func (c *cli) tenantCreate() *cobra.Command {
	var name, owner string
	cmd := &cobra.Command{Use: "create SLUG[/ENV]", Short: "Create a tenant, or an environment (test, dev) of one", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVar(&name, "name", "", "name for people; the slug where it is not given")
	cmd.Flags().StringVar(&owner, "owner", "", "e-mail address of its owner, who has an account; this host's command line where it is not given")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			var t tenantRow
			path, body := "/api/v1/tenants", map[string]string{"slug": args[0], "name": name, "owner": owner}
			if slug, env, ok := strings.Cut(args[0], "/"); ok {
				tenant, err := tenantPath(slug)
				if err != nil {
					return err
				}
				path, body = tenant+"/environments", map[string]string{"name": env}
			}
			if err := cl.call(cmd.Context(), "POST", path, body, &t); err != nil {
				return err
			}
			return c.object(t, "tenant %s is ready at %s", args[0], t.URL)
		})
	}
	return cmd
}

func (c *cli) tenantList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List tenants", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[tenantRow](cmd.Context(), cl, "/api/v1/tenants")
			if err != nil {
				return err
			}
			return table(c, items, "SLUG NAME STATE URL", func(t tenantRow) []any { return []any{t.Slug, t.Name, t.State, t.URL} })
		})
	}}
}

func (c *cli) tenantShow() *cobra.Command {
	return c.inTenant("show SLUG", "Show one tenant", 1, func(ctx context.Context, cl *client, path string, _ []string) error {
		var t tenantRow
		if err := cl.call(ctx, "GET", path, nil, &t); err != nil {
			return err
		}
		var lines strings.Builder
		for _, e := range t.Environments {
			fmt.Fprintf(&lines, "\n  %-5s %-8s %s", e.Name, e.State, e.URL)
		}
		return c.object(t, "%s (%s) %s, created %s%s", t.Slug, t.Name, t.State, t.Created, lines.String())
	})
}

func (c *cli) tenantSet() *cobra.Command {
	var durability string
	cmd := &cobra.Command{Use: "set SLUG[/ENV] --durability full|relaxed", Short: "Change a store's settings", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVar(&durability, "durability", "", "full: a write is on the disk when it is acknowledged; relaxed: a power cut may take the newest back")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if durability == "" {
			return fmt.Errorf("%w: nothing to set: give --durability", errUsage)
		}
		path, err := storePath(args[0])
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var info struct {
				Slug        string `json:"slug"`
				Environment string `json:"environment"`
				Durability  string `json:"durability"`
			}
			if err := cl.call(cmd.Context(), "PATCH", path, map[string]string{"durability": durability}, &info); err != nil {
				return err
			}
			return c.object(info, "%s/%s: durability is %s", info.Slug, info.Environment, info.Durability)
		})
	}
	return cmd
}

func (c *cli) tenantDelete() *cobra.Command {
	var yes, now bool
	cmd := &cobra.Command{Use: "delete SLUG --yes", Short: "Delete a tenant: its keys are parked for 7 days, or destroyed with --now", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, delete it")
	cmd.Flags().BoolVar(&now, "now", false, "destroy the keys at once: nothing can bring the data back")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := tenantPath(args[0])
		if err != nil {
			return err
		}
		if !yes {
			return fmt.Errorf("%w: this closes tenant %q for all who use it; say --yes", errUsage, args[0])
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var t tenantRow
			if err := cl.call(cmd.Context(), "DELETE", fmt.Sprintf("%s?now=%t", path, now), map[string]string{"confirm": args[0]}, &t); err != nil {
				return err
			}
			return c.deleted(t, args[0])
		})
	}
	return cmd
}

func (c *cli) deleted(t tenantRow, slug string) error {
	if t.State == "destroyed" {
		return c.object(t, "tenant %s is destroyed: its keys are gone and with them every copy of its data", slug)
	}
	return c.object(t, "tenant %s is deleted; until %s 'holdfast tenant undelete %s' brings it back", slug, t.ParkedUntil, slug)
}

func (c *cli) tenantUndelete() *cobra.Command {
	return c.inTenant("undelete SLUG", "Bring a deleted tenant back within its 7 days", 1, func(ctx context.Context, cl *client, path string, _ []string) error {
		var t tenantRow
		if err := cl.call(ctx, "POST", path+"/undelete", nil, &t); err != nil {
			return err
		}
		return c.object(t, "tenant %s is back at %s", t.Slug, t.URL)
	})
}
