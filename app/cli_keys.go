package app

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app/custody"
	"holdfast/data/keys"
)

func (c *cli) keys() *cobra.Command {
	return group("keys", "The root key's slots, the keyring, rotation, copies off this host",
		c.keysStatus(), c.keysAddSlot(), c.keysProve(), c.keysRemoveSlot(), c.keysRecovery(), c.keysRotate(),
		c.keysCopies(), c.keysNewCredential(), c.keysRestore())
}

// keysState is what `keys status` prints.
type keysState struct {
	custody.Status
	Entries []custody.Entry `json:"entries"`
}

func (c *cli) keysStatus() *cobra.Command {
	var owner string
	cmd := &cobra.Command{Use: "status [--owner OWNER]", Short: "Show slots, keys, copies and what is not as it should be", Args: usage(cobra.NoArgs)}
	cmd.Flags().StringVar(&owner, "owner", "system", "whose keys to list: system, or TENANT; - for all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			var s keysState
			if err := cl.call(cmd.Context(), "GET", "/api/v1/keys", nil, &s.Status); err != nil {
				return err
			}
			var err error
			if s.Entries, err = all[custody.Entry](cmd.Context(), cl, "/api/v1/keys/entries?owner="+url.QueryEscape(strings.TrimPrefix(owner, "-"))); err != nil {
				return err
			}
			if c.json {
				return c.object(s, "")
			}
			return c.printKeys(s)
		})
	}
	return cmd
}

func (c *cli) printKeys(s keysState) error {
	fmt.Fprintf(c.stdout, "root key %s\n\n", s.Root)
	err := table(c, s.Slots, "SLOT KIND CREATED LAST-PROVEN UNATTENDED", func(i custody.Slot) []any {
		return []any{i.ID, i.Kind, when(i.Created), when(i.Proven), i.Unattended}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "\nkeyring: change %d, %s\n", s.Ring.Serial, counted(s.Ring.Owners, "owner"))
	err = table(c, s.Entries, "OWNER PURPOSE GENERATION STATE CREATED SEALS", func(e custody.Entry) []any {
		return []any{nameOr(e.Name, e.Owner), e.Purpose, e.Generation, e.State, when(&e.Created), sealsOf(e)}
	})
	if err != nil {
		return err
	}
	for _, e := range s.Entries {
		if e.Needed != "" {
			fmt.Fprintf(c.stdout, "%s %s %d stays: %s\n", nameOr(e.Name, e.Owner), e.Purpose, e.Generation, e.Needed)
		}
	}
	fmt.Fprintf(c.stdout, "\ncopies off this host, older ones kept %s\n", lasting(time.Duration(s.Copies.HorizonSeconds)*time.Second))
	if err := c.printCopies(s.Copies); err != nil {
		return err
	}
	fmt.Fprintln(c.stdout)
	for _, f := range s.Findings {
		fmt.Fprintf(c.stdout, "%s: %s\n  %s\n", f.Severity, f.Text, f.Fix)
	}
	return nil
}

func (c *cli) printCopies(s custody.CopyState) error {
	return table(c, s.Targets, "TARGET STATE NEWEST HELD OLDEST ERROR", func(t custody.CopyTarget) []any {
		newest := "-"
		if t.Newest != nil {
			newest = when(&t.Newest.Made)
		}
		return []any{t.Target, t.State, newest, len(t.Held), when(t.Oldest), t.Error}
	})
}

// sealsOf is how often a key sealed, of how often it may.
func sealsOf(e custody.Entry) string {
	if e.Bound == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d", e.Seals, e.Bound)
}

func nameOr(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

func when(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

func (c *cli) keysAddSlot() *cobra.Command {
	var n custody.NewSlot
	var secret secretFlags
	cmd := &cobra.Command{
		Use: "add-slot passphrase|key-file|credential|age|shares", Short: "Add a way to open the root key; it is opened once before it counts",
		Long: `Adds a slot:
  passphrase   --passphrase-stdin, or typed
  key-file     --file PATH on this host; made when it is not there
  credential   what the service manager gave the server as ` + custody.CredentialName + ` (see: holdfast keys new-credential)
  age          --recipient age1..., then: holdfast keys prove ID --age-answer-stdin; or --age-identity-stdin at once
  shares       --need 3 --of 5; the shares are shown once`, Args: usage(cobra.ExactArgs(1)),
	}
	secret.add(cmd)
	f := cmd.Flags()
	f.StringVar(&n.File, "file", "", "key-file: its path")
	f.StringVar(&n.Recipient, "recipient", "", "age: the public half, age1...")
	f.IntVar(&n.Need, "need", 3, "shares: how many open")
	f.IntVar(&n.Of, "of", 5, "shares: how many are made")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		n.Kind = args[0]
		if err := c.completeSlot(&n, secret); err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var added custody.Added
			if err := cl.call(cmd.Context(), "POST", "/api/v1/keys/slots", n, &added); err != nil {
				return err
			}
			return c.showAdded(added)
		})
	}
	return cmd
}

