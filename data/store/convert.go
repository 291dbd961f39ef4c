package store

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/types"
)

// convert makes of a row's value what its field takes. PocketBase would turn what
// it cannot read into a zero without a word; an import must say so.
func convert(field core.Field, value any) (any, error) {
	var err error
	switch field.Type() {
	case core.FieldTypeNumber:
		value, err = toNumber(value)
	case core.FieldTypeBool:
		value, err = toBool(value)
	case core.FieldTypeDate, core.FieldTypeAutodate:
		value, err = toDate(value)
	case core.FieldTypeText, core.FieldTypeEditor, core.FieldTypeEmail, core.FieldTypeURL:
		value, err = toText(value)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field.GetName(), err)
	}
	return value, nil
}

func toNumber(value any) (any, error) {
	switch v := value.(type) {
	case nil, float64, float32, int, int64, int32:
		return v, nil
	case json.Number:
		return parseNumber(v.String())
	case string:
		return parseNumber(v)
	}
	return nil, fmt.Errorf("%v is not a number", value)
}

func parseNumber(text string) (any, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is not a number", text)
	}
	return n, nil
}

func toBool(value any) (any, error) {
	switch v := value.(type) {
	case nil, bool:
		return v, nil
	case string:
		if strings.TrimSpace(v) == "" {
			return nil, nil
		}
		b, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(v)))
		if err != nil {
			return nil, fmt.Errorf("%q is neither true nor false", v)
		}
		return b, nil
	}
	return nil, fmt.Errorf("%v is neither true nor false", value)
}

func toDate(value any) (any, error) {
	text, ok := value.(string)
	if value == nil || ok && strings.TrimSpace(text) == "" {
		return types.DateTime{}, nil
	}
	date, err := types.ParseDateTime(value)
	if err != nil || date.IsZero() {
		return nil, fmt.Errorf("%v is not a date", value)
	}
	return date, nil
}

func toText(value any) (any, error) {
	switch v := value.(type) {
	case map[string]any, []any:
		return nil, fmt.Errorf("a text field cannot hold a list or an object")
	case json.Number:
		return v.String(), nil
	}
	return value, nil
}
