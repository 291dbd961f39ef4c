package app

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app/custody"
)

func (c *cli) keysRotate() *cobra.Command {
	var o custody.RootOrder
	var resume, passphrase bool
	cmd := &cobra.Command{
		Use: "rotate root | OWNER [PURPOSE]", Short: "Make new keys: the root key, or an owner's (system, TENANT) for one purpose or all",
		Long: "Rotates keys. 'root' puts all keys under a new root key; recovery key and shares are new and shown once.\n" +
			"OWNER [PURPOSE] makes a new generation and writes old data anew under it, in the background.", Args: usage(cobra.RangeArgs(1, 2)),
	}
	f := cmd.Flags()
	f.BoolVar(&passphrase, "passphrase-stdin", false, "root: read the passphrase that goes on from standard input")
	f.StringSliceVar(&o.Drop, "drop", nil, "root: kinds of slots that may end with the old root key")
	f.BoolVar(&resume, "resume", false, "make no new generation: go on writing old data anew")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] != "root" {
			return c.rotate(cmd.Context(), append(args, "")[:2], resume)
		}
		if passphrase {
			var err error
			if o.Passphrase, err = c.ask("Passphrase: "); err != nil {
				return err
			}
		}
		return c.with(cmd.Context(), func(cl *client) error { return c.rotateRoot(cmd.Context(), cl, o) })
	}
	return cmd
}

func (c *cli) rotateRoot(ctx context.Context, cl *client, o custody.RootOrder) error {
	var root custody.NewRoot
	if err := cl.call(ctx, "POST", "/api/v1/keys/root/rotate", o, &root); err != nil || c.json {
		return c.orObject(err, root)
	}
	fmt.Fprintf(c.stdout, "root key %s; it opens with: %s\n\nNew recovery key, shown this once:\n\n    %s\n", root.ID, strings.Join(root.Slots, ", "), root.RecoveryKey)
	if len(root.Shares) > 0 {
		fmt.Fprintf(c.stdout, "\nNew shares, shown this once:\n\n    %s\n", strings.Join(root.Shares, "\n    "))
	}
	if len(root.Ended) > 0 {
		fmt.Fprintf(c.stdout, "\nThese no longer open anything: %s\n", strings.Join(root.Ended, ", "))
	}
	return nil
}

func (c *cli) orObject(err error, v any) error {
	if err != nil {
		return err
	}
	return c.object(v, "")
}

func (c *cli) rotate(ctx context.Context, args []string, resume bool) error {
	return c.with(ctx, func(cl *client) error {
		var op operationState
		order := custody.Order{Owner: args[0], Purpose: args[1], Resume: resume}
		if err := cl.call(ctx, "POST", "/api/v1/keys/rotate", order, &op); err != nil {
			return err
		}
		var r custody.Rotated
		if err := cl.await(ctx, op, c.progress(), &r); err != nil || c.json {
			return c.orObject(err, r)
		}
		return table(c, r.Keys, "PURPOSE GENERATION RETIRED", func(e custody.RotatedEntry) []any { return []any{e.Purpose, e.Generation, e.Retired} })
	})
}

func (c *cli) keysCopies() *cobra.Command {
	var leave bool
	remove := c.copyCall("remove TARGET", "Keep no more copies on a target, and delete those that are there", "no more copies on %s", func(target string) (string, string, any) {
		return "DELETE", fmt.Sprintf("/api/v1/keys/copies/%s?leave=%t", url.PathEscape(target), leave), nil
	})
	remove.Flags().BoolVar(&leave, "leave", false, "leave the copies that are there; nothing removes them any more")
	add := c.copyCall("add TARGET", "Keep copies of slots and keyring on a target", "copies are kept on %s", func(target string) (string, string, any) {
		return "POST", "/api/v1/keys/copies", custody.CopyOrder{Target: target}
	})
	return group("copies", "Copies of slots and keyring off this host",
		add, remove, c.copiesNow("now", "Visit every target now"), c.copiesNow("purge", "Delete every copy but the newest, whatever its age"))
}

func (c *cli) copyCall(use, short, sentence string, request func(string) (method, path string, body any)) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			method, path, body := request(args[0])
			if err := cl.call(cmd.Context(), method, path, body, nil); err != nil {
				return err
			}
			return c.object(map[string]any{"target": args[0], "ok": true}, sentence, args[0])
		})
	}}
}

func (c *cli) copiesNow(name, short string) *cobra.Command {
	return &cobra.Command{Use: name, Short: short, Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			var s custody.CopyState
			if err := cl.call(cmd.Context(), "POST", "/api/v1/keys/copies/"+name, nil, &s); err != nil {
				return err
			}
			if c.json {
				return c.object(s, "")
			}
			return c.printCopies(s)
		})
	}}
}
