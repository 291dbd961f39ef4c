package app

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// restoreFlags are what `restore` can be told.
type restoreFlags struct {
	order restoreOrder

	all           bool
	from, id      string
	acceptCut     bool
	secret        secretFlags
	list          bool
	confirm, undo string
}

type restoreOrder struct {
	As          string   `json:"as,omitempty"`
	InPlace     bool     `json:"in_place,omitempty"`
	Collections []string `json:"collections,omitempty"`
	Records     []string `json:"records,omitempty"`
	Conflict    string   `json:"conflict,omitempty"`
	At          string   `json:"at,omitempty"`
	Sequence    int64    `json:"sequence,omitempty"`
	Target      string   `json:"target,omitempty"`
	DryRun      bool     `json:"dry_run,omitempty"`
}

type restoreResult struct {
	ID         string  `json:"id"`
	Slug       string  `json:"slug"`
	Records    int64   `json:"records"`
	RTOSeconds float64 `json:"rto_seconds"`
	Seq        int64   `json:"seq"`
	Time       string  `json:"time"`
	Erased     int     `json:"erased,omitempty"`
	InPlace    bool    `json:"in_place,omitempty"`
	Undone     int64   `json:"undone_changes,omitempty"`
	Taken      []struct {
		Collection string `json:"collection"`
		Made       bool   `json:"made,omitempty"`
		Added      int    `json:"added"`
		Changed    int    `json:"changed"`
		Same       int    `json:"same"`
		Kept       int    `json:"kept,omitempty"`
		Files      int    `json:"files,omitempty"`
	} `json:"collections,omitempty"`
	Plan *restorePlan `json:"plan,omitempty"`
}

type restorePlan struct {
	Collections []struct {
		Collection string `json:"collection"`
		Added      int64  `json:"added"`
		Changed    int64  `json:"changed"`
		Removed    int64  `json:"removed"`
		Same       int64  `json:"same"`
	} `json:"collections"`
	Files struct {
		Added   int   `json:"added"`
		Removed int   `json:"removed"`
		Bytes   int64 `json:"bytes"`
	} `json:"files"`
	Erasures int   `json:"erasures"`
	Undone   int64 `json:"undone_changes"`
	Need     int64 `json:"need_bytes"`
	Free     int64 `json:"free_bytes"`
	Enough   bool  `json:"enough_room"`
}

const restoreText = `Restores a tenant's store to any second, one of three ways:

  --as SLUG         as a new tenant beside it
  --in-place        the store itself becomes what it was; what it replaces is kept until --confirm ID, or put back
                    with --undo ID
  --collection C    only these collections (or --record ID of one) into the living store, all or nothing

--at takes a moment (2026-01-31T12:00:00Z) or how long ago ("10m ago"); without it, the newest point. --dry-run tells
what would change. It goes on after a restart of the server.

On a bare host, with nothing but the bucket and the secret of a slot (see the manual):

  holdfast restore --all --from s3://bucket/prefix?endpoint=...&region=... --recovery-key-stdin`

func (c *cli) restore() *cobra.Command {
	f := &restoreFlags{}
	cmd := &cobra.Command{
		Use: "restore TENANT --as SLUG | --in-place | --collection C ... | --list | --confirm ID | --undo ID; restore --all --from URL", Long: restoreText,
		Short: "Restore a tenant's store to any second: as a new tenant, in place, or some records; or all on a bare host", Args: usage(cobra.MaximumNArgs(1)),
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.all {
			return c.restoreAll(cmd.Context(), f, args)
		}
		if len(args) != 1 {
			return fmt.Errorf("%w: name the TENANT, or --all --from URL", errUsage)
		}
		return c.restoreTenant(cmd.Context(), f, args[0])
	}
	return cmd
}

func (f *restoreFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	o := &f.order
	flags.StringVar(&o.As, "as", "", "slug of the new tenant")
	flags.BoolVar(&o.InPlace, "in-place", false, "the living store becomes what it was")
	flags.StringSliceVar(&o.Collections, "collection", nil, "only this collection, into the living store; may be repeated")
	flags.StringSliceVar(&o.Records, "record", nil, "only this record of the collection; may be repeated")
	flags.StringVar(&o.Conflict, "conflict", "", "of records that differ now: overwrite (the default), keep, or refuse all")
	flags.StringVar(&o.At, "at", "", "moment to restore (RFC 3339, or \"10m ago\"); the newest point where it is not given")
	flags.Int64Var(&o.Sequence, "sequence", 0, "a snapshot's number, instead of --at")
	flags.StringVar(&o.Target, "target", "", "target to read from")
	flags.BoolVar(&o.DryRun, "dry-run", false, "only tell what would change")
	flags.BoolVar(&f.list, "list", false, "list the tenant's restores")
	flags.StringVar(&f.confirm, "confirm", "", "drop what the restore in place of this id replaced")
	flags.StringVar(&f.undo, "undo", "", "put back what the restore in place of this id replaced")
	flags.BoolVar(&f.all, "all", false, "everything, on a bare host")
	flags.StringVar(&f.from, "from", "", "with --all: URL of the target (S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)")
	flags.StringVar(&f.id, "id", "", "with --all: which appliance, where the target has several")
	flags.BoolVar(&f.acceptCut, "accept-cut", false, "with --all: take what there is, where a chain is not the one that was shipped")
	f.secret.add(cmd)
}

