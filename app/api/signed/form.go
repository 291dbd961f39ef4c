package signed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"holdfast/data"
)

// Form is a kind of signed texts. Each is an object whose "format" is Family, which
// ends in "v", and a version.
type Form struct {
	Family  string
	Version string // the one that this program writes
	Invalid error  // what every text that is not of the form is answered with
}

// Format is what texts of the form have as their "format".
func (f Form) Format() string { return f.Family + f.Version }

// Parse reads a text in its one spelling: Invalid for any other bytes, data.ErrNewer
// for a later format. format gives the value's own.
func Parse[T any](f Form, text []byte, format func(T) string) (v T, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err = d.Decode(&v)
	if name := format(v); name != f.Format() && strings.HasPrefix(name, f.Family) {
		return v, fmt.Errorf("%.60q: %w", name, data.ErrNewer)
	}
	if err != nil {
		return v, fmt.Errorf("%w: %w", f.Invalid, err)
	}
	only, err := Text(v)
	if err != nil || format(v) != f.Format() || !bytes.Equal(only, text) {
		return v, fmt.Errorf("%w: these are not the bytes that were signed", f.Invalid)
	}
	return v, nil
}

// Verify is Parse and Check: Invalid where the signature does not hold. It gives the
// signer's name too, and needs no appliance.
func Verify[T any](f Form, text, signature []byte, verifierKey string, format func(T) string) (v T, signer string, err error) {
	var none T
	if v, err = Parse(f, text, format); err != nil {
		return none, "", err
	}
	if signer, err = Check(text, signature, verifierKey); err != nil {
		return none, "", fmt.Errorf("%w: %w", f.Invalid, err)
	}
	return v, signer, nil
}

// SendFile answers with a text or a signature to be kept as a file.
func SendFile(w http.ResponseWriter, mediaType, name, content string) error {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, err := w.Write([]byte(content))
	return err
}
