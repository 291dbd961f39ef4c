package app

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// userPolicy is how the users of an auth collection sign in.
type userPolicy struct {
	Collection   string   `json:"collection,omitempty"`
	TOTP         bool     `json:"totp"`
	Passkeys     bool     `json:"passkeys"`
	SecondFactor string   `json:"secondFactor"`
	Origins      []string `json:"origins"`
	KeepUnproven bool     `json:"keepUnproven"`
	Password     struct {
		MinLength    int  `json:"minLength"`
		RefuseCommon bool `json:"refuseCommon"`
		MinBits      int  `json:"minBits"`
		History      int  `json:"history"`
	} `json:"password"`
	Sessions struct {
		TokenSeconds  int64 `json:"tokenSeconds"`
		MaxAgeSeconds int64 `json:"maxAgeSeconds"`
		EndOnChange   bool  `json:"endOnChange"`
	} `json:"sessions"`
	Attempts struct {
		Account     int `json:"account"`
		Address     int `json:"address"`
		LongestWait int `json:"longestWait"`
	} `json:"attempts"`
}

type userFactor struct {
	ID       string     `json:"id"`
	Kind     string     `json:"kind"`
	Name     string     `json:"name"`
	Created  time.Time  `json:"created"`
	LastUsed *time.Time `json:"lastUsed"`
}

// users is what a tenant's own users sign in with.
func (c *cli) users() *cobra.Command {
	return group("users", "A tenant's own users: how they sign in, lost factors", c.usersList(), c.usersPolicy(), c.usersFactors(), c.usersReset())
}

// inStore is a command whose first argument is TENANT.
func (c *cli) inStore(use, short string, n int, run func(context.Context, *client, string, []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: usage(cobra.ExactArgs(n)), RunE: func(cmd *cobra.Command, args []string) error {
		path, err := storePath(args[0])
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error { return run(cmd.Context(), cl, path+"/auth-collections", args) })
	}}
}

func (c *cli) usersList() *cobra.Command {
	return c.inStore("list TENANT", "List the auth collections and how their users sign in", 1, func(ctx context.Context, cl *client, path string, _ []string) error {
		items, err := all[userPolicy](ctx, cl, path)
		if err != nil {
			return err
		}
		return table(c, items, "COLLECTION TOTP PASSKEYS SECOND-FACTOR", func(p userPolicy) []any {
			return []any{p.Collection, onOff(p.TOTP), onOff(p.Passkeys), p.SecondFactor}
		})
	})
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// usersPolicy changes what a flag names, and shows the policy.
func (c *cli) usersPolicy() *cobra.Command {
	var set []func(p *userPolicy)
	cmd := c.inStore("policy TENANT COLLECTION", "Show or change how the users of a collection sign in", 2, func(ctx context.Context, cl *client, path string, args []string) error {
		var p userPolicy
		path += "/" + url.PathEscape(args[1]) + "/policy"
		if err := cl.call(ctx, "GET", path, nil, &p); err != nil {
			return err
		}
		if len(set) > 0 {
			for _, change := range set {
				change(&p)
			}
			p.Collection = ""
			if err := cl.call(ctx, "PUT", path, p, &p); err != nil {
				return err
			}
		}
		return c.showUserPolicy(p)
	})
	userFlags{cmd.Flags().Func, &set}.define()
	return cmd
}

func (c *cli) showUserPolicy(p userPolicy) error {
	sentence := fmt.Sprintf("users of %s: totp %s, passkeys %s, second factor asked of who is %s", p.Collection, onOff(p.TOTP), onOff(p.Passkeys), p.SecondFactor)
	if p.SecondFactor == "always" {
		sentence = fmt.Sprintf("users of %s: totp %s, passkeys %s, second factor asked of everybody", p.Collection, onOff(p.TOTP), onOff(p.Passkeys))
	}
	if len(p.Origins) > 0 {
		sentence += "\npasskeys also on " + strings.Join(p.Origins, ", ")
	}
	sentence += fmt.Sprintf("\npasswords: at least %d characters and %d bits, common ones %s, the last %d refused", p.Password.MinLength, p.Password.MinBits,
		map[bool]string{true: "refused", false: "allowed"}[p.Password.RefuseCommon], p.Password.History)
	sentence += "\nverifying an address " + map[bool]string{true: "keeps a password that somebody set before", false: "drops a password that somebody else may have set before"}[p.KeepUnproven]
	sentence += fmt.Sprintf("\nsessions: tokens of %s, refreshed for %s, ended by a change of factors: %s", lifeOf(p.Sessions.TokenSeconds, "the collection's own life"),
		lifeOf(p.Sessions.MaxAgeSeconds, "ever"), map[bool]string{true: "yes", false: "no"}[p.Sessions.EndOnChange])
	sentence += fmt.Sprintf("\nfailed tries: %d for an account, %d from an address, then waits of up to %d s", p.Attempts.Account, p.Attempts.Address, p.Attempts.LongestWait)
	return c.object(p, "%s", sentence)
}

func lifeOf(seconds int64, otherwise string) string {
	if seconds == 0 {
		return otherwise
	}
	return (time.Duration(seconds) * time.Second).String()
}

func (c *cli) usersFactors() *cobra.Command {
	return c.inStore("factors TENANT COLLECTION USER", "List the factors of a user, by the record's id", 3, func(ctx context.Context, cl *client, path string, args []string) error {
		var out struct {
			Items []userFactor `json:"items"`
		}
		if err := cl.call(ctx, "GET", factorsPath(path, args), nil, &out); err != nil {
			return err
		}
		return table(c, out.Items, "ID KIND NAME CREATED", func(f userFactor) []any {
			return []any{f.ID, f.Kind, f.Name, f.Created.Format(time.RFC3339)}
		})
	})
}

func factorsPath(path string, args []string) string {
	return path + "/" + url.PathEscape(args[1]) + "/users/" + url.PathEscape(args[2]) + "/factors"
}

func (c *cli) usersReset() *cobra.Command {
	return c.inStore("reset-factors TENANT COLLECTION USER", "Take all factors from a user who lost them, and end its sessions", 3, func(ctx context.Context, cl *client, path string, args []string) error {
		if err := cl.call(ctx, "DELETE", factorsPath(path, args), nil, nil); err != nil {
			return err
		}
		return c.object(map[string]any{"collection": args[1], "user": args[2], "reset": true}, "%s of %s has no factors any more; the sessions have ended", args[2], args[1])
	})
}
