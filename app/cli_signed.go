package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"
)

// text reads an answer that is not for decoding.
func (c *client) text(ctx context.Context, path string) (string, error) {
	text, _, err := c.signedText(ctx, path)
	return text, err
}

// signedText reads a signature, and the key that it is made with.
func (c *client) signedText(ctx context.Context, path string) (text, key string, err error) {
	resp, err := c.do(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	text, err = readText(resp.Body)
	return text, resp.Header.Get("X-Verifier-Key"), err
}

func readText(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, 64<<20))
	return string(b), err
}

// writeFiles writes what is for its owner alone, by name.
func writeFiles(files map[string]string) error {
	for name, content := range files {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// verifySigned is the command that checks something the appliance signed, where
// there may be no appliance.
func verifySigned(what string, check func(content, signature []byte, key string) error) *cobra.Command {
	var key, signature string
	cmd := &cobra.Command{Use: "verify FILE --key KEY", Short: "Check " + what + " and its signature; needs no appliance", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVar(&key, "key", "", "verifier key, as the appliance showed it")
	cmd.Flags().StringVar(&signature, "signature", "", "file with the signature; FILE.sig where it is not given")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if key == "" {
			return fmt.Errorf("%w: name the verifier key with --key", errUsage)
		}
		if signature == "" {
			signature = args[0] + ".sig"
		}
		content, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		sig, err := os.ReadFile(signature)
		if err != nil {
			return err
		}
		return check(content, sig, key)
	}
	return cmd
}
