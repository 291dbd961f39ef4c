package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (c *cli) snapshotTakeover() *cobra.Command {
	var target string
	var every bool
	cmd := &cobra.Command{Use: "takeover TENANT|--all --target NAME", Short: "Go on with a chain that another appliance continued; that one stops",
		Long: "Begins an epoch of this appliance's own behind what the target has; the other appliance is fenced. With --all, of every\n" +
			"chain on the target that is fenced here, the appliance's own among them.", Args: usage(cobra.MaximumNArgs(1))}
	cmd.Flags().StringVar(&target, "target", "", "the target whose chain is meant")
	cmd.Flags().BoolVar(&every, "all", false, "every chain on the target that is fenced")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case target == "":
			return fmt.Errorf("%w: name the target with --target NAME", errUsage)
		case every == (len(args) == 1):
			return fmt.Errorf("%w: name one TENANT, or say --all", errUsage)
		case every:
			return c.takeOverAll(cmd.Context(), target)
		}
		return c.takeOver(cmd.Context(), args[0], target)
	}
	return cmd
}

func (c *cli) takeOver(ctx context.Context, tenant, target string) error {
	return storeOperation(ctx, c, tenant, "/snapshots/takeover", map[string]string{"target": target}, func(s snapshotRow) error {
		return c.object(s, "%s is shipped to %s from snapshot %d on", tenant, target, s.Seq)
	})
}

// takeOverAll goes on with the others where one cannot be taken over.
func (c *cli) takeOverAll(ctx context.Context, target string) error {
	var fenced []string
	err := c.with(ctx, func(cl *client) (err error) {
		fenced, err = fencedOn(ctx, cl, target)
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, tenant := range fenced {
		if err := c.takeOver(ctx, tenant, target); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", tenant, err))
		}
	}
	if len(fenced) == 0 && !c.json {
		fmt.Fprintf(c.stdout, "no chain on %s is fenced\n", target)
	}
	return errors.Join(errs...)
}

// fencedOn names what is fenced on a target.
func fencedOn(ctx context.Context, cl *client, target string) (fenced []string, err error) {
	if err := knowsTarget(ctx, cl, target); err != nil {
		return nil, err
	}
	stores, err := all[overviewRow](ctx, cl, "/api/v1/snapshots/overview")
	for _, o := range stores {
		if err != nil || o.State != "fenced" { // the state is the worst of its targets
			continue
		}
		var st struct {
			Targets []snapshotStatusRow `json:"targets"`
		}
		name, path := o.called()
		if err = cl.call(ctx, "GET", path+"/snapshots/status", nil, &st); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(st.Targets, func(t snapshotStatusRow) bool { return t.Target == target && t.State == "fenced" }) {
			fenced = append(fenced, name)
		}
	}
	return fenced, err
}

func knowsTarget(ctx context.Context, cl *client, name string) error {
	targets, err := all[targetRow](ctx, cl, "/api/v1/targets")
	if err == nil && !slices.ContainsFunc(targets, func(t targetRow) bool { return t.Name == name }) {
		err = fmt.Errorf("there is no target %q (not found)", name)
	}
	return err
}

// called is how commands name the store, and its path.
func (o overviewRow) called() (name, path string) {
	_, environment, found := strings.Cut(o.Store, "/")
	if !found {
		return o.Store, "/api/v1/stores/" + o.Store + "/prod"
	}
	return o.Slug + "/" + environment, "/api/v1/stores/" + o.Slug + "/" + environment
}
