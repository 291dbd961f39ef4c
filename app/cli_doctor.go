package app

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) doctor() *cobra.Command {
	return &cobra.Command{Use: "doctor", Short: "Show what is misconfigured, insecure or failing, with the fix",
		Long: "Asks every part of the appliance what is not as it should be. Exit code 1 when anything is critical or a warning.",
		Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(cl *client) error {
				var d Diagnosis
				if err := cl.call(cmd.Context(), "GET", "/api/v1/doctor", nil, &d); err != nil {
					return err
				}
				return c.printDiagnosis(d)
			})
		}}
}

func (c *cli) printDiagnosis(d Diagnosis) error {
	if c.json {
		if err := c.object(d, ""); err != nil {
			return err
		}
	} else {
		for _, f := range d.Findings {
			fmt.Fprintf(c.stdout, "%-8s  %s: %s\n          %s\n", f.Severity, f.ID, f.What, f.Fix)
		}
	}
	serious := 0
	for _, f := range d.Findings {
		if f.Severity != info {
			serious++
		}
	}
	if d.OK {
		if !c.json {
			fmt.Fprintln(c.stdout, "ok")
		}
		return nil
	}
	return fmt.Errorf("%d findings ask for somebody", serious)
}