// completeSlot reads what the kind needs from standard input.
func (c *cli) completeSlot(n *custody.NewSlot, s secretFlags) (err error) {
	switch n.Kind {
	case "passphrase":
		n.Passphrase, err = c.ask("New passphrase: ")
	case "key-file":
		if n.File != "" {
			n.File, err = filepath.Abs(n.File)
		}
	case "age":
		if s.identity {
			err = c.askIdentity(n)
		} else if n.Recipient == "" {
			err = fmt.Errorf("%w: give --recipient age1... or --age-identity-stdin", errUsage)
		}
	}
	if n.Kind != "shares" {
		n.Need, n.Of = 0, 0
	}
	return err
}

// askIdentity reads the private half, and says of which recipient it is.
func (c *cli) askIdentity(n *custody.NewSlot) (err error) {
	if n.Identity, err = c.ask("Age identity: "); err != nil || n.Recipient != "" {
		return err
	}
	n.Recipient, err = keys.RecipientOf(n.Identity)
	return err
}

func (c *cli) showAdded(a custody.Added) error {
	switch {
	case c.json:
		return c.object(a, "")
	case a.Challenge != "":
		return c.object(a, "Slot %s waits for its proof, an hour at most. Where the identity is:\n\n%s\n\nsave these lines as a file, run  age -d -i IDENTITY FILE  and bring what it prints to:\n\n"+
			"    holdfast keys prove %s --age-answer-stdin", a.ID, a.Challenge, a.ID)
	case len(a.Shares) > 0:
		fmt.Fprintf(c.stdout, "slot %s added and opened. Its shares, shown this once, one for each holder:\n\n", a.ID)
		for i, share := range a.Shares {
			fmt.Fprintf(c.stdout, "    %d  %s\n", i+1, share)
		}
		return nil
	}
	return c.object(a, "slot %s (%s) added and opened", a.ID, a.Kind)
}

func (c *cli) keysProve() *cobra.Command {
	var s secretFlags
	cmd := &cobra.Command{Use: "prove ID", Short: "Open a slot by its secret: adds one that was begun, ends the recovery keys before a new one", Args: usage(cobra.ExactArgs(1))}
	s.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		secret, err := c.read(s)
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error { return c.prove(cmd.Context(), cl, args[0], secret) })
	}
	return cmd
}

func (c *cli) prove(ctx context.Context, cl *client, id string, secret custody.Secret) error {
	var p custody.Proven
	if err := cl.call(ctx, "POST", "/api/v1/keys/slots/"+url.PathEscape(id)+"/proof", secret, &p); err != nil {
		return err
	}
	ended := ""
	if len(p.Removed) > 0 {
		ended = "; ended: " + strings.Join(p.Removed, ", ")
	}
	return c.object(p, "slot %s (%s) opens%s", p.ID, p.Kind, ended)
}

func (c *cli) keysRemoveSlot() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{Use: "remove-slot ID", Short: "Take a way to open the root key away; never the last one", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().BoolVar(&yes, "yes", false, "also the last slot that opens without a person")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			path := fmt.Sprintf("/api/v1/keys/slots/%s?sure=%t", url.PathEscape(args[0]), yes)
			if err := cl.call(cmd.Context(), "DELETE", path, nil, nil); err != nil {
				return err
			}
			return c.object(map[string]any{"id": args[0], "ok": true}, "slot %s removed", args[0])
		})
	}
	return cmd
}

func (c *cli) keysRecovery() *cobra.Command {
	return &cobra.Command{
		Use: "recovery", Short: "Make a new recovery key, shown once; the old one ends when the new one is proven",
		Long: "Makes a new recovery key and shows it once. At a terminal it then asks to type it back, which ends the old one;\nelsewhere prove it with: holdfast keys prove ID --recovery-key-stdin", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(cl *client) error {
				var made custody.NewRecovery
				if err := cl.call(cmd.Context(), "POST", "/api/v1/keys/recovery", nil, &made); err != nil {
					return err
				}
				return c.showRecovery(cmd.Context(), cl, made)
			})
		},
	}
}

func (c *cli) showRecovery(ctx context.Context, cl *client, made custody.NewRecovery) error {
	err := c.object(made, "Recovery key, shown this once. Write it down and keep it away from this host:\n\n    %s\n\n"+
		"The one before it goes on opening until this one is proven:\n\n    holdfast keys prove %s --recovery-key-stdin", made.RecoveryKey, made.ID)
	if _, person := c.terminal(); err != nil || !person || c.json {
		return err
	}
	typed, err := c.ask("Type it back (or press Ctrl-C and prove it later): ")
	if err != nil {
		return err
	}
	return c.prove(ctx, cl, made.ID, custody.Secret{RecoveryKey: typed})
}

func (c *cli) keysNewCredential() *cobra.Command {
	return &cobra.Command{
		Use: "new-credential", Short: "Print a new secret for the service manager, to be piped into it",
		Long: "Prints a new secret. Pipe it where it is kept, then add the slot:\n\n" +
			"    holdfast keys new-credential | systemd-creds encrypt --name=" + custody.CredentialName + " - /etc/credstore.encrypted/" + custody.CredentialName + "\n" +
			"    # in the unit: LoadCredentialEncrypted=" + custody.CredentialName + "; restart; then:\n" +
			"    holdfast keys add-slot credential", Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := c.stdout.Write(keys.NewKeyFile())
			return err
		},
	}
}
