package store

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/hook"
	"github.com/pocketbase/pocketbase/tools/types"
)

// bindRecordList has the records of a list written by recordList. It is the last to see
// them before PocketBase answers.
func (s *Store) bindRecordList() {
	s.app.OnRecordsListRequest().Bind(&hook.Handler[*core.RecordsListRequestEvent]{
		Id: "hfRecordList", Priority: 900, Func: func(e *core.RecordsListRequestEvent) error {
			if _, untouched := e.Result.Items.(*[]*core.Record); untouched {
				e.Result.Items = recordList(e.Records)
			}
			return e.Next()
		}})
}

// recordList are the records of a list's answer. They become the very bytes that
// encoding/json makes of them, in half the time: it asks each record for its JSON,
// which is made by reflection over a map, and then reads that through once more.
type recordList []*core.Record

var _ json.Marshaler = recordList(nil)

// MarshalJSON is an array of what each record shows to whom it was prepared for.
func (l recordList) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 512*len(l)+2), '[')
	var keys []string
	var err error
	for i, r := range l {
		if i > 0 {
			b = append(b, ',')
		}
		values := r.PublicExport()
		keys = slices.AppendSeq(keys[:0], maps.Keys(values))
		slices.Sort(keys)
		if b, err = appendObject(b, keys, values); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
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
