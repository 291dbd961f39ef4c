// Package app assembles the house: configuration, the appliance and the
// command line. It is the only place where rooms meet.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

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

// usage makes wrong arguments exit with code 2, and says how a command is used.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		switch {
		case err == nil:
			return nil
		case len(args) == 0:
			err = errors.New("something is missing")
		case cmd.HasSubCommands() && check(cmd, args[:1]) != nil: // a group takes none
			err = unknownCommand(cmd, args[0])
		}
		return fmt.Errorf("%w: %w (usage: %s; --help tells more)", errUsage, err, cmd.UseLine())
	}
}

// unknownCommand names those that were perhaps meant.
func unknownCommand(cmd *cobra.Command, word string) error {
	cmd.SuggestionsMinimumDistance = 2
	if meant := cmd.SuggestionsFor(word); len(meant) > 0 {
		return fmt.Errorf("there is no command %q; did you mean %s?", cmd.CommandPath()+" "+word, strings.Join(meant, " or "))
	}
	return fmt.Errorf("there is no command %q", cmd.CommandPath()+" "+word)
}
