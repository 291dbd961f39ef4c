package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// OpenAPI is the OpenAPI 3.1 document of the routes, drawn from them and their
// Go types, so that it cannot lag behind.
func (rt *Router) OpenAPI() ([]byte, error) {
	d := newSchemas()
	problem := d.of(reflect.TypeFor[Problem]())
	paths := map[string]map[string]any{}
	for _, r := range rt.routes {
		path := pathOf(r.Path)
		if paths[path] == nil {
			paths[path] = map[string]any{}
		}
		paths[path][strings.ToLower(r.Method)] = d.operation(r, problem)
	}
	return json.MarshalIndent(rt.document(paths, d.components), "", " ")
}

func (rt *Router) document(paths map[string]map[string]any, components map[string]schema) map[string]any {
	return map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title":       or(rt.config.Title, "Holdfast"),
			"version":     or(rt.config.Version, "dev"),
			"description": "The control plane. Errors are problems (RFC 9457); long work answers 202 with an operation.",
		},
		"paths": paths,
		"components": map[string]any{
			"schemas": components,
			"securitySchemes": map[string]any{
				"session": map[string]any{"type": "apiKey", "in": "cookie", "name": "__Host-holdfast"},
				"key":     map[string]any{"type": "http", "scheme": "bearer", "description": "An API key: hfa_... of the control plane, or hfk_... of a store."},
			},
		},
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// pathOf turns a pattern of net/http into a path of OpenAPI.
func pathOf(pattern string) string {
	return strings.ReplaceAll(strings.TrimSuffix(pattern, "{$}"), "...}", "}")
}

func (s *schemas) operation(r Route, problem schema) map[string]any {
	op := map[string]any{
		"operationId":           operationID(r),
		"tags":                  []string{tagOf(r.Path)},
		"summary":               r.Summary,
		"responses":             s.responses(r, problem),
		"x-holdfast-permission": string(r.Permission),
	}
	if r.Assurance.StepsUp() {
		op["x-holdfast-step-up"] = true
	}
	if params := s.parameters(r); len(params) > 0 {
		op["parameters"] = params
	}
	if r.Request != nil || r.Consumes != "" {
		op["requestBody"] = map[string]any{"required": true, "content": s.content(r.Consumes, r.Request)}
	}
	if r.Permission != Public {
		op["security"] = []any{map[string]any{"session": []string{}}, map[string]any{"key": []string{}}}
	}
	return op
}

var (
	separators = regexp.MustCompile(`[^A-Za-z0-9]+`)
	inBraces   = regexp.MustCompile(`\{(\w+)(?:\.\.\.)?\}`)
)

func operationID(r Route) string {
	id := strings.ToLower(r.Method)
	for _, part := range separators.Split(strings.TrimPrefix(r.Path, "/api/v1"), -1) {
		id += title(part)
	}
	return id
}

// tagOf groups operations by what they are about: "tenants" of /api/v1/tenants/{slug},
// "snapshots" of /api/v1/stores/{slug}/{env}/snapshots/now.
func tagOf(path string) string {
	parts := strings.Split(strings.TrimPrefix(strings.TrimPrefix(path, "/"), "api/v1/"), "/")
	if parts[0] == "stores" && len(parts) > 3 {
		return parts[3]
	}
	return parts[0]
}

func (s *schemas) parameters(r Route) []any {
	var all []any
	for _, m := range inBraces.FindAllStringSubmatch(r.Path, -1) {
		all = append(all, map[string]any{
			"name": m[1], "in": "path", "required": true, "schema": schema{"type": "string"},
		})
	}
	for _, p := range append(pagingParams(r.Paged), r.Query...) {
		all = append(all, map[string]any{
			"name": p.Name, "in": "query", "description": p.Summary, "schema": s.ofValue(p.Example),
		})
	}
	return all
}

func pagingParams(paged bool) []Param {
	if !paged {
		return nil
	}
	return []Param{
		{"page", "from 1", 1},
		{"perPage", "at most " + strconv.Itoa(MaxPerPage), DefaultPerPage},
		{"sort", "a field; with - before it, descending", ""},
		{"filter", "what to keep", ""},
	}
}

func (s *schemas) ofValue(v any) schema {
	if v == nil {
		return schema{"type": "string"}
	}
	return s.of(reflect.TypeOf(v))
}

func (s *schemas) content(mediaType string, v any) map[string]any {
	if mediaType != "" {
		return map[string]any{mediaType: map[string]any{"schema": schema{"type": "string"}}}
	}
	return map[string]any{"application/json": map[string]any{"schema": s.ofValue(v)}}
}

func (s *schemas) responses(r Route, problem schema) map[string]any {
	status := r.success()
	answer := map[string]any{"description": http.StatusText(status)}
	if r.Response != nil || r.Produces != "" {
		answer["content"] = s.content(r.Produces, r.Response)
	}
	return map[string]any{
		strconv.Itoa(status): answer,
		"default": map[string]any{
			"description": "A problem (RFC 9457).",
			"content":     map[string]any{"application/problem+json": map[string]any{"schema": problem}},
		},
	}
}

// success is the status of an answer without error.
func (r Route) success() int {
	switch {
	case r.Status != 0:
		return r.Status
	case r.Response == nil && r.Produces == "":
		return http.StatusNoContent
	}
	return http.StatusOK
}
