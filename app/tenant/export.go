package tenant

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"holdfast/app/api"
	"holdfast/data/store"
)

var mediaTypes = map[Format]string{
	CSV: "text/csv; charset=utf-8", JSONL: "application/jsonl", JSON: "application/json",
}

func (s *Service) serveExport(w http.ResponseWriter, r *http.Request) error {
	format := Format(r.URL.Query().Get("format"))
	if format == "" {
		format = JSONL
	}
	if !slices.Contains(formats, format) {
		return api.InvalidField("format", "%q is none of csv, jsonl, json", string(format))
	}
	return s.withStore(r, func(ref Ref, st *store.Store) error {
		c, err := collectionOf(r.Context(), st, r.PathValue("collection"))
		if err != nil {
			return err
		}
		if err := s.recordExport(r.Context(), ref, c.Name, format); err != nil {
			return err
		}
		head(w, format, c.Name)
		return Export(r.Context(), st, c, format, w)
	})
}

func (s *Service) serveExportAll(w http.ResponseWriter, r *http.Request) error {
	if f := r.URL.Query().Get("format"); f != "" && f != string(JSONL) {
		return api.InvalidField("format", "all collections together come as jsonl only")
	}
	return s.withStore(r, func(ref Ref, st *store.Store) error {
		if err := s.recordExport(r.Context(), ref, "*", JSONL); err != nil {
			return err
		}
		head(w, JSONL, ref.Slug)
		return ExportAll(r.Context(), st, w)
	})
}

// recordExport comes before the first byte: data leaves the house.
func (s *Service) recordExport(ctx context.Context, ref Ref, collection string, f Format) error {
	return s.config.Recorder.Record(ctx, api.Event{
		Action: "data.export", Target: collection, Store: ref.Store.String(), Outcome: api.OK,
		Detail: map[string]string{"format": string(f)},
	})
}

func head(w http.ResponseWriter, f Format, name string) {
	w.Header().Set("Content-Type", mediaTypes[f])
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.%s"`, name, f))
}

// Export writes a collection's records in the order of their ids, in a form that
// imports back to the same records.
func Export(ctx context.Context, st *store.Store, c store.Collection, f Format, w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	var err error
	switch f {
	case CSV:
		err = exportCSV(ctx, st, c, out)
	case JSON:
		err = exportArray(ctx, st, c, out)
	default:
		err = exportLines(ctx, st, c, out, "")
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// ExportAll writes every collection but views and PocketBase's own, each record
// with the name of its collection under "@collection".
func ExportAll(ctx context.Context, st *store.Store, w io.Writer) error {
	all, err := st.Collections(ctx)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	for _, c := range all {
		if c.System || c.Type == "view" {
			continue
		}
		if err := exportLines(ctx, st, c, out, c.Name); err != nil {
			return err
		}
	}
	return out.Flush()
}

func exportLines(ctx context.Context, st *store.Store, c store.Collection, out io.Writer, mark string) error {
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	return st.Export(ctx, c.Name, func(record map[string]any) error {
		if mark != "" {
			record[collectionMark] = mark
		}
		return lines.Encode(record)
	})
}

func exportArray(ctx context.Context, st *store.Store, c store.Collection, out *bufio.Writer) error {
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	before := "["
	err := st.Export(ctx, c.Name, func(record map[string]any) error {
		if _, err := out.WriteString(before); err != nil {
			return err
		}
		before = ","
		return lines.Encode(record)
	})
	if err != nil {
		return err
	}
	if before == "[" {
		_, err = out.WriteString("[")
	}
	if err == nil {
		_, err = out.WriteString("]\n")
	}
	return err
}

func exportCSV(ctx context.Context, st *store.Store, c store.Collection, out io.Writer) error {
	var header []string
	for _, f := range c.Fields {
		if f.Type != "password" && f.Name != "tokenKey" {
			header = append(header, f.Name)
		}
	}
	table := csv.NewWriter(out)
	if err := table.Write(header); err != nil {
		return err
	}
	cells := make([]string, len(header))
	err := st.Export(ctx, c.Name, func(record map[string]any) error {
		for i, name := range header {
			var err error
			if cells[i], err = cell(record[name]); err != nil {
				return err
			}
		}
		return table.Write(cells)
	})
	table.Flush()
	if err == nil {
		err = table.Error()
	}
	return err
}

// cell spells a value: texts as they are, all else as JSON does, nothing for null.
func cell(value any) (string, error) {
	switch v := value.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	var plain string
	if json.Unmarshal(text, &plain) == nil && !isRaw(value) {
		return plain, nil // a date, which marshals as a string
	}
	return string(text), nil
}

// isRaw says that a value is itself JSON text, in which a string keeps its quotes.
func isRaw(value any) bool {
	_, ok := value.(interface{ String() string })
	_, marshals := value.(json.Marshaler)
	_, isDate := value.(interface{ IsZero() bool })
	return ok && marshals && !isDate
}
