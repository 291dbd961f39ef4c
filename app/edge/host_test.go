package edge

import (
	"strings"
	"testing"
)

func TestHostName(t *testing.T) {
	for in, want := range map[string]string{
		"localhost": "localhost", "LocalHost:80": "localhost", "localhost.": "localhost", "a.b.example:443": "a.b.example",
		"127.0.0.1:8090": "127.0.0.1", "[::1]:80": "::1", "[::1]": "::1", "[::ffff:127.0.0.1]:1": "127.0.0.1",
		"": "", ":80": "", "a..b": "", "a b": "", "localhost:x": "", "http://a.example": "", "a_b": "", "-a.example": "", "a-.example": "", "é.example": "",
		strings.Repeat("a", 64) + ".example": "", strings.Repeat("a.", 130): "", "a.example/x": "", "user@a.example": "",
	} {
		got, ok := hostName(in)
		if got != want || ok != (want != "") {
			t.Errorf("%q: got %q %v, want %q", in, got, ok, want)
		}
	}
}

func TestLabels(t *testing.T) {
	for label, want := range map[string]place{
		"acme":                 {tenantHost, "acme", "prod"},
		"a-b-c":                {tenantHost, "a-b-c", "prod"},
		"acme--test":           {tenantHost, "acme", "test"},
		"acme--studio":         {studioHost, "acme", "prod"},
		"acme--dev--studio":    {studioHost, "acme", "dev"},
		"acme--prod":           {},
		"acme--prod--studio":   {},
		"acme--":               {},
		"acme---test":          {},
		"--acme":               {},
		"acme--a--b":           {},
		"acme--studio--test":   {},
		"acme--studio--studio": {},
		"acme--a--b--studio":   {},
		"":                     {},
	} {
		if got := readLabel(label); got != want {
			t.Errorf("%q: got %+v, want %+v", label, got, want)
		}
	}
}

// FuzzHost: whatever comes as Host, a tenant's or studio place is written only one
// way, and what is written reads back.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"acme--test--studio.localhost:8090", "localhost", "[::1]:80", "a.b.c", "acme--prod.localhost", "x.data.example.com."} {
		f.Add(s)
	}
	domains := []string{"localhost", "data.example.com"}
	f.Fuzz(func(t *testing.T, host string) {
		name, ok := hostName(host)
		if !ok {
			return
		}
		if again, ok := hostName(name); !ok && !strings.Contains(name, ":") || (ok && again != name) {
			t.Fatalf("%q reads as %q, which reads as %q", host, name, again)
		}
		p := locate(name, domains)
		if p.kind != tenantHost && p.kind != studioHost {
			return
		}
		label, _, _ := strings.Cut(name, ".")
		if p.label() != label || !isLabel(p.slug) || strings.Contains(p.slug, "--") || !isLabel(p.environment) {
			t.Fatalf("%q leads to %+v, whose label is %q", host, p, p.label())
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/t/acme/api/x", "/t/acme/test/api/x", "/t//api/", "/t/acme/../api/", "/t/a--b/api/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		slug, environment, rest, ok := pathTarget(path)
		if !ok {
			return
		}
		if !isLabel(slug) || strings.Contains(slug, "--") || !isEnvironment(environment) || !strings.HasPrefix(rest, "/api/") {
			t.Fatalf("%q leads to %q %q %q", path, slug, environment, rest)
		}
		if !strings.HasSuffix(path, rest) {
			t.Fatalf("%q: the rest %q is not its end", path, rest)
		}
	})
}
