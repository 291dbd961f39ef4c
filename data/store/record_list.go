package store

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"

	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/hook"
	"github.com/pocketbase/pocketbase/tools/router"
	"github.com/pocketbase/pocketbase/tools/types"
)

// bindRecordList has lists and views answered as PocketBase answers them, to the byte,
// in half the time: encoding/json asks each record for its JSON, which is made by
// reflection over a map, and then reads that through once more. It is the last to see
// the records, and does itself what PocketBase would do then.
func (s *Store) bindRecordList() {
	s.app.OnRecordsListRequest().Bind(&hook.Handler[*core.RecordsListRequestEvent]{
		Id: "hfRecordList", Priority: lastPriority, Func: answerList,
	})
	s.app.OnRecordViewRequest().Bind(&hook.Handler[*core.RecordRequestEvent]{
		Id: "hfRecordView", Priority: lastPriority, Func: answerView,
	})
}

const lastPriority = 10_000

// answerList leaves to PocketBase what it slows down, or picks fields of.
func answerList(e *core.RecordsListRequestEvent) error {
	_, untouched := e.Result.Items.(*[]*core.Record)
	if !untouched || len(e.Records) == 0 || !isWhole(e.RequestEvent) {
		return e.Next()
	}
	if err := apis.EnrichRecords(e.RequestEvent, e.Records); err != nil {
		return asAPIError(e.RequestEvent, "Failed to enrich records", err)
	}
	b, err := appendRecords(make([]byte, 0, 512*len(e.Records)+128), e.Records)
	if err != nil {
		return err
	}
	r := e.Result
	for _, n := range [...]struct {
		name  string
		value int
	}{{`,"page":`, r.Page}, {`,"perPage":`, r.PerPage}, {`,"totalItems":`, r.TotalItems}, {`,"totalPages":`, r.TotalPages}} {
		b = strconv.AppendInt(append(b, n.name...), int64(n.value), 10)
	}
	return answerJSON(e.RequestEvent, append(b, '}', '\n'))
}

func answerView(e *core.RecordRequestEvent) error {
	if !isWhole(e.RequestEvent) {
		return e.Next()
	}
	if err := apis.EnrichRecord(e.RequestEvent, e.Record); err != nil {
		return asAPIError(e.RequestEvent, "Failed to enrich record", err)
	}
	b, _, err := appendRecord(make([]byte, 0, 1024), nil, e.Record)
	if err != nil {
		return err
	}
	return answerJSON(e.RequestEvent, append(b, '\n'))
}

// isWhole says that the answer goes out at once and with all fields.
func isWhole(e *core.RequestEvent) bool {
	return e.App.TxInfo() == nil && e.Request.URL.Query().Get("fields") == ""
}

func asAPIError(e *core.RequestEvent, text string, err error) error {
	var known *router.ApiError
	if errors.As(err, &known) {
		return known
	}
	return e.InternalServerError(text, err)
}

func answerJSON(e *core.RequestEvent, body []byte) error {
	if h := e.Response.Header(); h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	e.Response.WriteHeader(http.StatusOK)
	_, err := e.Response.Write(body)
	return err
}

// appendRecords begins a list's answer: an array of what each record shows to whom it
// was prepared for.
func appendRecords(b []byte, records []*core.Record) ([]byte, error) {
	b = append(b, `{"items":[`...)
	var keys []string
	var err error
	for i, r := range records {
		if i > 0 {
			b = append(b, ',')
		}
		if b, keys, err = appendRecord(b, keys, r); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

// appendRecord writes one record; keys is room for the names of its fields.
func appendRecord(b []byte, keys []string, r *core.Record) ([]byte, []string, error) {
	values := r.PublicExport()
	keys = slices.AppendSeq(keys[:0], maps.Keys(values))
	slices.Sort(keys)
	b, err := appendObject(b, keys, values)
	return b, keys, err
}

func appendObject(b []byte, keys []string, values map[string]any) ([]byte, error) {
	var err error
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendValue(b, key); err != nil {
			return nil, err
		}
		if b, err = appendValue(append(b, ':'), values[key]); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// appendValue writes what most fields hold, and leaves the rest to encoding/json.
func appendValue(b []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case string:
		if verbatim(v) {
			return append(append(append(b, '"'), v...), '"'), nil
		}
	case bool:
		return strconv.AppendBool(b, v), nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e15 && (v != 0 || !math.Signbit(v)) {
			return strconv.AppendInt(b, int64(v), 10), nil
		}
	case types.DateTime:
		return append(append(append(b, '"'), v.String()...), '"'), nil
	}
	rest, err := json.Marshal(value)
	return append(b, rest...), err
}

// verbatim says that the text is written in JSON as it is, also within HTML.
func verbatim(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}
