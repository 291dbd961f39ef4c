package api

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

type thing struct {
	ID     string            `json:"id" doc:"never changes"`
	State  string            `json:"state" enum:"on,off"`
	When   time.Time         `json:"when"`
	Maybe  *int              `json:"maybe,omitempty"`
	Tags   map[string]string `json:"tags"`
	Kids   []thing           `json:"kids"`
	Raw    json.RawMessage   `json:"raw"`
	Any    any               `json:"any"`
	Bytes  []byte            `json:"bytes"`
	Hidden string            `json:"-"`
	inside string
	base
}

type base struct {
	Name string  `json:"name"`
	Size float64 `json:"size"`
}

func documented(t *testing.T) *fixture {
	_ = thing{}.inside
	f := newFixture(t,
		Route{
			Method: "GET", Path: "/api/v1/things", Permission: TenantRead, Paged: true, Summary: "List",
			Query: []Param{{"since", "from then on", time.Time{}}}, Response: Page[thing]{}, Handler: ok,
		},
		Route{Method: "POST", Path: "/api/v1/things/{id}", Permission: TenantCreate, Request: thing{}, Response: thing{}, Status: 201, Handler: ok},
		Route{Method: "PUT", Path: "/api/v1/files/{path...}", Permission: DataWrite, Scope: anywhere, Consumes: "text/csv", Produces: "application/jsonl", Handler: ok},
		Route{Method: "DELETE", Path: "/api/v1/things/{id}", Permission: Public, Handler: ok})
	must(t, f.Add((&Operations{}).Routes(nil)...))
	return f
}

func TestOpenAPIIsValid(t *testing.T) {
	raw, err := documented(t).OpenAPI()
	must(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	must(t, err)
	must(t, doc.Validate(bg))
	equal(t, "version", doc.OpenAPI, "3.1.0")
}

func TestOpenAPISaysWhatTheRoutesSay(t *testing.T) {
	raw, err := documented(t).OpenAPI()
	must(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	must(t, err)
	list := doc.Paths.Value("/api/v1/things").Get
	equal(t, "parameters of a list", len(list.Parameters), 5)
	equal(t, "page of things", list.Responses.Value("200").Value.Content["application/json"].Schema.Ref, "#/components/schemas/ThingPage")
	equal(t, "permission", list.Extensions["x-holdfast-permission"].(string), "tenant.read")
	make := doc.Paths.Value("/api/v1/things/{id}").Post
	equal(t, "answer of a post", make.Responses.Value("201") != nil, true)
	equal(t, "path parameter", make.Parameters[0].Value.Name, "id")
	equal(t, "public has no security", doc.Paths.Value("/api/v1/things/{id}").Delete.Security == nil, true)
	equal(t, "wildcard", doc.Paths.Value("/api/v1/files/{path}").Put.RequestBody.Value.Content["text/csv"] != nil, true)
	s := doc.Components.Schemas["Thing"].Value
	for name, want := range map[string]string{
		"id": "string", "when": "string", "maybe": "integer", "tags": "object", "kids": "array", "name": "string", "size": "number",
	} {
		equal(t, name, s.Properties[name].Value.Type.Slice()[0], want)
	}
	equal(t, "hidden", s.Properties["Hidden"] == nil && s.Properties["inside"] == nil, true)
	equal(t, "described", s.Properties["id"].Value.Description, "never changes")
	equal(t, "enum", len(s.Properties["state"].Value.Enum), 2)
	equal(t, "required", len(s.Required), 10)
}

func anywhere(*http.Request) Scope { return Scope{Tenant: AnyTenant} }
