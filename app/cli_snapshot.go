package app

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

type targetRow struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	Created string `json:"created,omitempty"`
}

func (c *cli) target() *cobra.Command {
	return group("target", "Targets: where snapshots are shipped to", c.targetAdd(), c.targetList(), c.targetTest(), c.targetRemove())
}

func (c *cli) targetAdd() *cobra.Command {
	var stdin bool
	cmd := &cobra.Command{Use: "add NAME URL", Short: "Add s3://bucket/prefix?endpoint=URL&region=R or file:///dir",
		Long: "Adds a target. For S3 the credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,\nor from standard input (two lines: access key, secret key) with --credentials-stdin.", Args: usage(cobra.ExactArgs(2))}
	cmd.Flags().BoolVar(&stdin, "credentials-stdin", false, "read access key and secret key from standard input, a line each")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		access, secret, err := c.credentials(stdin)
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var t targetRow
			body := map[string]string{"name": args[0], "url": args[1], "accessKey": access, "secretKey": secret}
			if err := cl.call(cmd.Context(), "POST", "/api/v1/targets", body, &t); err != nil {
				return err
			}
			return c.object(t, "target %s added: %s", t.Name, t.URL)
		})
	}
	return cmd
}

func (c *cli) credentials(stdin bool) (access, secret string, err error) {
	if !stdin {
		return os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), nil
	}
	s, err := c.secret()
	if err != nil {
		return "", "", err
	}
	access, secret, ok := strings.Cut(s, "\n")
	if !ok {
		return "", "", fmt.Errorf("%w: want two lines: access key, secret key", errUsage)
	}
	return strings.TrimSpace(access), strings.TrimSpace(secret), nil
}

func (c *cli) targetList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List targets", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[targetRow](cmd.Context(), cl, "/api/v1/targets")
			if err != nil {
				return err
			}
			return table(c, items, "NAME URL", func(t targetRow) []any { return []any{t.Name, t.URL} })
		})
	}}
}

func (c *cli) targetTest() *cobra.Command {
	return c.targetCall("test NAME", "Write, read and delete a probe object", "POST", "/test", "target %s works")
}

func (c *cli) targetRemove() *cobra.Command {
	return c.targetCall("remove NAME", "Forget a target; what it holds stays there", "DELETE", "", "target %s removed")
}

func (c *cli) targetCall(use, short, method, suffix, sentence string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			if err := cl.call(cmd.Context(), method, "/api/v1/targets/"+args[0]+suffix, nil, nil); err != nil {
				return err
			}
			return c.object(map[string]any{"name": args[0], "ok": true}, sentence, args[0])
		})
	}}
}

type snapshotRow struct {
	Store  string `json:"store"`
	Target string `json:"target,omitempty"`
	Seq    int64  `json:"seq"`
	Time   string `json:"time,omitempty"`
	Kind   string `json:"kind,omitempty"`
	Pages  int64  `json:"pages"`
	Bytes  int64  `json:"bytes"`
	Files  int64  `json:"files,omitempty"`
}

type snapshotStatusRow struct {
	Target string `json:"target"`
	Seq    int64  `json:"seq"`
	Time   string `json:"time"`
	Dirty  int64  `json:"dirtyPages"`
	Error  string `json:"error,omitempty"`
}

func (c *cli) snapshot() *cobra.Command {
	return group("snapshot", "Snapshots of a tenant's store", c.snapshotNow(), c.snapshotStatus(), c.snapshotList(), c.snapshotVerify())
}

func (c *cli) snapshotNow() *cobra.Command {
	var target string
	cmd := &cobra.Command{Use: "now TENANT", Short: "Ship what changed since the last snapshot", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVar(&target, "target", "", "only this target; all where it is not given")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body := map[string]string{"target": target}
		return storeOperation(cmd.Context(), c, args[0], "/snapshots", body, func(s snapshotRow) error {
			return c.object(s, "snapshot %d of %s: %d pages, %d files, %d bytes shipped", s.Seq, args[0], s.Pages, s.Files, s.Bytes)
		})
	}
	return cmd
}

