package app

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

type keyRow struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Scope       string   `json:"scope"`
	Permissions []string `json:"permissions,omitempty"`
	Collections []string `json:"collections"`
	Addresses   []string `json:"addresses,omitempty"`
	Created     string   `json:"created,omitempty"`
	CreatedBy   string   `json:"createdBy,omitempty"`
	Expires     string   `json:"expires"`
	Warning     int      `json:"warning,omitempty"`
	LastUsed    string   `json:"lastUsed,omitempty"`
	LastAddress string   `json:"lastAddress,omitempty"`
	State       string   `json:"state,omitempty"`
	Rate        int      `json:"rate,omitempty"`
	Predecessor string   `json:"predecessor,omitempty"`
	Successor   string   `json:"successor,omitempty"`
	Key         string   `json:"key,omitempty"`
}

func (c *cli) key() *cobra.Command {
	return group("key", "API keys of a tenant, or of the control plane (--appliance)", c.keyCreate(), c.keyList(), c.keyRotate(), c.keyEnable(), c.keyRevoke())
}

// keyPlace is whose keys a command is about: the first argument's store, or the
// control plane.
type keyPlace struct{ appliance bool }

func (p *keyPlace) flag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.appliance, "appliance", false, "a key of the control plane, in place of TENANT")
}

// path is where the keys are, and what is left of the arguments, of which there
// must be so many.
func (p keyPlace) path(args []string, rest int) (string, []string, error) {
	if p.appliance {
		if len(args) != rest {
			return "", nil, fmt.Errorf("%w: leave TENANT out with --appliance", errUsage)
		}
		return "/api/v1/api-keys", args, nil
	}
	if len(args) != rest+1 {
		return "", nil, fmt.Errorf("%w: name a TENANT, or say --appliance", errUsage)
	}
	path, err := storePath(args[0])
	return path + "/keys", args[1:], err
}

// newKey is what `key create` says of a key.
type newKey struct {
	Name        string   `json:"name"`
	Scope       string   `json:"scope,omitempty"`
	Permissions []string `json:"permissions,omitempty"`
	Collections []string `json:"collections,omitempty"`
	Addresses   []string `json:"addresses,omitempty"`
	Expires     string   `json:"expires,omitempty"`
	Rate        int      `json:"rate,omitempty"`
}

func (k *newKey) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&k.Name, "name", "", "what the key is for")
	f.StringVar(&k.Scope, "scope", "read", "read, write, admin or snapshot")
	f.StringSliceVar(&k.Permissions, "permissions", nil, "what a key of the control plane may, separated by commas")
	f.StringSliceVar(&k.Collections, "collections", nil, "only these collections, separated by commas")
	f.StringSliceVar(&k.Addresses, "from", nil, "only from these addresses or networks, separated by commas")
	f.StringVar(&k.Expires, "expires", "90d", "how long it lasts: 90d, 12h")
	f.IntVar(&k.Rate, "rate", 0, "requests a minute; 600000 where it is not given")
}

func (c *cli) keyCreate() *cobra.Command {
	var k newKey
	var place keyPlace
	cmd := &cobra.Command{Use: "create TENANT|--appliance --name NAME", Short: "Create an API key; it is shown once",
		Long: "Creates a key of a store, or with --appliance and --permissions one of the control plane, for automation.\n" +
			"The latter may no more than who made it, and nothing that reaches records.", Args: usage(cobra.MaximumNArgs(1))}
	place.flag(cmd)
	k.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, _, err := place.path(args, 0)
		if err == nil && place.appliance != (len(k.Permissions) > 0) {
			err = fmt.Errorf("%w: --appliance and --permissions go together", errUsage)
		}
		if err != nil {
			return err
		}
		if place.appliance {
			k.Scope = ""
		}
		return c.showNewKey(cmd.Context(), path, k)
	}
	return cmd
}

// showNewKey asks for a key and prints it, this once.
func (c *cli) showNewKey(ctx context.Context, path string, body any) error {
	return c.with(ctx, func(cl *client) error {
		var out keyRow
		if err := cl.call(ctx, "POST", path, body, &out); err != nil {
			return err
		}
		return c.object(out, "%s\nkey %s (%s) expires %s; it is not shown again", out.Key, out.ID, out.reach(), out.Expires)
	})
}

func (k keyRow) reach() string {
	if len(k.Permissions) > 0 && k.Scope == "control" {
		return strings.Join(k.Permissions, ",")
	}
	return k.Scope
}

func (c *cli) keyList() *cobra.Command {
	var place keyPlace
	cmd := &cobra.Command{Use: "list TENANT|--appliance", Short: "List API keys", Args: usage(cobra.MaximumNArgs(1))}
	place.flag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, _, err := place.path(args, 0)
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[keyRow](cmd.Context(), cl, path)
			if err != nil {
				return err
			}
			return table(c, items, "ID NAME SCOPE COLLECTIONS FROM STATE EXPIRES LAST-USED FOLLOWED-BY", func(k keyRow) []any {
				return []any{k.ID, k.Name, k.reach(), orAll(k.Collections), orAny(k.Addresses), k.State, k.Expires, k.lastUse(), orNone(k.Successor)}
			})
		})
	}
	return cmd
}

func (k keyRow) lastUse() string {
	switch {
	case k.LastUsed == "":
		return "never"
	case k.LastAddress == "":
		return k.LastUsed
	}
	return k.LastUsed + " from " + k.LastAddress
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
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

func (c *cli) keyRotate() *cobra.Command {
	var place keyPlace
	var r struct {
		Overlap string `json:"overlap,omitempty"`
		Expires string `json:"expires,omitempty"`
	}
	cmd := &cobra.Command{Use: "rotate TENANT|--appliance ID", Short: "Create a key that follows another, which goes on for the overlap", Args: usage(cobra.RangeArgs(1, 2))}
	place.flag(cmd)
	cmd.Flags().StringVar(&r.Overlap, "overlap", "24h", "how long the old key goes on: 24h, 7d")
	cmd.Flags().StringVar(&r.Expires, "expires", "", "how long the new key lasts; as long as the old one where it is not given")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, rest, err := place.path(args, 1)
		if err != nil {
			return err
		}
		return c.showNewKey(cmd.Context(), path+"/"+url.PathEscape(rest[0])+"/rotate", r)
	}
	return cmd
}

func (c *cli) keyEnable() *cobra.Command {
	return c.onKey("enable TENANT|--appliance ID", "Bring back a key that was disabled because nobody used it", "POST", "/enable", "enabled", "key %s is enabled")
}

func (c *cli) keyRevoke() *cobra.Command {
	return c.onKey("revoke TENANT|--appliance ID", "Revoke an API key at once", "DELETE", "", "revoked", "key %s is revoked")
}

// onKey is a command that does one thing to one key.
func (c *cli) onKey(use, short, method, suffix, done, sentence string) *cobra.Command {
	var place keyPlace
	cmd := &cobra.Command{Use: use, Short: short, Args: usage(cobra.RangeArgs(1, 2))}
	place.flag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, rest, err := place.path(args, 1)
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			if err := cl.call(cmd.Context(), method, path+"/"+url.PathEscape(rest[0])+suffix, nil, nil); err != nil {
				return err
			}
			return c.object(map[string]any{"id": rest[0], done: true}, sentence, rest[0])
		})
	}
	return cmd
}
