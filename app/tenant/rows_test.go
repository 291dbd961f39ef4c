package tenant

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// readAll gives records as "line:json", and errors in their place.
func readAll(f Format, r io.Reader) (out []string, err error) {
	in, err := openRows(f, r)
	if err != nil {
		return nil, err
	}
	for {
		row, line, err := in.next()
		var bad errRow
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case errors.As(err, &bad):
			out = append(out, fmt.Sprintf("%d!%s", line, bad.reason))
			continue
		case err != nil:
			return out, err
		}
		text, err := json.Marshal(row)
		if err != nil {
			return out, err
		}
		out = append(out, fmt.Sprintf("%d:%s", line, text))
	}
}

func TestRows(t *testing.T) {
	for name, c := range map[string]struct {
		format Format
		file   string
		want   string
		err    string
	}{
		"csv":               {CSV, "a,b\n1,x\n2,\"y, z\"\n", `2:{"a":"1","b":"x"} 3:{"a":"2","b":"y, z"}`, ""},
		"csv with mark":     {CSV, "\ufeffa\n1\n", `2:{"a":"1"}`, ""},
		"csv no last break": {CSV, "a\n1", `2:{"a":"1"}`, ""},
		"csv CRLF":          {CSV, "a,b\r\n1,\"x\r\ny\"\r\n2,z\r\n", `2:{"a":"1","b":"x\r\ny"} 4:{"a":"2","b":"z"}`, ""},
		"csv lone return":   {CSV, "a\n\"x\ry\"\n", `2:{"a":"x\ry"}`, ""},
		"csv quotes":        {CSV, "a\n\"say \"\"hi\"\"\"\n", `2:{"a":"say \"hi\""}`, ""},
		"csv two lines":     {CSV, "a,b\n\"x\ny\",1\nz\nq,2\n", `2:{"a":"x\ny","b":"1"} 4!has 1 fields, the header has 2 5:{"a":"q","b":"2"}`, ""},
		"csv not UTF-8":     {CSV, "a\n\xff\nx\n", `2!a: is not UTF-8 3:{"a":"x"}`, ""},
		"csv header only":   {CSV, "a,b\n", ``, ""},
		"csv empty":         {CSV, "", ``, "line 1: the file is empty: want a header"},
		"csv never closed":  {CSV, "a,b\nFine,1\n\"never closed,2\nx,3\n", `2:{"a":"Fine","b":"1"}`, "line 3: extraneous or missing"},
		"csv bare quote":    {CSV, "a\nx\ny\"z\n", `2:{"a":"x"}`, "line 3: bare"},
		"csv same name":     {CSV, "a,a\n1,2\n", ``, `line 1: two columns are named "a"`},

		"jsonl":           {JSONL, "{\"a\":1}\n\n{\"a\":null}\n", `1:{"a":1} 3:{"a":null}`, ""},
		"jsonl mark":      {JSONL, "\ufeff{\"a\":1}", `1:{"a":1}`, ""},
		"jsonl CRLF":      {JSONL, "{\"a\":1}\r\n{\"a\":2}\r\n", `1:{"a":1} 2:{"a":2}`, ""},
		"jsonl bad lines": {JSONL, "{\"a\":1}\n{\"a\":\n[1]\n7\nnull\n{\"a\":2}{}\n\"\xff\"\n{\"a\":3}", `1:{"a":1} 2!the JSON ends too early 3!is no JSON object 4!is no JSON object 5!is no JSON object 6!has something after the object 7!is not UTF-8 8:{"a":3}`, ""},
		"jsonl empty":     {JSONL, "", ``, ""},
		"jsonl digits":    {JSONL, `{"a":12345678901234567890.10}`, `1:{"a":12345678901234567890.10}`, ""},

		"json":           {JSON, "[{\"n\":1},{\"n\":2},\n {\"n\":3}]\n", `1:{"n":1} 1:{"n":2} 2:{"n":3}`, ""},
		"json deep line": {JSON, "[\n{\n\"n\":1\n},\n\n{\"n\":2}]", `2:{"n":1} 6:{"n":2}`, ""},
		"json bad row":   {JSON, "[{\"n\":1},\n5,\n{\"n\":2}]", `1:{"n":1} 2!is no JSON object 3:{"n":2}`, ""},
		"json none":      {JSON, " [ ] ", ``, ""},
		"json object":    {JSON, `{"n":1}`, ``, "line 1: want a JSON array of objects"},
		"json cut":       {JSON, "[{\"n\":1},\n{\"n\":", `1:{"n":1}`, "line 2: the JSON ends too early"},
		"json comma":     {JSON, "[{\"n\":1}\n{\"n\":2}]", `1:{"n":1}`, "line 2: "},
		"json after":     {JSON, "[{\"n\":1}]\n[]", `1:{"n":1}`, "line 2: there is something after the array"},
		"json empty":     {JSON, "", ``, "line 1: the file is empty"},
		"json text":      {JSON, "hello", ``, "line 1: "},
		"unknown":        {"xml", "", ``, `format "xml"`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.file), iotest.OneByteReader(strings.NewReader(c.file))} {
				got, err := readAll(c.format, r)
				if strings.Join(got, " ") != c.want {
					t.Errorf("got  %s\nwant %s", strings.Join(got, " "), c.want)
				}
				if (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
			}
		})
	}
}

