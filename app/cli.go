package app

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// cli is one run of the command line.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	config         Config
	json           bool
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "holdfast",
		Short:             "Sealed stores for many tenants, with proof",
		Version:           Version(),
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return environment(cmd) },
		Args:              usage(cobra.NoArgs),
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.config = DefaultConfig()
	root.PersistentFlags().StringVar(&c.config.Data, "data", c.config.Data, "data folder")
	root.PersistentFlags().StringVar(&c.config.KeyFile, "key-file", c.config.KeyFile, "key file that opens the root key")
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print JSON: one object, or one a line for lists")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w (usage: %s)", errUsage, err, cmd.UseLine())
	})
	chapter(root, "The appliance:", c.serve(), c.unseal(), c.doctor(), c.operation(), c.mail())
	chapter(root, "Tenants and their data:", c.tenant(), c.key(), c.importRecords(), c.export(), c.users())
	chapter(root, "People:", c.operator(), c.person(), c.member(), c.role(), c.permission(), c.invite(), c.access(), c.approval(), c.review(), c.secondFactor(), c.sso())
	chapter(root, "Snapshots and restore:", c.target(), c.snapshot(), c.restore(), c.drill(), c.scrub(), c.acceptLoss())
	chapter(root, "Keys and proof:", c.keys(), c.audit(), c.disposal(), c.erase())
	everyCommand(root, c.polish)
	return root
}

// chapter adds commands under a heading of the help.
func chapter(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, cmd := range commands {
		cmd.GroupID = title
		root.AddCommand(cmd)
	}
}

// environment gives each flag that was not set its HOLDFAST_* variable.
func environment(cmd *cobra.Command) error {
	var err error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := "HOLDFAST_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if !ok || f.Changed || err != nil {
			return
		}
		if e := cmd.Flags().Set(f.Name, value); e != nil {
			err = fmt.Errorf("%w: %s: %w", errUsage, name, e)
		}
	})
	return err
}

// group is a command that only holds others; an unknown word is wrong use.
func group(name, short string, sub ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(sub...)
	return cmd
}

// object prints one result: the object itself with --json, else the sentence.
func (c *cli) object(v any, sentence string, args ...any) error {
	if c.json {
		return json.NewEncoder(c.stdout).Encode(v)
	}
	_, err := fmt.Fprintf(c.stdout, sentence+"\n", args...)
	return err
}

// table prints a list: one JSON object a line with --json, else columns.
func table[T any](c *cli, items []T, header string, row func(T) []any) error {
	if c.json {
		enc := json.NewEncoder(c.stdout)
		for _, item := range items {
			if err := enc.Encode(item); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(c.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(header, " ", "\t"))
	for _, item := range items {
		writeRow(w, row(item))
	}
	return w.Flush()
}

func writeRow(w io.Writer, cells []any) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, cell)
	}
	fmt.Fprintln(w)
}

// secret reads one secret from standard input: never from an argument, where
// other users of the host could see it.
func (c *cli) secret() (string, error) {
	b, err := io.ReadAll(io.LimitReader(c.stdin, 4096))
	if err != nil {
		return "", fmt.Errorf("read the secret from standard input: %w", err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", fmt.Errorf("%w: standard input was empty; pipe the secret in", errUsage)
	}
	return s, nil
}

// storePath turns TENANT (slug or slug/env) into the store's REST path.
func storePath(tenant string) (string, error) {
	slug, env, found := strings.Cut(tenant, "/")
	if !found {
		env = "prod"
	}
	if slug == "" || env == "" || strings.ContainsAny(slug+env, "/?#% ") {
		return "", fmt.Errorf("%w: TENANT is slug or slug/env, not %q", errUsage, tenant)
	}
	return "/api/v1/stores/" + slug + "/" + env, nil
}
