package disposal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// canonical gives the one text of a value: JSON after RFC 8785 (keys in order, no
// blanks), for values made of objects, arrays, strings, whole numbers, true, false
// and null, whose keys are ASCII. Line and paragraph separators, which encoders
// write in two ways, become blanks.
func canonical(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return canonicalJSON(b)
}

func canonicalJSON(b []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	tree, err := plain(tree)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(tree); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// plain refuses what has more than one spelling.
func plain(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case string:
		return strings.NewReplacer("\u2028", " ", "\u2029", " ").Replace(v), nil
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") || strings.HasPrefix(v.String(), "-0") {
			return nil, fmt.Errorf("number %s is not whole", v)
		}
	case []any:
		for i := range v {
			if v[i], err = plain(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = plain(v[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}
