package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app/custody"
	"holdfast/backup/objects"
	"holdfast/data/keys"
)

// restoredKeys is what `keys restore` prints.
type restoredKeys struct {
	From   string `json:"from"`
	Made   string `json:"made,omitempty"`
	Serial uint64 `json:"serial"`
	Keys   int    `json:"keys"`
}

func (c *cli) keysRestore() *cobra.Command {
	var from, id string
	var previous bool
	var s secretFlags
	cmd := &cobra.Command{
		Use: "restore --previous | --from FILE|URL", Short: "Bring lost or damaged key files back, with the server stopped",
		Long: "Brings back slots and keyring: from the keyring's previous generation (the last change is lost), or from an\n" +
			"off-host copy: a file, or the URL of a target (S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY). It needs the secret\n" +
			"of a slot; without one it tries the credential and the key file of this host.", Args: usage(cobra.NoArgs),
	}
	s.add(cmd)
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "a copy's file, or s3://bucket/prefix?..., file:///folder of a target")
	f.StringVar(&id, "id", "", "which appliance's copies, where a target has several")
	f.BoolVar(&previous, "previous", false, "go back to the keyring before its last change")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if previous == (from != "") {
			return fmt.Errorf("%w: say --previous or --from", errUsage)
		}
		if err := c.config.validate(); err != nil {
			return err
		}
		ways, err := c.ways(s)
		if err != nil {
			return err
		}
		return c.restoreKeys(cmd.Context(), from, id, ways)
	}
	return cmd
}

// ways are the secret that was given, else what this host opens with.
func (c *cli) ways(s secretFlags) (ways []keys.Slot, err error) {
	if s.given() > 0 {
		secret, err := c.read(s)
		if err != nil {
			return nil, err
		}
		way, err := secret.Slot()
		return []keys.Slot{way}, err
	}
	if path := credentialPath(); path != "" {
		ways = append(ways, keys.Credential(path))
	}
	return append(ways, keys.KeyFile(c.config.KeyFile)), nil
}

func (c *cli) restoreKeys(ctx context.Context, from, id string, ways []keys.Slot) error {
	f, err := openFolder(c.config.Data)
	if err != nil {
		return err
	}
	defer f.close() //nolint:errcheck // only a lock
	done, ring, err := restoreInto(ctx, f, from, id, ways)
	if err != nil {
		return err
	}
	defer ring.Seal()
	done.Serial, done.Keys = ring.Serial(), len(ring.Entries())
	return c.object(done, "the keys are back from %s: change %d, %s. Start the server.", done.From, done.Serial, counted(done.Keys, "key"))
}

func restoreInto(ctx context.Context, f *folder, from, id string, ways []keys.Slot) (restoredKeys, *keys.Ring, error) {
	dir := f.in("keys")
	if from == "" {
		ring, err := restorePrevious(dir, f, ways)
		return restoredKeys{From: keys.PreviousFile}, ring, err
	}
	found, name, err := findCopy(ctx, from, id)
	if err != nil {
		return restoredKeys{}, nil, err
	}
	done := restoredKeys{From: name, Made: when(&found.Made)}
	var errs []error
	for _, way := range ways {
		ring, err := found.Restore(dir, way)
		if err == nil {
			return done, ring, nil
		}
		errs = append(errs, err)
	}
	return done, nil, errors.Join(errs...)
}

func restorePrevious(dir string, f *folder, ways []keys.Slot) (*keys.Ring, error) {
	slots, err := keys.OpenSlots(f.in("keys", keys.SlotsFile))
	if err != nil {
		return nil, err
	}
	root, err := slots.Unlock(ways...)
	if err != nil {
		return nil, err
	}
	return keys.RecoverRing(dir, root)
}

// findCopy reads a copy from a file, or the newest from a target.
func findCopy(ctx context.Context, from, id string) (keys.Copy, string, error) {
	if !strings.Contains(from, "://") {
		b, err := os.ReadFile(from)
		if err != nil {
			return keys.Copy{}, from, err
		}
		found, err := keys.ParseCopy(b)
		return found, from, err
	}
	store, err := objects.Open(from, objects.Credentials{AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY")})
	if err != nil {
		return keys.Copy{}, from, fmt.Errorf("%w: %w", errUsage, err)
	}
	found, held, err := custody.Newest(ctx, store, id)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w", from, err)
	}
	return found, held.Name, err
}
