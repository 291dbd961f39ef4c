package app

import (
	"fmt"

	"github.com/spf13/cobra"
)

// scrubResult is what the operation answers.
type scrubResult struct {
	OK       bool         `json:"ok"`
	Pages    int64        `json:"pages"`
	Files    int64        `json:"files"`
	Compared int64        `json:"compared"`
	Against  string       `json:"against,omitempty"`
	Findings []scrubFound `json:"findings"`
}

type scrubFound struct {
	File   string `json:"file"`
	Page   uint32 `json:"page,omitempty"`
	Reason string `json:"reason"`
}

func (f scrubFound) String() string {
	if f.Page == 0 {
		return f.File + ": " + f.Reason
	}
	return fmt.Sprintf("%s, page %d: %s", f.File, f.Page, f.Reason)
}

func (c *cli) scrub() *cobra.Command {
	return &cobra.Command{Use: "scrub TENANT", Short: "Read a tenant's store through on disk, and hold it against its last snapshot",
		Long: "Authenticates every page and every file of the store while it is in use, and holds what did not\n" +
			"change since the last snapshot against it. Damage is listed by file and page; exit code 1.",
		Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
			return storeOperation(cmd.Context(), c, args[0], "/scrub", nil, func(s scrubResult) error {
				if err := c.object(s, "%s and %s read, %d held against the last snapshot: %s", counted(s.Pages, "page"), counted(s.Files, "file"), s.Compared, verdict(s.OK)); err != nil || s.OK {
					return err
				}
				return fmt.Errorf("%s is damaged in %s, first %s", args[0], counted(len(s.Findings), "place"), s.Findings[0])
			})
		}}
}