// storeOperation starts an operation on a store, waits for it and hands its
// result to done.
func storeOperation[R any](ctx context.Context, c *cli, tenant, suffix string, body any, done func(R) error) error {
	path, err := storePath(tenant)
	if err != nil {
		return err
	}
	return c.with(ctx, func(cl *client) error {
		var op operationState
		if err := cl.call(ctx, "POST", path+suffix, body, &op); err != nil {
			return err
		}
		var result R
		if err := cl.await(ctx, op, c.progress(), &result); err != nil {
			return err
		}
		return done(result)
	})
}

func (c *cli) snapshotStatus() *cobra.Command {
	return &cobra.Command{Use: "status TENANT", Short: "Show what is shipped and what waits", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		path, err := storePath(args[0])
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var status struct {
				Targets []snapshotStatusRow `json:"targets"`
			}
			if err := cl.call(cmd.Context(), "GET", path+"/snapshots/status", nil, &status); err != nil {
				return err
			}
			return table(c, status.Targets, "TARGET SEQ TIME WAITING ERROR", func(s snapshotStatusRow) []any {
				return []any{s.Target, s.Seq, s.Time, s.Dirty, s.Error}
			})
		})
	}}
}

func (c *cli) snapshotList() *cobra.Command {
	return &cobra.Command{Use: "list TENANT", Short: "List the points that can be restored", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		path, err := storePath(args[0])
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[snapshotRow](cmd.Context(), cl, path+"/snapshots")
			if err != nil {
				return err
			}
			return table(c, items, "SEQ KIND TIME TARGET PAGES BYTES", func(s snapshotRow) []any {
				return []any{s.Seq, s.Kind, s.Time, s.Target, s.Pages, s.Bytes}
			})
		})
	}}
}

type verifyResult struct {
	OK       bool     `json:"ok"`
	Objects  int64    `json:"objects"`
	Bytes    int64    `json:"bytes"`
	Problems []string `json:"problems"`
}

func (c *cli) snapshotVerify() *cobra.Command {
	return &cobra.Command{Use: "verify TENANT", Short: "Read the chain and check every signature and hash", Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return storeOperation(cmd.Context(), c, args[0], "/snapshots/verify", nil, func(v verifyResult) error {
			if err := c.object(v, "%d objects, %d bytes read: %s", v.Objects, v.Bytes, verdict(v.OK)); err != nil || v.OK {
				return err
			}
			return fmt.Errorf("the chain of %s is damaged: %s", args[0], strings.Join(v.Problems, "; "))
		})
	}}
}

func verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "damaged"
}

type restoreResult struct {
	Slug       string  `json:"slug"`
	Records    int64   `json:"records"`
	RTOSeconds float64 `json:"rto_seconds"`
}

func (c *cli) restore() *cobra.Command {
	var body struct {
		As     string `json:"as"`
		At     string `json:"at,omitempty"`
		Target string `json:"target,omitempty"`
	}
	cmd := &cobra.Command{Use: "restore TENANT --as SLUG", Short: "Restore a tenant's store from its snapshots as a new tenant", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVar(&body.As, "as", "", "slug of the new tenant")
	cmd.Flags().StringVar(&body.At, "at", "", "moment to restore (RFC 3339); the newest where it is not given")
	cmd.Flags().StringVar(&body.Target, "target", "", "target to read from")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if body.As == "" {
			return fmt.Errorf("%w: name the new tenant with --as SLUG", errUsage)
		}
		return storeOperation(cmd.Context(), c, args[0], "/restores", body, func(r restoreResult) error {
			return c.object(r, "tenant %s restored as %s: %d records in %.1f s", args[0], r.Slug, r.Records, r.RTOSeconds)
		})
	}
	return cmd
}
