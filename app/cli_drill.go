package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app/drill"
)

// drillRow is a drill as commands print it.
type drillRow struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Target     string   `json:"target"`
	Sequence   int64    `json:"sequence"`
	Started    string   `json:"started"`
	OK         bool     `json:"ok"`
	RTOSeconds *float64 `json:"rto_seconds"`
	RPOSeconds *float64 `json:"rpo_seconds"`
	RTOMet     *bool    `json:"rto_met"`
	RPOMet     *bool    `json:"rpo_met"`
	RTO        *int64   `json:"rto_ms"`
	RPO        *int64   `json:"rpo_ms"`
	Bytes      int64    `json:"bytes"`
	Records    int64    `json:"records"`
	Files      int64    `json:"files"`
	Compared   int64    `json:"compared"`
	Findings   []string `json:"findings"`
	Cause      string   `json:"cause"`

	Checks []drill.Check `json:"checks"`
}

func (c *cli) drill() *cobra.Command {
	var every bool
	var o drill.Order
	cmd := &cobra.Command{Use: "drill TENANT|--all", Short: "Restore a tenant into scratch, check and measure it, and throw it away",
		Long: "Restores the newest point (or --at) from a target into sealed scratch, checks it (checksums, integrity, PocketBase,\n" +
			"records and files against digests that were recorded independently), measures how long it took and how much would\n" +
			"have been lost, and removes it. The result is kept and signed. Exit code 1 when it failed.",
		Args: usage(cobra.MaximumNArgs(1))}
	cmd.Flags().BoolVar(&every, "all", false, "every tenant, from every target that has it, one after the other")
	cmd.Flags().StringVar(&o.At, "at", "", "moment to restore (RFC 3339); the newest where it is not given")
	cmd.Flags().StringVar(&o.Target, "target", "", "target to read from; the one with the newest snapshot where it is not given")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if every == (len(args) == 1) || every && (o.At != "" || o.Target != "") {
			return fmt.Errorf("%w: name one TENANT, or say --all", errUsage)
		}
		if every {
			return c.drillAll(cmd.Context())
		}
		return storeOperation(cmd.Context(), c, args[0], "/drills", o, func(d drillRow) error {
			return errors.Join(c.printDrill(d), d.failure())
		})
	}
	cmd.AddCommand(c.drillList(), c.drillStatus(), c.drillReport(), c.drillVerify())
	return cmd
}

func (d drillRow) failure() error {
	if d.OK {
		return nil
	}
	return fmt.Errorf("the drill of %s from %s failed: %s", d.Name, d.Target, strings.Join(d.Findings, "; "))
}

func (c *cli) printDrill(d drillRow) error {
	if err := c.object(d, "%s from %s, snapshot %d: %s; restored in %s, at risk %s; %d of %d records and %d files held to their digests", d.Name, d.Target, d.Sequence,
		passedOr(d.OK), secondsOr(d.RTOSeconds), secondsOr(d.RPOSeconds), d.Compared, d.Records, d.Files); err != nil || c.json {
		return err
	}
	for _, check := range d.Checks {
		fmt.Fprintf(c.stdout, "  %-9s %-7s %s\n", check.Name, check.State, check.Text)
	}
	return nil
}

func passedOr(ok bool) string {
	if ok {
		return "passed"
	}
	return "failed"
}

func secondsOr(s *float64) string {
	if s == nil {
		return "not measured"
	}
	return fmt.Sprintf("%.1f s", *s)
}

func (c *cli) drillAll(ctx context.Context) error {
	return c.with(ctx, func(cl *client) error {
		var op operationState
		if err := cl.call(ctx, "POST", "/api/v1/drills", nil, &op); err != nil {
			return err
		}
		var sum struct {
			OK     bool       `json:"ok"`
			Drills []drillRow `json:"drills"`
		}
		if err := cl.await(ctx, op, c.progress(), &sum); err != nil {
			return err
		}
		if c.json {
			if err := c.object(sum, ""); err != nil {
				return err
			}
		}
		var errs []error
		for _, d := range sum.Drills {
			if !c.json {
				errs = append(errs, c.printDrill(d))
			}
			errs = append(errs, d.failure())
		}
		return errors.Join(errs...)
	})
}

func (c *cli) drillList() *cobra.Command {
	return &cobra.Command{Use: "list [TENANT]", Short: "List drills, newest first", Args: usage(cobra.MaximumNArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		path := "/api/v1/drills"
		if len(args) == 1 {
			base, err := storePath(args[0])
			if err != nil {
				return err
			}
			path = base + "/drills"
		}
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[drillRow](cmd.Context(), cl, path)
			if err != nil {
				return err
			}
			return table(c, items, "ID STARTED NAME TARGET SEQ RESULT RTO-MS RPO-MS COMPARED", func(d drillRow) []any {
				return []any{d.ID, d.Started, d.Name, d.Target, d.Sequence, passedOr(d.OK), millisOr(d.RTO), millisOr(d.RPO), fmt.Sprintf("%d/%d", d.Compared, d.Records)}
			})
		})
	}}
}

