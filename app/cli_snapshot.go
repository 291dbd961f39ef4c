package app

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

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
	Target string  `json:"target"`
	State  string  `json:"state"`
	Seq    int64   `json:"seq"`
	Time   string  `json:"time"`
	Lag    float64 `json:"lag_seconds"`
	Dirty  int64   `json:"dirtyPages"`
	Staged int64   `json:"staged_bytes"`
	Why    string  `json:"why,omitempty"`
	Error  string  `json:"error,omitempty"`
}

func (c *cli) snapshot() *cobra.Command {
	return group("snapshot", "Snapshots of a tenant's store; \"system\" and \"vault\" are the appliance's own",
		c.snapshotNow(), c.snapshotStatus(), c.snapshotOverview(), c.snapshotList(), c.snapshotVerify(),
		c.snapshotPolicy(), c.snapshotPrune(), c.snapshotTakeover())
}

func (c *cli) snapshotNow() *cobra.Command {
	var target string
	cmd := &cobra.Command{Use: "now TENANT", Short: "Ship what changed since the last snapshot", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVar(&target, "target", "", "only this target; all where it is not given")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body := map[string]string{"target": target}
		return storeOperation(cmd.Context(), c, args[0], "/snapshots", body, func(s snapshotRow) error {
			return c.object(s, "snapshot %d of %s: %s, %s, %s shipped", s.Seq, args[0], counted(s.Pages, "page"), counted(s.Files, "file"), counted(s.Bytes, "byte"))
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
			return table(c, status.Targets, "TARGET STATE SEQ TIME LAG WHY", func(s snapshotStatusRow) []any {
				return []any{s.Target, s.State, s.Seq, s.Time, fmt.Sprintf("%.1f s", s.Lag), cmp.Or(s.Error, s.Why)}
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
	Sampled  bool     `json:"sampled"`
}

func (c *cli) snapshotVerify() *cobra.Command {
	var body struct {
		Target string  `json:"target,omitempty"`
		Sample float64 `json:"sample,omitempty"`
	}
	cmd := &cobra.Command{Use: "verify TENANT [--sample 0.05]", Short: "Read the chain and check every signature and hash", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVar(&body.Target, "target", "", "only this target; all where it is not given")
	cmd.Flags().Float64Var(&body.Sample, "sample", 0, "read all manifests, but only this share of the other objects, drawn by lot")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return storeOperation(cmd.Context(), c, args[0], "/snapshots/verify", body, func(v verifyResult) error {
			if err := c.object(v, "%s, %s read: %s", counted(v.Objects, "object"), counted(v.Bytes, "byte"), verdict(v.OK)); err != nil || v.OK {
				return err
			}
			return fmt.Errorf("the chain of %s is damaged: %s", args[0], strings.Join(v.Problems, "; "))
		})
	}
	return cmd
}

func verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "damaged"
}
