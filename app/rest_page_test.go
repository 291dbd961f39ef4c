package app

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"holdfast/app/api"
)

// TestRESTPage: `go test ./app -run RESTPage -update` writes it. The OpenAPI document is
// of the same routes; another library finds it valid.
func TestRESTPage(t *testing.T) {
	const file, begin, end = "../ui/docs/95-rest.md", "<!-- routes -->\n\n", "<!-- /routes -->"
	router := newMatrix(t).house.router
	before, rest, ok := strings.Cut(read(t, file), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks", file)
	}
	now := routesPage(router.Routes())
	if *update {
		must(t, os.WriteFile(file, []byte(before+begin+now+end+after), 0o600))
	} else if old != now {
		t.Error("the page of routes is not that of the routes; -update writes it")
	}
	describesAll(t, router)
}

// routesPage is every route in a table of its part of the control plane.
func routesPage(routes []api.Route) string {
	parts := []struct{ title, prefix string }{
		{"A store: one environment of a tenant", "/api/v1/stores/{slug}/{env}"},
		{"A tenant", "/api/v1/tenants/{slug}"},
		{"The appliance", "/"},
	}
	slices.SortStableFunc(routes, func(a, b api.Route) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method)) })
	var page strings.Builder
	for _, part := range parts {
		fmt.Fprintf(&page, "## %s\n\n", part.title)
		if part.prefix != "/" {
			fmt.Fprintf(&page, "Below `%s`.\n\n", part.prefix)
		}
		page.WriteString("| Route | Does | Asks for |\n|---|---|---|\n")
		routes = slices.DeleteFunc(routes, func(r api.Route) bool {
			if !strings.HasPrefix(r.Path, part.prefix) {
				return false
			}
			writeRoute(&page, r, strings.TrimSuffix(part.prefix, "/"))
			return true
		})
		page.WriteString("\n")
	}
	return page.String()
}

func writeRoute(page *strings.Builder, r api.Route, prefix string) {
	asks := "`" + string(r.Permission) + "`"
	switch {
	case r.Permission == api.Public:
		asks = "nobody"
	case r.Permission == api.Signed:
		asks = "anybody signed in"
	}
	if r.Assurance.StepsUp() {
		asks += ", a fresh factor"
	}
	path := strings.TrimPrefix(r.Path, prefix)
	if path == "" {
		path = prefix
	}
	fmt.Fprintf(page, "| `%s %s` | %s | %s |\n", r.Method, path, strings.TrimSuffix(r.Summary, "."), asks)
}

func describesAll(t *testing.T, router *api.Router) {
	t.Helper()
	raw, err := router.OpenAPI()
	must(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	must(t, err)
	must(t, doc.Validate(t.Context()))
	ids := map[string]string{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if ids[op.OperationID] != "" || op.Summary == "" {
				t.Errorf("%s %s: operation %q is also %s; summary %q", method, path, op.OperationID, ids[op.OperationID], op.Summary)
			}
			ids[op.OperationID] = method + " " + path
		}
	}
	if len(ids) != len(router.Routes()) {
		t.Errorf("%d operations of %d routes are described", len(ids), len(router.Routes()))
	}
}
