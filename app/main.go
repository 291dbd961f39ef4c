// Package app assembles the house: configuration, the appliance and the
// command line. It is the only place where rooms meet.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"holdfast/app/edge"
)

// Exit codes of the command line.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
)

// errUsage marks an error that the caller's words caused.
var errUsage = errors.New("wrong use")

// Main runs one command and returns its exit code. It never calls os.Exit, so
// tests run it in-process.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cli := &cli{stdin: stdin, stdout: stdout, stderr: stderr}
	root := cli.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(stderr, "holdfast: "+err.Error())
	return exitCode(err)
}

// exitCode tells wrong use, refusals by policy and failures apart.
func exitCode(err error) int {
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, edge.ErrInsecure):
		return exitRefused
	}
	var p *problem
	if !errors.As(err, &p) {
		return exitFailed
	}
	switch p.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return exitUsage
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusGone, http.StatusLocked:
		return exitRefused
	}
	return exitFailed
}

// usage makes cobra's argument errors exit with code 2.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fmt.Errorf("%w: %w (usage: %s)", errUsage, err, cmd.UseLine())
		}
		return nil
	}
}
