package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) acceptLoss() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "accept-loss TENANT|system [--yes]", Short: "Open a store again whose log was cut, without what is missing",
		Long: "A store whose write-ahead log was cut, changed or removed does not open: commits that were acknowledged are\n" +
			"missing. The better way is a snapshot (holdfast restore). Without --yes this tells what is missing and what could be\n" +
			"restored. With --yes the store goes on from what is left: every write after the cut is given up for good, the store\n" +
			"begins a new life in its log, and the decision is recorded. Copy the store's folder before.\n\n" +
			"'system' is the appliance's own database: stop the server first. It is refused, too, where an older copy of it was put\n" +
			"back or it was changed past the appliance; --yes goes on with what is there.", Args: usage(cobra.ExactArgs(1)),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "give up what is missing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "system" {
			return c.acceptSystemLoss(cmd.Context(), yes)
		}
		path, err := storePath(args[0])
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error { return c.acceptStoreLoss(cmd.Context(), cl, path, yes) })
	}
	return cmd
}

func (c *cli) acceptStoreLoss(ctx context.Context, cl *client, path string, yes bool) error {
	var state logState
	if err := cl.call(ctx, "GET", path+"/log", nil, &state); err != nil {
		return err
	}
	if !state.Cut {
		return c.object(state, "the log of %s is whole: nothing is missing", state.Store)
	}
	if !yes {
		return c.tellLoss(state)
	}
	var op operationState
	if err := cl.call(ctx, "POST", path+"/log/accept-loss", lossOrder{Store: state.Store}, &op); err != nil {
		return err
	}
	if err := cl.await(ctx, op, c.progress(), &state); err != nil {
		return err
	}
	if err := c.object(state, "%s opens again, after change %d of a new life; what came after is given up", state.Store, state.Position.Sequence); err != nil {
		return err
	}
	if len(state.Integrity) > 0 {
		return fmt.Errorf("what is left of %s is not whole, restore a snapshot: %s", state.Store, state.Integrity[0])
	}
	return nil
}

// tellLoss is the answer where nobody has said yes.
func (c *cli) tellLoss(state logState) error {
	if c.json {
		if err := c.object(state, ""); err != nil {
			return err
		}
		return fmt.Errorf("acknowledged commits are missing from the log of %s", state.Store)
	}
	for _, f := range state.Findings {
		fmt.Fprintf(c.stdout, "%s, frame %d: %s\n", f.File, f.Page, f.Reason)
	}
	for _, s := range state.Snapshots {
		fmt.Fprintf(c.stdout, "target %s has a snapshot of %s: holdfast restore %s --as SLUG\n", s.Target, when(&s.Newest), state.Store)
	}
	if len(state.Snapshots) == 0 {
		fmt.Fprintln(c.stdout, "no target has a snapshot of it")
	}
	return fmt.Errorf("acknowledged commits are missing from the log of %s; say --yes to give them up", state.Store)
}

// acceptSystemLoss opens the data folder in this process, which only works while no
// server has it.
func (c *cli) acceptSystemLoss(ctx context.Context, yes bool) error {
	if err := c.config.validate(); err != nil {
		return err
	}
	c.config.acceptSystemLoss = yes
	a, err := OpenAppliance(ctx, c.config, quietLogger(c.stderr))
	if err != nil {
		return err
	}
	if a.Sealed() {
		return errors.Join(a.errSealed(), a.Close())
	}
	lost := a.house.Load().system.Lost()
	if err := a.Close(); err != nil {
		return err
	}
	result := map[string]any{"store": "system", "cut": lost != nil}
	if lost == nil {
		return c.object(result, "the log of the system database is whole: nothing is missing")
	}
	return c.object(result, "the system database opens again; given up: %v", lost)
}
