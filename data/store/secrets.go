package store

import "regexp"

// PocketBase lets superusers, which keys pass for, filter and sort by hidden
// fields; a filter that asks for more and more of a password's hash reads it in
// the end. Two fields are nobody's to ask for.
var (
	values  = regexp.MustCompile(`'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|//[^\n]*`)
	secrets = regexp.MustCompile(`(?i)(?:^|[^a-z0-9_])(?:tokenkey|password)(?:$|[^a-z0-9_])`)
)

// asksSecret says that a filter or sort names a password or token key, of whatever
// collection. What stands in quotes is a value, what follows // a comment.
func asksSecret(expression string) bool {
	return secrets.MatchString(values.ReplaceAllString(expression, "''"))
}
