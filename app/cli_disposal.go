package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app/disposal"
)

type disposalRow struct {
	ID     string `json:"id"`
	Tenant struct {
		ID   string `json:"id"`
		Slug string `json:"slug"`
	} `json:"tenant"`
	Begun       string `json:"begun"`
	Certified   string `json:"certified,omitempty"`
	SHA256      string `json:"sha256,omitempty"`
	VerifierKey string `json:"verifierKey,omitempty"`
	Targets     int    `json:"targets"`
}

func (c *cli) disposal() *cobra.Command {
	return group("disposal", "Destroyed tenants and their certificates", c.disposalList(), c.disposalShow(), c.disposalVerify())
}

func (c *cli) disposalList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List destroyed tenants", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[disposalRow](cmd.Context(), cl, "/api/v1/disposals")
			if err != nil {
				return err
			}
			return table(c, items, "ID TENANT CERTIFIED SHA256", func(d disposalRow) []any { return []any{d.ID, d.Tenant.Slug, d.Certified, d.SHA256} })
		})
	}}
}

func (c *cli) disposalShow() *cobra.Command {
	var file string
	cmd := &cobra.Command{Use: "show ID|TENANT [-o FILE]", Short: "Show a certificate; with -o write it to FILE and its signature to FILE.sig", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write the certificate to this file and its signature beside it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			d, err := findDisposal(cmd.Context(), cl, args[0])
			if err != nil {
				return err
			}
			certificate, err := cl.text(cmd.Context(), "/api/v1/disposals/"+d.ID+"/certificate")
			if err != nil {
				return err
			}
			if file == "" {
				_, err = fmt.Fprintln(c.stdout, certificate)
				return err
			}
			return c.saveCertificate(cmd.Context(), cl, d, file, certificate)
		})
	}
	return cmd
}

// findDisposal takes an id, or a slug whose newest disposal is meant.
func findDisposal(ctx context.Context, cl *client, name string) (disposalRow, error) {
	if name == "" || strings.ContainsAny(name, "&=?#%/ ") {
		return disposalRow{}, fmt.Errorf("%w: %q is neither an id nor a slug", errUsage, name)
	}
	var found list[disposalRow]
	if err := cl.call(ctx, "GET", "/api/v1/disposals?perPage=1&filter="+name, nil, &found); err != nil {
		return disposalRow{}, err
	}
	if len(found.Items) == 0 {
		return disposalRow{}, fmt.Errorf("there is no disposal %q (not found)", name)
	}
	return found.Items[0], nil
}

func (c *cli) saveCertificate(ctx context.Context, cl *client, d disposalRow, file, certificate string) error {
	signature, err := cl.text(ctx, "/api/v1/disposals/"+d.ID+"/signature")
	if err != nil {
		return err
	}
	if err := writeFiles(map[string]string{file: certificate, file + ".sig": signature}); err != nil {
		return err
	}
	return c.object(d, "certificate %s of tenant %s is in %s, its signature in %s.sig; it is signed with the key\n%s", d.ID, d.Tenant.Slug, file, file, d.VerifierKey)
}

func (c *cli) disposalVerify() *cobra.Command {
	return verifySigned("a certificate", func(certificate, signature []byte, key string) error {
		checked, err := disposal.CheckCertificate(certificate, signature, key)
		if err != nil {
			return err
		}
		return c.object(map[string]any{"ok": true, "id": checked.ID, "tenant": checked.Tenant},
			"ok: %s certifies that tenant %s (%s) was destroyed on %s", checked.Appliance, checked.Tenant.Slug, checked.Tenant.ID, checked.CarriedOut.At.Format("2006-01-02 15:04:05 MST"))
	})
}

type erasureRow struct {
	ID         string `json:"id"`
	Store      string `json:"store"`
	Collection string `json:"collection"`
	Records    int    `json:"records"`
	Asked      string `json:"asked"`
	Finished   string `json:"finished,omitempty"`
	Targets    int    `json:"targets"`
	Copies     []struct {
		Store   string `json:"store"`
		Name    string `json:"name"`
		State   string `json:"state"`
		Records int    `json:"records"`
		Reason  string `json:"reason,omitempty"`
		Fix     string `json:"fix,omitempty"`
	} `json:"copies"`
}

// text says what was erased, and where something is left to do.
func (e erasureRow) text() string {
	out := fmt.Sprintf("%s erased (erasure %s); the ledger is on %s", counted(e.Records, "record"), e.ID, counted(e.Targets, "target"))
	for _, copied := range e.Copies {
		out += fmt.Sprintf("\ncopy %s: %s", copied.Name, copied.State)
		switch {
		case copied.State == disposal.CopyErased:
			out += ", " + counted(copied.Records, "record")
		case copied.State == disposal.CopyParked:
			out += ": it is deleted; if it is undeleted, the records are erased there"
		case copied.Reason != "":
			out += ": " + copied.Reason
		}
		if copied.Fix != "" {
			out += ". " + copied.Fix
		}
	}
	return out
}

// eraseFlags are what `erase` is told beside what it erases.
type eraseFlags struct {
	filter, reason  string
	yes, sourceOnly bool
}

func (e *eraseFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&e.filter, "filter", "", "PocketBase filter for the records")
	f.StringVar(&e.reason, "reason", "", "why; name nobody in it")
	f.BoolVar(&e.yes, "yes", false, "yes, erase all that the filter finds")
	f.BoolVar(&e.sourceOnly, "source-only", false, "only name the tenants that were restored from snapshots of this one; erase nothing there")
}

// order is what the server is asked for: TENANT COLLECTION and RECORD or a filter.
func (e eraseFlags) order(args []string) (map[string]string, error) {
	if (len(args) == 3) == (e.filter != "") {
		return nil, fmt.Errorf("%w: name one RECORD, or give --filter", errUsage)
	}
	if e.filter != "" && !e.yes {
		return nil, fmt.Errorf("%w: nothing brings back what the filter finds, no snapshot either; say --yes", errUsage)
	}
	body := map[string]string{"collection": args[1], "filter": e.filter, "reason": e.reason}
	if len(args) == 3 {
		body["record"] = args[2]
	}
	if e.sourceOnly {
		body["copies"] = "name"
	}
	return body, nil
}

func (c *cli) erase() *cobra.Command {
	var flags eraseFlags
	cmd := &cobra.Command{Use: "erase TENANT COLLECTION [RECORD | --filter EXPRESSION --yes]",
		Short: "Erase records and their files so that no restore brings them back", Args: usage(cobra.RangeArgs(2, 3))}
	flags.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := storePath(args[0])
		if err != nil {
			return err
		}
		body, err := flags.order(args)
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var e erasureRow
			if err := cl.call(cmd.Context(), "POST", path+"/erasures", body, &e); err != nil {
				return err
			}
			return c.object(e, "%s", e.text())
		})
	}
	return cmd
}
