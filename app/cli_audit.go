package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app/audit"
	"holdfast/data"
)

type auditRow struct {
	Index    int64             `json:"index"`
	Time     string            `json:"time"`
	Actor    string            `json:"actor"`
	Action   string            `json:"action"`
	Target   string            `json:"target"`
	Outcome  string            `json:"outcome"`
	Position *data.Position    `json:"position,omitempty"`
	Detail   map[string]string `json:"detail,omitempty"`
}

// auditPath is the appliance's log, or with --tenant that store's.
func auditPath(tenant string) (string, error) {
	if tenant == "" {
		return "/api/v1/audit", nil
	}
	path, err := storePath(tenant)
	return path + "/audit", err
}

func (c *cli) audit() *cobra.Command {
	return group("audit", "Transparency logs: what was done, and the proof of it",
		c.auditList(), c.auditVerify(), c.auditCheckpoint(), c.auditProve(), c.auditExport())
}

// onLog is a command about one log: the appliance's, or with --tenant a store's.
func (c *cli) onLog(cmd *cobra.Command, run func(ctx context.Context, cl *client, path string, args []string) error) *cobra.Command {
	var tenant string
	cmd.Flags().StringVar(&tenant, "tenant", "", "the log of this tenant's store; the appliance's where it is not given")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := auditPath(tenant)
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error { return run(cmd.Context(), cl, path, args) })
	}
	return cmd
}

func (c *cli) auditList() *cobra.Command {
	var last int
	cmd := &cobra.Command{Use: "list", Short: "List the newest entries", Args: usage(cobra.NoArgs)}
	cmd.Flags().IntVar(&last, "last", 50, "how many entries, at most 200")
	return c.onLog(cmd, func(ctx context.Context, cl *client, path string, _ []string) error {
		var l list[auditRow]
		if err := cl.call(ctx, "GET", fmt.Sprintf("%s?perPage=%d", path, last), nil, &l); err != nil {
			return err
		}
		return table(c, l.Items, "INDEX TIME ACTOR ACTION TARGET OUTCOME", func(e auditRow) []any {
			return []any{e.Index, e.Time, e.Actor, e.Action, e.Target, e.Outcome}
		})
	})
}

// auditVerify asks the appliance about a log; of a FILE it needs none.
func (c *cli) auditVerify() *cobra.Command {
	var key, since string
	cmd := c.onLog(&cobra.Command{Use: "verify [FILE --key KEY]", Short: "Recompute a log and hold it against its checkpoint and the change feed; or check an export or a proof",
		Long: "Without FILE the appliance recomputes the log, and holds it against its signed checkpoint and the store's change feed.\n" +
			"With FILE, an export or a proof that audit export or audit prove wrote is checked here, without any appliance.",
		Args: usage(cobra.MaximumNArgs(1))}, func(ctx context.Context, cl *client, path string, _ []string) error {
		return c.verifyLog(ctx, cl, path)
	})
	cmd.Flags().StringVar(&key, "key", "", "of FILE: verifier key, as the appliance showed it")
	cmd.Flags().StringVar(&since, "since", "", "of a proof that was made with --since: the checkpoint that you kept")
	live := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 1:
			return c.verifyAuditFile(args[0], key, since)
		case key != "" || since != "":
			return fmt.Errorf("%w: --key and --since go with a FILE", errUsage)
		}
		return live(cmd, args)
	}
	return cmd
}

func (c *cli) verifyLog(ctx context.Context, cl *client, path string) error {
	var r audit.Report
	if err := cl.call(ctx, "POST", path+"/verify", nil, &r); err != nil {
		return err
	}
	if err := c.object(r, "%s, root %s: %s", counted(r.Size, "entry"), r.Root, verdict(r.OK)); err != nil || r.OK {
		return err
	}
	return fmt.Errorf("the log does not hold: %s", strings.Join(r.Problems, "; "))
}
