package app

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"holdfast/app/custody"
)

// secretFlags say what kind of secret comes from standard input.
type secretFlags struct{ passphrase, recovery, identity, answer, shares bool }

func (s *secretFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&s.passphrase, "passphrase-stdin", false, "read the passphrase from standard input")
	f.BoolVar(&s.recovery, "recovery-key-stdin", false, "read the recovery key from standard input")
	f.BoolVar(&s.identity, "age-identity-stdin", false, "read the age identity (or its whole file) from standard input")
	f.BoolVar(&s.answer, "age-answer-stdin", false, "read what the slot's age file held from standard input")
	f.BoolVar(&s.shares, "shares-stdin", false, "read shares from standard input, a line each")
}

func (s *secretFlags) given() (n int) {
	for _, set := range []bool{s.passphrase, s.recovery, s.identity, s.answer, s.shares} {
		if set {
			n++
		}
	}
	return n
}

// read takes the one secret that was announced.
func (c *cli) read(s secretFlags) (custody.Secret, error) {
	if s.given() != 1 {
		return custody.Secret{}, fmt.Errorf("%w: say one of --passphrase-stdin, --recovery-key-stdin, --age-identity-stdin, --age-answer-stdin, --shares-stdin", errUsage)
	}
	text, err := c.ask("Secret: ")
	if err != nil {
		return custody.Secret{}, err
	}
	switch {
	case s.passphrase:
		return custody.Secret{Passphrase: text}, nil
	case s.recovery:
		return custody.Secret{RecoveryKey: text}, nil
	case s.identity:
		return custody.Secret{AgeIdentity: text}, nil
	case s.answer:
		return custody.Secret{AgeAnswer: text}, nil
	}
	return custody.Secret{Shares: lines(text)}, nil
}

// lines are those that hold anything, without comments.
func lines(text string) (found []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			found = append(found, line)
		}
	}
	return found
}

// terminal is standard input when a person sits at it.
func (c *cli) terminal() (fd int, ok bool) {
	f, isFile := c.stdin.(*os.File)
	if !isFile {
		return 0, false
	}
	fd = int(f.Fd()) //nolint:gosec // a descriptor is a small number
	return fd, term.IsTerminal(fd)
}

// ask reads a secret: a line that is not shown from a terminal, else all of
// standard input.
func (c *cli) ask(prompt string) (string, error) {
	fd, ok := c.terminal()
	if !ok {
		return c.secret()
	}
	fmt.Fprint(c.stderr, prompt)
	b, err := term.ReadPassword(fd)
	fmt.Fprintln(c.stderr)
	if err != nil {
		return "", fmt.Errorf("read the secret: %w", err)
	}
	if len(b) == 0 {
		return "", fmt.Errorf("%w: nothing was typed", errUsage)
	}
	return string(b), nil
}

func (c *cli) unseal() *cobra.Command {
	var s secretFlags
	cmd := &cobra.Command{
		Use: "unseal --passphrase-stdin|--recovery-key-stdin|--age-identity-stdin|--shares-stdin", Short: "Unseal a running server",
		Long: "Unseals a running server. Shares may come one by one, from several persons: each is kept for ten minutes.", Args: usage(cobra.NoArgs),
	}
	s.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		secret, err := c.read(s)
		if err != nil {
			return err
		}
		bodies := []any{secret}
		if s.shares {
			bodies = bodies[:0]
			for _, share := range secret.Shares {
				bodies = append(bodies, map[string]string{"share": share})
			}
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var status Status
			for _, body := range bodies {
				if err := cl.call(cmd.Context(), "POST", "/api/v1/unseal", body, &status); err != nil {
					return err
				}
			}
			return c.unsealed(status)
		})
	}
	return cmd
}

func (c *cli) unsealed(s Status) error {
	if !s.Sealed {
		return c.object(map[string]any{"sealed": false}, "the appliance is unsealed")
	}
	have, need := 0, 0
	if s.Unseal != nil && len(s.Unseal.Shares) > 0 {
		have, need = s.Unseal.Shares[0].Have, s.Unseal.Shares[0].Need
	}
	return c.object(map[string]any{"sealed": true, "have": have, "need": need}, "%d of %d shares; the others have ten minutes", have, need)
}
