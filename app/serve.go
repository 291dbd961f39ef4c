package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app/custody"
)

// drainTime is how long running requests may take after SIGTERM.
const drainTime = 20 * time.Second

func (c *cli) serve() *cobra.Command {
	cmd := &cobra.Command{Use: "serve", Short: "Run the appliance", Args: usage(cobra.NoArgs)}
	f := cmd.Flags()
	f.StringVar(&c.config.Addr, "addr", c.config.Addr, "HOST:PORT to listen on")
	f.StringSliceVar(&c.config.Domains, "domain", nil, "public name, the first is the console's; turns HTTPS on")
	f.BoolVar(&c.config.InsecureHTTP, "insecure-http", false, "allow plain HTTP on an address that others can reach")
	f.StringVar(&c.config.RedirectAddr, "redirect-addr", "", "HOST:PORT of plain HTTP that leads to HTTPS, - for none; :80 with --domain")
	f.StringVar(&c.config.ACME, "acme", "", "directory URL of the certificate authority; Let's Encrypt where it is not given")
	f.StringVar(&c.config.ACMERoots, "acme-roots", "", "PEM file with the roots that the certificate authority's own server is trusted by")
	f.DurationVar(&c.config.UndeleteWindow, "undelete-window", 7*24*time.Hour, "how long a deleted tenant can be undeleted before its keys are destroyed")
	f.Lookup("undelete-window").DefValue = "168h"
	f.StringVar(&c.config.Email, "email", "", "contact for the certificate authority")
	f.DurationVar(&c.config.KeyCopiesKept, "key-copies-kept", custody.DefaultHorizon, "how long an older copy of the keys stays off this host")
	f.Lookup("key-copies-kept").DefValue = "168h"
	f.Var(&c.config.MemoryBudget, "memory-budget", "memory for open stores, as 2GiB; a quarter of the machine's where it is not given")
	f.DurationVar(&c.config.QueryTimeout, "query-timeout", 10*time.Second, "what one query of a store may take before it is ended")
	f.Var(&c.config.MaxUpload, "max-upload", "the largest upload, within its fields' limits; 4GiB where it is not given")
	f.StringVar(&c.config.BreachedPasswords, "breached-passwords", "", "list of SHA-1 hashes of breached passwords, ordered by hash, that new ones are held against")
	f.BoolVar(&c.config.SSOLoopback, "sso-loopback", false, "accept identity providers at http on this host, to try single sign-on out")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return c.runServer(cmd.Context()) }
	return cmd
}

func (c *cli) runServer(ctx context.Context) error {
	if err := c.config.validate(); err != nil {
		return err
	}
	began := time.Now()
	tuneGarbage(firstBudget) // the clock goes on with it
	if err := keepOutOfDumps(); err != nil {
		return fmt.Errorf("keep keys out of crash dumps: %w", err)
	}
	c.config.serves = true
	a, err := OpenAppliance(ctx, c.config, serverLogger(c.stderr))
	if err != nil {
		return err
	}
	// Before anything else can fail: this key is shown once.
	if code := a.RecoveryKey(); code != "" {
		fmt.Fprintf(c.stdout, recoveryText, code, c.config.KeyFile)
	}
	err = a.Listen(ctx)
	if err == nil {
		c.greet(ctx, a, time.Since(began))
		err = a.Wait(ctx)
	}
	return errors.Join(err, a.Close())
}

// greet prints what a person needs next: where the console is, and the setup
// link until somebody has used it.
func (c *cli) greet(ctx context.Context, a *Appliance, took time.Duration) {
	fmt.Fprintf(c.stdout, "Holdfast serves %s (ready in %d ms)\n", a.BaseURL(), took.Milliseconds())
	if a.Sealed() {
		fmt.Fprintf(c.stdout, "It is sealed: %v\nUnseal it at %s or with: holdfast unseal --recovery-key-stdin\n", a.sealedWhy(), a.BaseURL())
		return
	}
	link, err := a.SetupLink(ctx)
	if err != nil {
		fmt.Fprintf(c.stderr, "holdfast: no setup link: %v\n", err)
	}
	if link != "" {
		fmt.Fprintf(c.stdout, setupText, link)
	}
}

const recoveryText = `Recovery key, shown this once. Write it down and keep it away from this host:

    %s

It opens the data when the key file is lost: %s

`

const setupText = `Nobody can sign in yet. Make the first account here (one use, 30 minutes):

    %s

Then create a tenant:  holdfast tenant create acme
`

func serverLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// quietLogger keeps a command's error output for what went wrong.
func quietLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelError}))
}
