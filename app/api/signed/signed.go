// Package signed is the one form in which the appliance signs what people carry
// away: canonical JSON (RFC 8785) with a detached signature, a line of a signed
// note. Who checks it needs the verifier key and no appliance.
package signed

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// ErrSignature answers for every signature that does not hold.
var ErrSignature = errors.New("the signature does not hold")

// Text gives the one text of a value: JSON after RFC 8785 (keys in order, no
// blanks), for values made of objects, arrays, strings, whole numbers, true, false
// and null, whose keys are ASCII. Line and paragraph separators, which encoders
// write in two ways, become blanks.
func Text(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return FromJSON(b)
}

// FromJSON is Text of one JSON value.
func FromJSON(b []byte) ([]byte, error) {
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

// Check verifies a text's detached signature with a verifier key, which must come
// from somewhere else than the two, and gives the signer's name. ErrSignature.
func Check(text, signature []byte, verifierKey string) (name string, err error) {
	v, err := note.NewVerifier(strings.TrimSpace(verifierKey))
	if err != nil {
		return "", fmt.Errorf("%w: the verifier key: %w", ErrSignature, err)
	}
	if !strict(signature) {
		return "", fmt.Errorf("%w: the signature file is not one line as it was made", ErrSignature)
	}
	signed := append(append(bytes.Clone(text), '\n', '\n'), signature...)
	if _, err := note.Open(signed, note.VerifierList(v)); err != nil {
		return "", fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return v.Name(), nil
}

// strict refuses other spellings of the same signature.
func strict(b []byte) bool {
	line, ok := strings.CutSuffix(string(b), "\n")
	fields := strings.Split(line, " ")
	if !ok || strings.Contains(line, "\n") || len(fields) != 3 {
		return false
	}
	_, err := base64.StdEncoding.Strict().DecodeString(fields[2])
	return err == nil
}
