package app

import (
	"context"
	"fmt"
)

// restoreAll is restore on a bare host.
func (c *cli) restoreAll(_ context.Context, f *restoreFlags, args []string) error {
	if len(args) > 0 || f.from == "" {
		return fmt.Errorf("%w: restore --all --from URL, and no TENANT", errUsage)
	}
	return fmt.Errorf("%w: not built yet", errUsage)
}
