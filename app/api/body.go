package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// Read decodes a JSON body into v, strictly: unknown fields and wrong types are a
// 422 that names the field, anything after the value is a 400. An empty
// body reads as {}, so that required fields report themselves.
func Read(r *http.Request, v any) error {
	if err := wantJSON(r); err != nil {
		return err
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return decodeProblem(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return malformed(errors.New("more than one value"))
	}
	return nil
}

// wantJSON refuses other media types: a form of another site can send only
// those without asking first.
func wantJSON(r *http.Request) error {
	header := r.Header.Get("Content-Type")
	if header == "" && r.ContentLength == 0 {
		return nil
	}
	if mediaType, _, err := mime.ParseMediaType(header); err != nil || mediaType != "application/json" {
		return Errorf(http.StatusUnsupportedMediaType, "media-type", "Send the body as application/json.")
	}
	return nil
}

func decodeProblem(err error) error {
	if err == io.EOF {
		return nil
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		return InvalidField(wrongType.Field, "is a %s, want %s", wrongType.Value, wantedKind(wrongType))
	}
	// The standard library has no type for this one.
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return InvalidField(strings.Trim(name, `"`), "is not a known field")
	}
	return malformed(err)
}

func wantedKind(e *json.UnmarshalTypeError) string {
	switch schema := schemaOf(e.Type); schema["type"] {
	case nil:
		return "another type"
	default:
		return schema["type"].(string)
	}
}

func malformed(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return Errorf(http.StatusBadRequest, "malformed", "The body is not JSON (at byte %d).", syntax.Offset).Because(err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return Errorf(http.StatusBadRequest, "malformed", "The body ends too early.").Because(err)
	}
	var network interface{ Timeout() bool }
	if errors.As(err, &network) {
		return err
	}
	return Errorf(http.StatusBadRequest, "malformed", "The body is not one JSON value.").Because(err)
}

// Respond answers with v as JSON.
func Respond(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that is gone needs no answer
	return nil
}

// NoContent answers 204.
func NoContent(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}
