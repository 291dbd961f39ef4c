package api

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// schema is one JSON Schema (2020-12), as OpenAPI 3.1 uses it.
type schema map[string]any

// schemas draws schemas from Go types; named structs become components.
type schemas struct {
	components map[string]schema
	names      map[reflect.Type]string
}

func newSchemas() *schemas {
	return &schemas{map[string]schema{}, map[reflect.Type]string{}}
}

func schemaOf(t reflect.Type) schema { return newSchemas().of(t) }

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
)

func (s *schemas) of(t reflect.Type) schema {
	switch t {
	case timeType:
		return schema{"type": "string", "format": "date-time"}
	case rawType:
		return schema{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Struct:
		return s.structure(t)
	case reflect.Slice, reflect.Array:
		return s.list(t)
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": s.of(t.Elem())}
	}
	return scalar(t.Kind())
}

func (s *schemas) list(t reflect.Type) schema {
	if t.Elem().Kind() == reflect.Uint8 {
		return schema{"type": "string", "contentEncoding": "base64"}
	}
	return schema{"type": "array", "items": s.of(t.Elem())}
}

func scalar(k reflect.Kind) schema {
	switch k {
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return schema{"type": "number"}
	case reflect.Interface:
		return schema{}
	}
	if k >= reflect.Int && k <= reflect.Uint64 {
		return schema{"type": "integer"}
	}
	return schema{}
}

// structure gives a reference for a named struct, which it draws once, and the
// schema itself for an anonymous one.
func (s *schemas) structure(t reflect.Type) schema {
	if t.Name() == "" {
		return s.object(t)
	}
	name, known := s.names[t]
	if !known {
		name = s.freeName(t)
		s.names[t] = name
		s.components[name] = nil // taken, so that a type may hold itself
		s.components[name] = s.object(t)
	}
	return schema{"$ref": "#/components/schemas/" + name}
}

var (
	generic   = regexp.MustCompile(`^(\w+)\[(?:.*[./])?(\w+)\]$`)
	notInName = regexp.MustCompile(`[^A-Za-z0-9_]+`)
)

// freeName makes "TenantPage" of Page[tenant.Tenant], and puts the package
// before a name that two packages use.
func (s *schemas) freeName(t reflect.Type) string {
	name := t.Name()
	if m := generic.FindStringSubmatch(name); m != nil {
		name = title(m[2]) + m[1]
	}
	name = title(notInName.ReplaceAllString(name, ""))
	if _, taken := s.components[name]; !taken {
		return name
	}
	path := strings.Split(t.PkgPath(), "/")
	return title(path[len(path)-1]) + name
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func (s *schemas) object(t reflect.Type) schema {
	properties, required := map[string]schema{}, []string{}
	s.fields(t, properties, &required)
	out := schema{"type": "object", "properties": properties}
	if len(required) > 0 {
		slices.Sort(required)
		out["required"] = required
	}
	return out
}

// fields collects as encoding/json would: by tag, embedded structs flattened.
// `doc` is the description, `enum` a list of the allowed values.
func (s *schemas) fields(t reflect.Type, into map[string]schema, required *[]string) {
	for f := range t.Fields() {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && tag == "" && f.Type.Kind() == reflect.Struct {
			s.fields(f.Type, into, required)
			continue
		}
		if !f.IsExported() || tag == "-" {
			continue
		}
		if tag == "" {
			tag = f.Name
		}
		into[tag] = described(s.of(f.Type), f.Tag)
		if !strings.Contains(options, "omit") && f.Type.Kind() != reflect.Pointer {
			*required = append(*required, tag)
		}
	}
}

func described(s schema, tag reflect.StructTag) schema {
	if doc := tag.Get("doc"); doc != "" {
		s["description"] = doc
	}
	if enum := tag.Get("enum"); enum != "" {
		s["enum"] = strings.Split(enum, ",")
	}
	return s
}
