package edge

import (
	"net"
	"net/netip"
	"strings"

	"holdfast/data"
)

// kind is what a host name leads to.
type kind int

const (
	unknownHost kind = iota
	baseHost
	tenantHost
	studioHost
)

// place is a host name, read.
type place struct {
	kind              kind
	slug, environment string
}

const (
	local        = "localhost"
	studioSuffix = "studio"
	separator    = "--"
)

// isLocal names mean this host whatever the configuration.
func isLocal(name string) bool { return name == local || strings.HasSuffix(name, "."+local) }

// hostName gives the one form of a Host header: lower case, without port and
// final dot. It is false for what is neither a name nor an address.
func hostName(hostport string) (string, bool) {
	host := hostport
	if h, port, err := net.SplitHostPort(hostport); err == nil && strings.Trim(port, "0123456789") == "" {
		host = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String(), true
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "" || len(host) > 253 {
		return "", false
	}
	for _, label := range strings.Split(host, ".") {
		if !isLabel(label) {
			return "", false
		}
	}
	return host, true
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// locate reads a host name: one of the domains is the base host, one label below
// is a tenant's.
func locate(name string, domains []string) place {
	for _, d := range domains {
		if name == d {
			return place{kind: baseHost}
		}
		if label, ok := strings.CutSuffix(name, "."+d); ok && !strings.Contains(label, ".") {
			return readLabel(label)
		}
	}
	return place{}
}

// readLabel reads "slug", "slug--env", "slug--studio", "slug--env--studio". Each
// store has one name only: prod is never written.
func readLabel(label string) place {
	parts := strings.Split(label, separator)
	p := place{kind: tenantHost, slug: parts[0], environment: data.Prod}
	rest := parts[1:]
	if n := len(rest); n > 0 && rest[n-1] == studioSuffix {
		p.kind, rest = studioHost, rest[:n-1]
	}
	switch {
	case !isLabel(p.slug) || len(rest) > 1:
		return place{}
	case len(rest) == 0:
		return p
	case !isLabel(rest[0]) || rest[0] == data.Prod || rest[0] == studioSuffix:
		return place{}
	}
	p.environment = rest[0]
	return p
}

// label is the inverse of readLabel.
func (p place) label() string {
	label := p.slug
	if p.environment != data.Prod {
		label += separator + p.environment
	}
	if p.kind == studioHost {
		label += separator + studioSuffix
	}
	return label
}

// pathTarget reads "/t/<slug>/..." and "/t/<slug>/<env>/...". The rest is
// the path in the store, which always begins with "/api/".
func pathTarget(path string) (slug, environment, rest string, ok bool) {
	slug, rest, ok = strings.Cut(strings.TrimPrefix(path, "/t/"), "/")
	if !ok || !isLabel(slug) || strings.Contains(slug, separator) {
		return "", "", "", false
	}
	environment = data.Prod
	if first, after, found := strings.Cut(rest, "/"); found && isEnvironment(first) {
		environment, rest = first, after
	}
	rest = "/" + rest
	return slug, environment, rest, strings.HasPrefix(rest, "/api/")
}

func isEnvironment(s string) bool { return s == data.Prod || s == data.Test || s == data.Dev }
