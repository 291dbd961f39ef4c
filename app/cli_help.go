package app

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// polish gives a command what would be the same words in each of them: names for the
// values of its flags, completion of tenants.
func (c *cli) polish(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	name := func(f *pflag.Flag) { nameValue(cmd.Name(), f) }
	cmd.Flags().VisitAll(name)
	cmd.PersistentFlags().VisitAll(name)
	if takesTenant(cmd) {
		cmd.ValidArgsFunction = c.completeTenant
	}
}

// everyCommand walks the tree from its root down.
func everyCommand(cmd *cobra.Command, fn func(*cobra.Command)) {
	fn(cmd)
	for _, sub := range cmd.Commands() {
		everyCommand(sub, fn)
	}
}

// valueNames say in the help what a flag takes, as the synopses of the commands do.
var valueNames = map[string]string{
	"about": "TEXT", "acme": "URL", "acme-roots": "FILE", "addr": "HOST:PORT", "allow": "PERMISSION,...", "answer": "DAYS", "as": "SLUG", "at": "TIME", "breached-passwords": "FILE",
	"client-id": "ID", "collection": "COLLECTION", "collections": "COLLECTION,...", "conflict": "RULE", "data": "DIR", "deny": "PERMISSION,...",
	"domain": "NAME", "dormant": "DAYS", "drop": "KIND,...", "durability": "full|relaxed", "email": "ADDRESS", "emergency": "yes|no", "every": "DAYS", "expires": "LENGTH",
	"file": "FILE", "filter": "EXPRESSION", "for": "LENGTH", "id": "ID", "issuer": "URL", "key": "KEY", "key-copies-kept": "LENGTH", "key-file": "FILE",
	"kind": "KIND", "last": "N", "mail-from": "ADDRESS", "mail-roots": "FILE", "mail-tls": "KIND", "mail-user": "NAME", "max-upload": "SIZE", "memory-budget": "SIZE",
	"keep-unproven": "on|off", "mfa-acr": "ACR", "name": "NAME", "need": "N", "note": "TEXT", "notice": "DAYS", "of": "N", "output": "FILE", "overlap": "LENGTH", "owner": "OWNER",
	"permissions": "PERMISSION,...", "place": "PLACE", "query-timeout": "LENGTH", "rate": "N", "reason": "TEXT", "recipient": "RECIPIENT", "record": "ID",
	"redirect-addr": "HOST:PORT", "region": "REGION", "role": "ROLE", "sample": "SHARE", "scope": "SCOPE", "sequence": "N", "signature": "FILE", "since": "FILE", "state": "STATE",
	"storage-class": "CLASS", "target": "NAME", "tenant": "TENANT", "to": "DAY", "undelete-window": "LENGTH", "undo": "ID", "unused-keys": "DAYS", "until": "DAY", "warn": "DAYS", "why": "TEXT",
	"totp": "on|off", "passkeys": "on|off", "second-factor": "RULE", "origins": "URL,...", "min-length": "N", "min-bits": "N", "history": "N", "refuse-common": "on|off",
	"token-life": "LENGTH", "max-age": "LENGTH", "end-on-change": "on|off", "account-tries": "N", "address-tries": "N", "longest-wait": "LENGTH",
}

// otherNames are of flags that mean something else in one command.
var otherNames = map[string]map[string]string{
	"create":  {"from": "ADDRESS,..."},
	"import":  {"key": "FIELD"},
	"require": {"from": "DAY"},
	"report":  {"from": "DAY"},
	"restore": {"from": "URL", "confirm": "ID"},
}

// namedValue is a flag's value whose type the help calls by a name.
type namedValue struct {
	pflag.Value
	name string
}

func (v namedValue) Type() string { return v.name }

func nameValue(command string, f *pflag.Flag) {
	if t := f.Value.Type(); t == "bool" || strings.Contains(f.Usage, "`") {
		return
	}
	name, ok := otherNames[command][f.Name]
	if !ok {
		name, ok = valueNames[f.Name]
	}
	if ok {
		f.Value = namedValue{f.Value, name}
		f.DefValue = strings.TrimSuffix(f.DefValue, "[]")
	}
}

// takesTenant says whether a command's first argument is a tenant that is there.
func takesTenant(cmd *cobra.Command) bool {
	_, args, _ := strings.Cut(cmd.Use, " ")
	for _, word := range []string{"TENANT", "[TENANT", "SLUG"} {
		if strings.HasPrefix(args, word) {
			return cmd.CommandPath() != "holdfast tenant create"
		}
	}
	return false
}

// completeTenant offers the tenants' slugs while a server runs. It opens no data
// folder: that would take longer than a key press.
func (c *cli) completeTenant(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 || environment(cmd) != nil || c.config.validate() != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	cl, err := c.dialServer(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer cl.close() //nolint:errcheck // idle connections
	tenants, _ := all[tenantRow](cmd.Context(), cl, "/api/v1/tenants")
	var found []cobra.Completion
	for _, t := range tenants {
		found = append(found, cobra.CompletionWithDesc(t.Slug, t.Name))
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}
