package tenant

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// fieldRow makes of a file's row what the store takes: fields instead of columns,
// each value in the form of its type.
func (m schema) fieldRow(row map[string]any, csv bool) (map[string]any, error) {
	out := make(map[string]any, len(row))
	for column, value := range row {
		field, known := m.of[column]
		if !known {
			field = column // seen first after the sample: the store says whether it fits
		}
		if field == "" {
			continue
		}
		converted, err := toField(m.types[field], value, csv)
		if err != nil {
			return nil, errRow{fmt.Sprintf("%s: %v", field, err)}
		}
		out[field] = converted
	}
	return out, nil
}

// manyTypes may hold several values, which CSV writes as a JSON list.
var manyTypes = []string{"select", "relation", "file"}

func toField(kind string, value any, csv bool) (any, error) {
	switch {
	case kind == typeJSON:
		return jsonText(value, csv)
	case kind == typeNumber:
		return finite(value)
	case kind == typeText || kind == typeLong || kind == typeEmail || kind == typeURL:
		return plainText(value)
	case csv && (slices.Contains(manyTypes, kind) || kind == "geoPoint"):
		return listed(value), nil
	}
	return value, nil
}

// jsonText gives the text of a JSON value: the store takes a string for the value
// that it spells. From CSV a field that spells nothing is a string.
func jsonText(value any, csv bool) (any, error) {
	if text, ok := value.(string); ok && csv {
		if text == "" {
			return nil, nil
		}
		if json.Valid([]byte(text)) {
			return text, nil
		}
	}
	text, err := json.Marshal(value)
	return string(text), err
}

// finite refuses the names that strconv takes for numbers and JSON does not.
func finite(value any) (any, error) {
	var text string
	switch v := value.(type) {
	case string:
		text = strings.TrimSpace(v)
	case json.Number:
		text = v.String()
	default:
		return value, nil
	}
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) || strings.ContainsAny(text, "xX_") {
		return nil, fmt.Errorf("%q is not a number", clip(text))
	}
	return n, nil
}

// plainText spells numbers and booleans out; SQLite keeps texts only to a zero byte.
func plainText(value any) (any, error) {
	switch v := value.(type) {
	case bool:
		return strconv.FormatBool(v), nil
	case json.Number:
		return v.String(), nil
	case string:
		if strings.ContainsRune(v, 0) {
			return nil, fmt.Errorf("holds a zero byte")
		}
	}
	return value, nil
}

// listed reads the JSON list or object that an export wrote into a CSV field.
func listed(value any) any {
	text, ok := value.(string)
	if !ok || text == "" || text[0] != '[' && text[0] != '{' {
		return value
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return value
	}
	return v
}

// clip keeps a reason short.
func clip(text string) string {
	if runes := []rune(text); len(runes) > 60 {
		return string(runes[:60]) + "…"
	}
	return text
}