func (c *cli) restoreTenant(ctx context.Context, f *restoreFlags, tenant string) error {
	switch {
	case f.list:
		return c.restoreList(ctx, tenant)
	case f.confirm != "":
		return c.restoreConfirm(ctx, tenant, f.confirm)
	case f.undo != "":
		return storeOperation(ctx, c, tenant, "/restores/"+url.PathEscape(f.undo)+"/undo", nil, func(r restoreResult) error {
			return c.object(r, "restore %s of %s undone: %d changes made since are gone", f.undo, tenant, r.Undone)
		})
	case f.order.As == "" && !f.order.InPlace && len(f.order.Collections) == 0:
		return fmt.Errorf("%w: say how: --as SLUG, --in-place, or --collection C", errUsage)
	}
	return storeOperation(ctx, c, tenant, "/restores", f.order, func(r restoreResult) error { return c.restored(tenant, r) })
}

func (c *cli) restored(tenant string, r restoreResult) error {
	switch {
	case r.Plan != nil:
		return c.object(r, "%s", r.Plan.text(r))
	case r.InPlace:
		return c.object(r, "%s is as it was at %s: %s, %s undone, in %.1f s. What it replaced is kept:\n"+
			"  holdfast restore %s --confirm %s   drops it\n  holdfast restore %s --undo %s      puts it back",
			tenant, r.Time, counted(r.Records, "record"), counted(r.Undone, "change"), r.RTOSeconds, tenant, r.ID, tenant, r.ID)
	case len(r.Taken) > 0:
		var b strings.Builder
		for _, t := range r.Taken {
			fmt.Fprintf(&b, "%s: %d added, %d changed, %d the same, %d kept, %d files\n", t.Collection, t.Added, t.Changed, t.Same, t.Kept, t.Files)
		}
		return c.object(r, "%sof %s", b.String(), r.Time)
	}
	return c.object(r, "tenant %s restored as %s: %s in %.1f s", tenant, r.Slug, counted(r.Records, "record"), r.RTOSeconds)
}

func (p *restorePlan) text(r restoreResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "snapshot %d of %s would be restored. Nothing was changed.\n", r.Seq, r.Time)
	for _, d := range p.Collections {
		fmt.Fprintf(&b, "  %s: %d added, %d changed, %d removed, %d the same\n", d.Collection, d.Added, d.Changed, d.Removed, d.Same)
	}
	fmt.Fprintf(&b, "  files: %d added (%d bytes), %d removed\n", p.Files.Added, p.Files.Bytes, p.Files.Removed)
	fmt.Fprintf(&b, "  %d changes undone, %d erased records stay erased\n", p.Undone, p.Erasures)
	fmt.Fprintf(&b, "  room: %d MiB needed, %d MiB free", p.Need>>20, p.Free>>20)
	return b.String()
}

type restoreListed struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	State   string `json:"state"`
	Created string `json:"created"`
	Actor   string `json:"actor"`
	Error   string `json:"error,omitempty"`
}

func (c *cli) restoreList(ctx context.Context, tenant string) error {
	path, err := storePath(tenant)
	if err != nil {
		return err
	}
	return c.with(ctx, func(cl *client) error {
		items, err := all[restoreListed](ctx, cl, path+"/restores")
		if err != nil {
			return err
		}
		return table(c, items, "ID KIND STATE CREATED BY ERROR", func(r restoreListed) []any {
			return []any{r.ID, r.Kind, r.State, r.Created, r.Actor, r.Error}
		})
	})
}

func (c *cli) restoreConfirm(ctx context.Context, tenant, id string) error {
	path, err := storePath(tenant)
	if err != nil {
		return err
	}
	return c.with(ctx, func(cl *client) error {
		var done restoreListed
		if err := cl.call(ctx, http.MethodPost, path+"/restores/"+url.PathEscape(id)+"/confirm", nil, &done); err != nil {
			return err
		}
		return c.object(done, "restore %s of %s confirmed: what it replaced is gone", id, tenant)
	})
}
