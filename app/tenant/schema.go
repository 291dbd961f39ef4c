package tenant

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"holdfast/data/store"
)

// maxFields bounds the columns of a file; SQLite takes two thousand.
const maxFields = 500

// observer is a column of either kind of file.
type observer interface {
	observe(value any)
	kind(whole bool) string
}

// sample is what was seen of a file: its columns in the order they came, and
// what their values could be.
type sample struct {
	csv     bool
	rows    int
	whole   bool // every row was looked at
	names   []string
	columns map[string]observer
	late    map[string]int // columns that came after the sample, values seen
}

// look reads the sample. From JSON, where any record may bring a new column, it
// reads on to the end for those alone. Rows that cannot be read tell nothing.
func look(format Format, in rows) (*sample, error) {
	s := &sample{csv: format == CSV, columns: map[string]observer{}, late: map[string]int{}}
	if c, ok := in.(*csvRows); ok {
		for _, name := range c.header {
			if err := s.add(name); err != nil {
				return s, err
			}
		}
	}
	for {
		row, _, err := in.next()
		var bad errRow
		var broken errFile
		switch {
		case errors.Is(err, io.EOF), errors.As(err, &broken): // the import itself will tell where it broke
			s.whole = s.rows <= sampleRows
			return s, nil
		case errors.As(err, &bad):
			continue
		case err != nil:
			return s, err
		}
		s.rows++
		if s.csv && s.rows > sampleRows {
			return s, nil
		}
		if err := s.row(row); err != nil {
			return s, err
		}
	}
}

func (s *sample) row(row map[string]any) error {
	for _, name := range keysInOrder(row, s) {
		c, known := s.columns[name]
		if !known {
			if err := s.add(name); err != nil {
				return err
			}
			c = s.columns[name]
		}
		if s.rows > sampleRows {
			if n, late := s.late[name]; known && !late || n >= sampleRows {
				continue
			}
			s.late[name]++
		}
		c.observe(row[name])
	}
	return nil
}

// keysInOrder sorts the new names of a row; a JSON object has no order.
func keysInOrder(row map[string]any, s *sample) []string {
	names := make([]string, 0, len(row))
	for name := range row {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(compareBool(s.columns[a] == nil, s.columns[b] == nil), strings.Compare(a, b))
	})
	return names
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (s *sample) add(name string) error {
	if len(s.names) == maxFields {
		return fmt.Errorf("more than %d columns", maxFields)
	}
	s.names = append(s.names, name)
	if s.csv {
		s.columns[name] = &csvColumn{column{name: name}}
	} else {
		s.columns[name] = &column{name: name}
	}
	return nil
}

// allIDs says that every value of a column is one that PocketBase takes for an id.
func (s *sample) allIDs(name string) bool {
	var c *column
	switch v := s.columns[name].(type) {
	case *column:
		c = v
	case *csvColumn:
		c = &v.column
	}
	return c != nil && c.values > 0 && c.ids == c.values
}

// schema says how a file's columns become a collection's fields.
type schema struct {
	fields []store.Field     // to be made; for an existing collection its own
	of     map[string]string // column to field; "" leaves a column out
	types  map[string]string // field to type
}

// dropped are what PocketBase's own API adds to each record.
var dropped = []string{"collectionId", "collectionName", "expand", collectionMark}

// collectionMark names the collection in an export of all.
const collectionMark = "@collection"

// plan makes the schema of a new collection.
func (s *sample) plan() schema {
	p := schema{of: map[string]string{}, types: map[string]string{}}
	used := map[string]bool{}
	for i, name := range s.names {
		if slices.Contains(dropped, name) {
			p.of[name] = ""
			continue
		}
		kind := s.columns[name].kind(s.whole)
		field := unique(s.fieldFor(name, kind, i), used)
		if field == "id" || field == "created" || field == "updated" {
			kind = ownType(field)
		}
		p.of[name], p.types[field] = field, kind
		p.fields = append(p.fields, store.Field{Name: field, Type: kind})
	}
	return p
}

// ownType is the type of a field that every collection has.
func ownType(field string) string {
	if field == "id" {
		return typeText
	}
	return "autodate"
}

// fieldFor names the field of a column. An id that PocketBase would not take, and
// a created or updated that is no date, become fields beside PocketBase's own.
func (s *sample) fieldFor(name, kind string, at int) string {
	field := fieldName(name, at)
	switch strings.ToLower(field) {
	case "id":
		if field == "id" && s.allIDs(name) {
			return field
		}
		return "source_id"
	case "created", "updated":
		if field == strings.ToLower(field) && kind == typeDate && s.complete(name) {
			return field
		}
		return "source_" + field
	}
	return field
}

// complete says that no value of a column is blank.
func (s *sample) complete(name string) bool {
	switch c := s.columns[name].(type) {
	case *column:
		return c.blanks == 0
	case *csvColumn:
		return c.blanks == 0
	}
	return false
}

// taken are names that mean something else to PocketBase or SQLite.
var taken = []string{
	"null", "true", "false", "rowid", "_rowid_", "oid", "expand", "collectionid", "collectionname", "tokenkey", "password",
	"passwordconfirm", "oldpassword", "emailvisibility", "verified",
}

// maxFieldName is in bytes; PocketBase takes a hundred.
const maxFieldName = 60

// fieldName makes a field's name of a column's: letters, digits and _ stay.
func fieldName(column string, at int) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, strings.TrimSpace(column))
	name = strings.Trim(name, "_")
	if len(name) > maxFieldName {
		name = name[:maxFieldName]
	}
	switch lower := strings.ToLower(name); {
	case name == "":
		return fmt.Sprintf("column_%d", at+1)
	case slices.Contains(taken, lower), strings.Contains(lower, "_via_"), name[0] >= '0' && name[0] <= '9':
		return "source_" + strings.ReplaceAll(name, "_via_", "_by_")
	}
	return name
}

// unique puts a number behind a name that is used; SQLite does not tell case.
func unique(name string, used map[string]bool) string {
	free := name
	for n := 2; used[strings.ToLower(free)]; n++ {
		free = fmt.Sprintf("%s_%d", name, n)
	}
	used[strings.ToLower(free)] = true
	return free
}

// match finds the fields of an existing collection for the file's columns: by
// name, by the name that a creation would have given. A column without a field
// stands under its own name, for the store to refuse.
func (s *sample) match(c store.Collection) schema {
	m := schema{fields: c.Fields, of: map[string]string{}, types: map[string]string{}}
	for _, f := range c.Fields {
		m.types[f.Name] = f.Type
	}
	for i, name := range s.names {
		m.of[name] = s.matched(m.types, name, i)
	}
	return m
}

func (s *sample) matched(types map[string]string, name string, at int) string {
	_, own := types[name]
	switch {
	case slices.Contains(dropped, name) && !own:
		return ""
	case name == "id" && !s.allIDs(name) && types["source_id"] != "":
		return "source_id"
	case own:
		return name
	}
	planned := s.fieldFor(name, s.columns[name].kind(s.whole), at)
	if _, ok := types[planned]; ok {
		return planned
	}
	return name
}

// unknown lists the columns that have no field.
func (m schema) unknown() (names []string) {
	for column, field := range m.of {
		if _, ok := m.types[field]; field != "" && !ok {
			names = append(names, column)
		}
	}
	slices.Sort(names)
	return names
}
