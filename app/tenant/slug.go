package tenant

import (
	"slices"
	"strings"

	"holdfast/app/api"
	"holdfast/data"
)

// maxSlug leaves room for "--<env>--studio" within a DNS label of 63 bytes.
const (
	maxSlug = 40
	maxName = 100 // runes
)

// reserved are host labels and paths that mean something else, or that people
// would take for the appliance's own.
var reserved = []string{
	"account", "acme-challenge", "admin", "administrator", "api", "appliance", "assets", "audit", "auth", "autoconfig",
	"autodiscover", "backup", "cdn", "console", "dashboard", "dev", "dns", "ftp", "healthz", "holdfast", "host", "hostmaster",
	"imap", "internal", "invalid", "isatap", "local", "localhost", "login", "mail", "metrics", "mx", "ns", "ns1", "ns2", "ns3",
	"ns4", "oauth", "operator", "pop", "pop3", "postmaster", "prod", "readyz", "root", "security", "setup", "signin", "smtp", "ssl", "sso",
	"static", "status", "studio", "support", "system", "t", "tenant", "tenants", "test", "trust", "v1", "vault", "webmail", "webmaster",
	"wpad", "www",
}

// checkSlug says what is wrong with a slug as a 422, or nil.
func checkSlug(slug string) error {
	switch {
	case slug == "":
		return api.InvalidField("slug", "is missing")
	case len(slug) > maxSlug:
		return api.InvalidField("slug", "is longer than %d characters", maxSlug)
	case strings.Trim(slug, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return api.InvalidField("slug", "may hold a-z, 0-9 and - only")
	case slug[0] == '-' || slug[len(slug)-1] == '-':
		return api.InvalidField("slug", "may not begin or end with -")
	case strings.Contains(slug, "--"):
		return api.InvalidField("slug", "may not hold -- (it parts a slug from an environment)")
	case slices.Contains(reserved, slug):
		return api.InvalidField("slug", "%q is reserved", slug)
	}
	return nil
}

// checkName gives the name for people, the slug where none is given.
func checkName(name, slug string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" {
		return slug, nil
	}
	if len([]rune(name)) > maxName {
		return "", api.InvalidField("name", "is longer than %d characters", maxName)
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return "", api.InvalidField("name", "holds a control character")
	}
	return name, nil
}

// checkEnvironment refuses what cannot be made: prod is always there.
func checkEnvironment(name string) error {
	if name != data.Test && name != data.Dev {
		return api.InvalidField("name", "%q is no environment that can be made: want test or dev", name)
	}
	return nil
}

// splitRef reads "slug" or "slug/env".
func splitRef(ref string) (slug, environment string) {
	slug, environment, ok := strings.Cut(ref, "/")
	if !ok {
		environment = data.Prod
	}
	return slug, environment
}
