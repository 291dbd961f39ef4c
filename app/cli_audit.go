package app

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

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
	return group("audit", "Transparency logs: what was done, and the proof of it", c.auditList(), c.auditVerify())
}

func (c *cli) auditList() *cobra.Command {
	var tenant string
	var last int
	cmd := &cobra.Command{Use: "list [--tenant T]", Short: "List the newest entries", Args: usage(cobra.NoArgs)}
	cmd.Flags().StringVar(&tenant, "tenant", "", "the log of this tenant's store; the appliance's where it is not given")
	cmd.Flags().IntVar(&last, "last", 50, "how many entries, at most 200")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path, err := auditPath(tenant)
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var l list[auditRow]
			if err := cl.call(cmd.Context(), "GET", fmt.Sprintf("%s?perPage=%d", path, last), nil, &l); err != nil {
				return err
			}
			return table(c, l.Items, "INDEX TIME ACTOR ACTION TARGET OUTCOME", func(e auditRow) []any {
				return []any{e.Index, e.Time, e.Actor, e.Action, e.Target, e.Outcome}
			})
		})
	}
	return cmd
}

type auditVerdict struct {
	OK       bool     `json:"ok"`
	Size     int64    `json:"size"`
	Root     string   `json:"root"`
	Problems []string `json:"problems,omitempty"`
}

func (c *cli) auditVerify() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{Use: "verify [--tenant T]", Short: "Recompute a log and hold it against its checkpoint and the change feed", Args: usage(cobra.NoArgs)}
	cmd.Flags().StringVar(&tenant, "tenant", "", "the log of this tenant's store; the appliance's where it is not given")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path, err := auditPath(tenant)
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var v auditVerdict
			if err := cl.call(cmd.Context(), "POST", path+"/verify", nil, &v); err != nil {
				return err
			}
			if err := c.object(v, "%s, root %s: %s", counted(v.Size, "entry"), v.Root, verdict(v.OK)); err != nil || v.OK {
				return err
			}
			return fmt.Errorf("the log does not hold: %s", strings.Join(v.Problems, "; "))
		})
	}
	return cmd
}

func (c *cli) operation() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List operations", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[operationState](cmd.Context(), cl, "/api/v1/operations")
			if err != nil {
				return err
			}
			return table(c, items, "ID KIND TARGET STATE CREATED", func(o operationState) []any {
				return []any{o.ID, o.Kind, o.Target, o.State, o.Created}
			})
		})
	}}
	return group("operation", "Operations: imports, snapshots, restores", list)
}
