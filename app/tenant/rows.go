package tenant

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Format is how records lie in a file.
type Format string

// The formats: comma-separated with a header, one JSON object a line, one JSON
// array of objects.
const (
	CSV   Format = "csv"
	JSONL Format = "jsonl"
	JSON  Format = "json"
)

var formats = []Format{CSV, JSONL, JSON}

// maxRecord bounds one record of a file in bytes; the store takes 500 at a time.
const maxRecord = 4 << 20

// errRow is a record that cannot be read; the next may be. errFile ends the
// reading: what follows cannot be told apart.
type (
	errRow  struct{ reason string }
	errFile struct {
		line   int
		reason string
	}
)

func (e errRow) Error() string  { return e.reason }
func (e errFile) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.reason) }

// rows reads records one by one. Values are strings from CSV; from JSON
// nil, bool, json.Number, string, []any, map[string]any.
type rows interface {
	// next gives a record and the line on which it begins. The error is io.EOF at
	// the end, an errRow for one record, an errFile or a reading error for all
	// that follow.
	next() (row map[string]any, line int, err error)
}

// openRows reads records of a format. A byte order mark is skipped.
func openRows(f Format, r io.Reader) (rows, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	if mark, err := in.Peek(3); err == nil && string(mark) == "\xef\xbb\xbf" {
		_, _ = in.Discard(3) // they were just peeked
	}
	switch f {
	case CSV:
		return openCSV(in)
	case JSONL:
		return &jsonLines{in: in}, nil
	case JSON:
		return openArray(in)
	}
	return nil, fmt.Errorf("format %q is none of csv, jsonl, json", f)
}

// csvRows reads RFC 4180.
type csvRows struct {
	in     *csv.Reader
	header []string
}

func openCSV(r io.Reader) (*csvRows, error) {
	in := csv.NewReader(keepReturns(r))
	in.FieldsPerRecord = -1 // we count ourselves, to go on after a bad row
	header, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, errFile{1, "the file is empty: want a header"}
	}
	if err != nil {
		return nil, csvError(err)
	}
	in.ReuseRecord = true
	return &csvRows{in, header}, checkHeader(header)
}

func checkHeader(header []string) error {
	seen := map[string]bool{}
	for i, name := range header {
		if !utf8.ValidString(name) {
			return errFile{1, fmt.Sprintf("the name of column %d is not UTF-8", i+1)}
		}
		if seen[name] {
			return errFile{1, fmt.Sprintf("two columns are named %q", name)}
		}
		seen[name] = true
	}
	return nil
}

func (c *csvRows) next() (map[string]any, int, error) {
	record, err := c.in.Read()
	if err != nil {
		return nil, 0, csvError(err)
	}
	line, _ := c.in.FieldPos(0)
	if len(record) != len(c.header) {
		return nil, line, errRow{fmt.Sprintf("has %d fields, the header has %d", len(record), len(c.header))}
	}
	row := make(map[string]any, len(record))
	for i, value := range record {
		if !utf8.ValidString(value) {
			return nil, line, errRow{fmt.Sprintf("%s: is not UTF-8", c.header[i])}
		}
		row[c.header[i]] = strings.Clone(value)
	}
	return row, line, nil
}

// csvError names the line on which a broken record begins. After a stray quote
// nobody knows where the next record is.
func csvError(err error) error {
	var broken *csv.ParseError
	if errors.As(err, &broken) {
		return errFile{broken.StartLine, broken.Err.Error()}
	}
	return err
}

// jsonLines reads one object a line; empty lines count but are no records.
type jsonLines struct {
	in   *bufio.Reader
	line int
}

func (j *jsonLines) next() (map[string]any, int, error) {
	for {
		text, err := readLine(j.in)
		if err != nil && (len(text) == 0 || !errors.Is(err, io.EOF)) {
			return nil, j.line + 1, j.lineError(err)
		}
		j.line++
		if text = bytes.TrimSpace(text); len(text) > 0 {
			row, err := object(text)
			return row, j.line, err
		}
	}
}

var errLong = fmt.Errorf("the record is longer than %d bytes", maxRecord)

func (j *jsonLines) lineError(err error) error {
	if errors.Is(err, errLong) {
		return errFile{j.line + 1, errLong.Error()}
	}
	return err
}

// readLine reads up to a line feed. At the end it gives what is left, with io.EOF.
func readLine(in *bufio.Reader) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxRecord {
			return nil, errLong
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// object reads one JSON object, numbers to the digit.
func object(text []byte) (map[string]any, error) {
	if !utf8.Valid(text) {
		return nil, errRow{"is not UTF-8"}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var row map[string]any
	if err := d.Decode(&row); err != nil {
		return nil, errRow{jsonReason(err)}
	}
	if row == nil {
		return nil, errRow{"is no JSON object"}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errRow{"has something after the object"}
	}
	return row, nil
}

func jsonReason(err error) string {
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return "is no JSON object"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the JSON ends too early"
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}