func millisOr(ms *int64) any {
	if ms == nil {
		return "-"
	}
	return *ms
}

type standingRow struct {
	Name     string    `json:"name"`
	Target   string    `json:"target"`
	LastGood string    `json:"last_good"`
	Due      string    `json:"due"`
	Overdue  bool      `json:"overdue"`
	Alarm    bool      `json:"alarm"`
	Last     *drillRow `json:"last"`
}

func (r standingRow) state() string {
	switch {
	case r.Overdue:
		return "overdue"
	case r.Last == nil:
		return "waiting"
	case r.Last.OK:
		return "passed"
	}
	return "failed"
}

func (c *cli) drillStatus() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show how each tenant and target stands, alarms first", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[standingRow](cmd.Context(), cl, "/api/v1/drills/overview")
			if err != nil {
				return err
			}
			return table(c, items, "NAME TARGET STATE LAST-PASSED DUE", func(r standingRow) []any {
				return []any{r.Name, r.Target, r.state(), r.LastGood, r.Due}
			})
		})
	}}
}

// drillReport writes the signed report of one drill, or of a period over all stores.
func (c *cli) drillReport() *cobra.Command {
	var from, until, file string
	cmd := &cobra.Command{Use: "report [ID] [--from DATE] [--to DATE] -o FILE", Short: "Write a signed report of one drill, or of a period over all stores",
		Long: "Writes the report as JSON and its signature beside it (FILE.sig); as a page for people when FILE ends in .html.\n" +
			"Dates are 2026-01-31 or RFC 3339; without them the last 90 days.", Args: usage(cobra.MaximumNArgs(1))}
	cmd.Flags().StringVar(&from, "from", "", "first day of the period")
	cmd.Flags().StringVar(&until, "to", "", "day after the last of the period")
	cmd.Flags().StringVarP(&file, "output", "o", "", "file to write")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" {
			return fmt.Errorf("%w: name the file with -o", errUsage)
		}
		p, err := periodOf(from, until)
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			path, err := reportPath(cmd.Context(), cl, args, p)
			if err != nil {
				return err
			}
			return c.saveReport(cmd.Context(), cl, path, file)
		})
	}
	return cmd
}

func periodOf(from, until string) (p drill.Period, err error) {
	for text, at := range map[*string]**time.Time{&from: &p.From, &until: &p.Until} {
		if *text == "" {
			continue
		}
		moment, err := time.Parse(time.RFC3339, *text)
		if err != nil {
			moment, err = time.Parse(time.DateOnly, *text)
		}
		if err != nil {
			return p, fmt.Errorf("%w: %q is not a day like 2026-01-31", errUsage, *text)
		}
		*at = &moment
	}
	return p, nil
}

// reportPath is where a report is, which is made first if it is one of a period.
func reportPath(ctx context.Context, cl *client, args []string, p drill.Period) (string, error) {
	if len(args) == 1 {
		if args[0] == "" || strings.ContainsAny(args[0], "&=?#%/ ") {
			return "", fmt.Errorf("%w: %q is not a drill's id", errUsage, args[0])
		}
		if p.From != nil || p.Until != nil {
			return "", fmt.Errorf("%w: name one drill, or a period", errUsage)
		}
		return "/api/v1/drills/" + args[0] + "/report", nil
	}
	var kept drill.Kept
	err := cl.call(ctx, "POST", "/api/v1/drill-reports", p, &kept)
	return "/api/v1/drill-reports/" + kept.ID, err
}

func (c *cli) saveReport(ctx context.Context, cl *client, path, file string) error {
	signature, key, err := cl.signedText(ctx, path+"?format=sig")
	if err != nil {
		return err
	}
	format, files := "json", map[string]string{file + ".sig": signature}
	if strings.HasSuffix(file, ".html") {
		format, files = "html", map[string]string{}
	}
	if files[file], err = cl.text(ctx, path+"?format="+format); err != nil {
		return err
	}
	if err := writeFiles(files); err != nil {
		return err
	}
	return c.object(map[string]any{"file": file, "verifier_key": key}, "the report is in %s; it is signed with the key\n%s", file, key)
}

func (c *cli) drillVerify() *cobra.Command {
	return verifySigned("a report", func(report, signature []byte, key string) error {
		r, appliance, err := drill.CheckReport(report, signature, key)
		if err != nil {
			return err
		}
		return c.object(map[string]any{"ok": true, "id": r.ID, "appliance": appliance, "made": r.Made, "summary": r.Summary},
			"ok: %s reported on %s: %d drills, %d passed, %d failed", appliance, r.Made.Format("2006-01-02 15:04:05 MST"), r.Summary.Drills, r.Summary.Passed, r.Summary.Failed)
	})
}
