package tenant

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/quick"

	"holdfast/data/store"
)

func sampleOf(t testing.TB, f Format, file string) *sample {
	t.Helper()
	in, err := openRows(f, strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	s, err := look(f, in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestInferFromCSV(t *testing.T) {
	for want, columns := range map[string][][]string{
		typeNumber: {{"1", "2", "-3"}, {"1.5", "2.25"}, {"0", "0.5"}, {"1.50", "2.00"}, {"", "7"}, {"123456789012345"}, {"-0.5"}},
		typeBool:   {{"true", "false"}, {"TRUE", "False"}},
		typeDate:   {{"2024-02-29"}, {"2024-01-02T03:04:05Z", ""}, {"2024-01-02 03:04:05.678Z"}, {"2024-01-02T03:04:05+02:00"}},
		typeEmail:  {{"anna@example.com", "b.c@d.example.org"}},
		typeURL:    {{"https://example.com/a?b"[:21], "http://x.org"}},
		typeJSON:   {{`{"a":1}`, `[1,2]`}},
		typeLong:   {{strings.Repeat("x", 5001), "short"}},
		typeText: {
			{"", ""}, {"007"}, {"1", "x"}, {"1.10", "1.9"}, {"1e5"}, {"+1"}, {"1,5"}, {"NaN"}, {"Inf"}, {"0x10"}, {"1_000"}, {"12345678901234567"}, {"-0"},
			{"true", ""}, {"yes", "no"}, {"true", "1"}, {"2024-02-30"}, {"02/03/2024"}, {"2024-01-02", "soon"}, {"2024-01-02T03:04:05.1234Z"},
			{"anna@example.com", "nobody"}, {"http://localhost"}, {"javascript:alert(1)"}, {`{"a":`}, {`{"a":1}`, "x"}, {"5 kg"}, {" 5"}, {"."}, {"-"},
		},
	} {
		for _, values := range columns {
			file := "c,end\n"
			for _, v := range values {
				file += `"` + strings.ReplaceAll(v, `"`, `""`) + "\",x\n"
			}
			if got := sampleOf(t, CSV, file).columns["c"].kind(true); got != want {
				t.Errorf("%q: got %s, want %s", clip(fmt.Sprint(values)), got, want)
			}
		}
	}
}

func TestInferFromJSON(t *testing.T) {
	for want, columns := range map[string][]string{
		typeNumber: {`1`, `1.10|1.9`, `null|5`, `1e5`, `-0.25`},
		typeBool:   {`true|false`, `true|null`},
		typeDate:   {`"2024-02-29"|""`},
		typeEmail:  {`"anna@example.com"`},
		typeJSON:   {`{}`, `[1]`, `1|"x"`, `true|1`, `{"a":1}|null`},
		typeText:   {`12345678901234567890|1`, `0.1234567890123456789`, `"1"|"2"`, `"true"`, `""`, `null`, `"x"`, `"{}"`},
	} {
		for _, values := range columns {
			file := ""
			for v := range strings.SplitSeq(values, "|") {
				file += `{"c":` + v + "}\n"
			}
			if got := sampleOf(t, JSONL, file).columns["c"].kind(true); got != want {
				t.Errorf("%s: got %s, want %s", values, got, want)
			}
		}
	}
}

// TestLooksNeedTheWholeFile: a type that refuses a row for its looks is chosen only
// where no row can be left.
func TestLooksNeedTheWholeFile(t *testing.T) {
	row := "a@example.com,https://example.com,5\n"
	for n, want := range map[int]string{sampleRows: "email url number", sampleRows + 1: "text text number"} {
		s := sampleOf(t, CSV, "mail,site,n\n"+strings.Repeat(row, n))
		var kinds []string
		for _, f := range s.plan().fields {
			kinds = append(kinds, f.Type)
		}
		if got := strings.Join(kinds, " "); got != want {
			t.Errorf("%d rows: got %s, want %s", n, got, want)
		}
	}
}

func TestColumnsThatComeLate(t *testing.T) {
	file := strings.Repeat("{\"a\":1}\n", sampleRows+5) + "{\"a\":\"x\",\"late\":7}\n{\"late\":8}\n"
	s := sampleOf(t, JSONL, file)
	want := []store.Field{{Name: "a", Type: typeNumber}, {Name: "late", Type: typeNumber}}
	if got := s.plan().fields; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestNamesOfFields(t *testing.T) {
	file := "Package,Installed-Size,installed_size,größe,,id,expand,1st,true,created,password,x_via_y\na,1,2,3,4,x,6,7,8,9,10,11\n"
	var got []string
	for _, f := range sampleOf(t, CSV, file).plan().fields {
		got = append(got, f.Name)
	}
	want := "Package Installed_Size installed_size_2 gr__e column_5 source_id source_1st source_true source_created source_password source_x_by_y"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}

func TestIDs(t *testing.T) {
	good := "abcdefghij12345"
	for file, want := range map[string]string{
		"id,a\n" + good + ",1\n": "id", "id,a\n" + good + ",1\n5,2\n": "source_id", "id,a\n1,1\n": "source_id", "id,a\n,1\n": "source_id",
		"ID,a\n" + good + ",1\n": "source_id",
	} {
		s := sampleOf(t, CSV, file)
		p := s.plan()
		if got := p.fields[0].Name; got != want {
			t.Errorf("%q: got %s, want %s", file, got, want)
		}
	}
	existing := store.Collection{Fields: []store.Field{{Name: "id", Type: "text"}, {Name: "source_id", Type: "number"}, {Name: "a", Type: "number"}}}
	if got := sampleOf(t, CSV, "id,a\n1,1\n").match(existing).of["id"]; got != "source_id" {
		t.Errorf("got %s", got)
	}
	if got := sampleOf(t, CSV, "id,a\n"+good+",1\n").match(existing).of["id"]; got != "id" {
		t.Errorf("got %s", got)
	}
}

func TestMatchFindsFieldsByTheNameTheyWereGiven(t *testing.T) {
	c := store.Collection{Fields: []store.Field{{Name: "id", Type: "text"}, {Name: "Installed_Size", Type: "number"}}}
	m := sampleOf(t, CSV, "Installed-Size,collectionId,Other\n1,x,y\n").match(c)
	if m.of["Installed-Size"] != "Installed_Size" || m.of["collectionId"] != "" || !slices.Equal(m.unknown(), []string{"Other"}) {
		t.Errorf("got %+v, %v", m.of, m.unknown())
	}
}

func TestTooManyColumns(t *testing.T) {
	var names []string
	for i := range maxFields + 1 {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	in, err := openRows(CSV, strings.NewReader(strings.Join(names, ",")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := look(CSV, in); err == nil {
		t.Error("more columns than SQLite takes")
	}
}

func TestToField(t *testing.T) {
	for _, c := range []struct {
		kind string
		in   any
		csv  bool
		want string
	}{
		{typeJSON, "plain", true, `"\"plain\""`}, {typeJSON, `{"a":1}`, true, `"{\"a\":1}"`}, {typeJSON, "12", true, `"12"`}, {typeJSON, "", true, `null`},
		{typeJSON, "12", false, `"\"12\""`}, {typeJSON, json.Number("12345678901234567890"), false, `"12345678901234567890"`}, {typeJSON, nil, false, `"null"`},
		{typeNumber, "1.5", true, `1.5`}, {typeNumber, "", true, `null`}, {typeText, json.Number("1.10"), false, `"1.10"`}, {typeText, true, false, `"true"`},
		{"select", `["a","b"]`, true, `["a","b"]`}, {"select", "a", true, `"a"`}, {"select", `[broken`, true, `"[broken"`}, {typeBool, "true", true, `"true"`},
	} {
		got, err := toField(c.kind, c.in, c.csv)
		text, _ := json.Marshal(got)
		if err != nil || string(text) != c.want {
			t.Errorf("%s %v: got %s, want %s (%v)", c.kind, c.in, text, c.want, err)
		}
	}
	for _, bad := range []string{"x", "NaN", "Inf", "-inf", "0x10", "1_000", "1e999", "1,5"} {
		if _, err := toField(typeNumber, bad, true); err == nil {
			t.Errorf("%s passes for a number", bad)
		}
	}
	if _, err := toField(typeText, "a\x00b", false); err == nil {
		t.Error("a zero byte passes into a text")
	}
}

// FuzzInfer holds that what is inferred also takes every value that it was
// inferred from, and that a number comes back as it was written.
func FuzzInfer(f *testing.F) {
	f.Add("1", "2.5")
	f.Add("true", "false")
	f.Add("2024-01-02", "")
	f.Add(`{"a":1}`, "x")
	f.Add("007", "1e5")
	f.Fuzz(func(t *testing.T, a, b string) {
		c := &csvColumn{}
		c.observe(a)
		c.observe(b)
		kind := c.kind(true)
		for _, v := range []string{a, b} {
			got, err := toField(kind, v, true)
			if err != nil && !strings.ContainsRune(v, 0) {
				t.Errorf("%q was taken for %s, but: %v", v, kind, err)
			}
			if n, ok := got.(float64); ok && kind == typeNumber && !sameNumber(v, n) {
				t.Errorf("%q became %v", v, n)
			}
		}
		if name := fieldName(a, 3); !fieldPattern.MatchString(name) || len(name) > 100 {
			t.Errorf("%q became the field %q", a, name)
		}
	})
}

var fieldPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func sameNumber(text string, n float64) bool {
	got, err := cell(n)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		text = "0"
	}
	return err == nil && (got == text || got == "-0" && text == "0")
}

func TestNumbersComeBackToTheDigit(t *testing.T) {
	err := quick.Check(func(n int64, places uint8) bool {
		digits := fmt.Sprint(n % 1e15)
		at := len(digits) - int(places%15)
		if at < 1 || digits[:at] == "-" {
			return true
		}
		text := strings.TrimSuffix(digits[:at]+"."+digits[at:], ".")
		c := &csvColumn{}
		c.observe(text)
		if c.kind(true) != typeNumber {
			return true
		}
		v, err := toField(typeNumber, text, true)
		return err == nil && sameNumber(text, v.(float64))
	}, &quick.Config{MaxCount: 5000})
	if err != nil {
		t.Error(err)
	}
}
