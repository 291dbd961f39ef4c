package app

import (
	"context"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"
)

func (c *cli) operation() *cobra.Command {
	return group("operation", "Operations: imports, snapshots, restores", c.operationList(), c.operationShow(), c.operationCancel())
}

func (c *cli) operationList() *cobra.Command {
	var state string
	cmd := &cobra.Command{Use: "list", Short: "List operations, newest first", Args: usage(cobra.NoArgs)}
	cmd.Flags().StringVar(&state, "state", "", "only running, done, failed, interrupted or cancelled ones")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[operationState](cmd.Context(), cl, "/api/v1/operations?state="+url.QueryEscape(state))
			if err != nil {
				return err
			}
			return table(c, items, "ID KIND TARGET STATE CREATED", func(o operationState) []any {
				return []any{o.ID, o.Kind, o.Target, o.State, o.Created}
			})
		})
	}
	return cmd
}

func (c *cli) operationShow() *cobra.Command {
	return c.onOperation("show ID", "Show how far an operation is, and how it ended", "GET", "")
}

func (c *cli) operationCancel() *cobra.Command {
	return c.onOperation("cancel ID", "Ask a running operation to stop", "POST", "/cancel")
}

// onOperation asks about one operation and prints what it is then.
func (c *cli) onOperation(use, short, method, suffix string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error { return c.askOperation(cmd.Context(), cl, method, args[0], suffix) })
	}}
}

func (c *cli) askOperation(ctx context.Context, cl *client, method, id, suffix string) error {
	var op operationState
	if err := cl.call(ctx, method, "/api/v1/operations/"+url.PathEscape(id)+suffix, nil, &op); err != nil {
		return err
	}
	sentence := fmt.Sprintf("%s of %s, begun %s: %s", op.Kind, op.Target, op.Created, op.State)
	if p := op.Progress; p.Total > 0 {
		sentence += fmt.Sprintf(", %d of %d %s", p.Done, p.Total, p.Unit)
	}
	if op.Error != nil {
		sentence += "\n" + op.Error.Error()
	}
	return c.object(op, "%s", sentence)
}