func TestReadingErrorsArePassedOn(t *testing.T) {
	broken := errors.New("the disk is gone")
	for f, begin := range map[Format]string{CSV: "a\n1\n", JSONL: "{\"a\":1}\n", JSON: "[{\"a\":1},"} {
		_, err := readAll(f, io.MultiReader(strings.NewReader(begin), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			t.Errorf("%s: got %v", f, err)
		}
	}
}

func TestLongRecord(t *testing.T) {
	long := `{"a":"` + strings.Repeat("x", maxRecord) + `"}`
	for f, file := range map[Format]string{JSONL: "{\"a\":1}\n" + long, JSON: "[{\"a\":1},\n" + long + "]"} {
		_, err := readAll(f, strings.NewReader(file))
		var broken errFile
		if !errors.As(err, &broken) || broken.line != 2 {
			t.Errorf("%s: got %v", f, err)
		}
	}
}

func FuzzRows(f *testing.F) {
	for _, seed := range []string{"a,b\n1,2\n", "a\n\"x\r\ny\"\n", "{\"a\":1}\n{", "[{\"a\":[1,{}]},\n{}]", "\ufeff", "a\n\"", "[1"} {
		for i := range formats {
			f.Add(i, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, format int, file []byte) {
		if format < 0 || format >= len(formats) {
			return
		}
		one, err1 := readAll(formats[format], bytes.NewReader(file))
		two, err2 := readAll(formats[format], iotest.OneByteReader(bytes.NewReader(file)))
		if strings.Join(one, "\n") != strings.Join(two, "\n") || fmt.Sprint(err1) != fmt.Sprint(err2) {
			t.Errorf("the reader's pace matters:\n%q %v\n%q %v", one, err1, two, err2)
		}
		last := 0
		for _, s := range one {
			var line int
			if _, err := fmt.Sscan(strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == '!' })[0], &line); err != nil || line < last {
				t.Errorf("line %d after %d in %q", line, last, one)
			}
			last = line
		}
	})
}

// FuzzCSVRoundTrip holds that a text comes out of a CSV file as it went in,
// carriage returns and all.
func FuzzCSVRoundTrip(f *testing.F) {
	f.Add("x", "y\r\nz")
	f.Add("\"", "\r")
	f.Add("a,b", "\r\r\n\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		var file bytes.Buffer
		w := csv.NewWriter(&file)
		if w.Write([]string{"a", "b", "end"}) != nil || w.Write([]string{a, b, "."}) != nil {
			t.Skip()
		}
		w.Flush()
		in, err := openRows(CSV, &file)
		if err != nil {
			t.Fatal(err)
		}
		row, _, err := in.next()
		var bad errRow
		if errors.As(err, &bad) {
			return // not UTF-8
		}
		if err != nil || row["a"] != a || row["b"] != b {
			t.Errorf("%q %q came back as %q, %v", a, b, row, err)
		}
	})
}
