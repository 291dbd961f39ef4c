package tenant

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// sampleRows is how many rows, or values of a column that comes later, the types
// are inferred from.
const sampleRows = 1000

// PocketBase's field types that are inferred.
const (
	typeText   = "text"
	typeLong   = "editor" // a text field ends at 5000 characters
	typeNumber = "number"
	typeBool   = "bool"
	typeDate   = "date"
	typeEmail  = "email"
	typeURL    = "url"
	typeJSON   = "json"
)

const longText = 5000 // characters

// column gathers what a sample's values of one column could be. A type is taken
// only if every value is of it, and if the value comes out of the store as it
// went in; all else is text.
type column struct {
	name   string
	values int // seen, blanks included
	blanks int // "" or null
	longer bool
	ids    int // values that PocketBase takes for an id

	text, number, boolean, date, email, url, nested int // how many values fit
	digits                                          int // numbers that only a text keeps to the digit

	decimals  map[int]bool // numbers of digits behind the point
	lastDigit bool         // some number ends with 0 behind the point
}

var (
	// At most 15 digits: what a float64 holds to the digit.
	numberPattern = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.([0-9]+))?$`)
	emailPattern  = regexp.MustCompile(`^[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}$`)
	urlPattern    = regexp.MustCompile(`^https?://([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?$`)
	idPattern     = regexp.MustCompile(`^[a-z0-9]{15}$`)
)

func (c *column) observe(value any) {
	c.values++
	switch v := value.(type) {
	case nil:
		c.blanks++
	case bool:
		c.boolean++
	case json.Number:
		c.observeNumber(v.String(), true)
	case string:
		c.observeText(v)
	default:
		c.nested++
	}
}

// observeText looks at a string of either kind of file; fromCSV is what JSON
// would have written without quotes, see csvColumn.
func (c *column) observeText(v string) {
	if v == "" {
		c.blanks++
		return
	}
	c.text++
	c.longer = c.longer || len(v) > longText && utf8.RuneCountInString(v) > longText
	if idPattern.MatchString(v) {
		c.ids++
	}
	if isDate(v) {
		c.date++
	}
	if len(v) < 255 && emailPattern.MatchString(v) {
		c.email++
	}
	if len(v) < 2000 && urlPattern.MatchString(v) {
		c.url++
	}
}

func (c *column) observeNumber(v string, exact bool) {
	m := numberPattern.FindStringSubmatch(v)
	if m == nil && exact {
		if f, err := strconv.ParseFloat(v, 64); err == nil && significant(v) <= 15 && f == f {
			c.number++
			return
		}
	}
	if m == nil || significant(v) > 15 || v == "-0" {
		c.digits++
		return
	}
	c.number++
	if c.decimals == nil {
		c.decimals = map[int]bool{}
	}
	c.decimals[len(m[3])] = true
	c.lastDigit = c.lastDigit || strings.HasSuffix(m[3], "0")
}

// significant counts a number's digits without leading zeros and sign.
func significant(v string) int {
	mantissa, _, _ := strings.Cut(strings.ToLower(v), "e")
	digits := strings.TrimLeft(strings.NewReplacer("-", "", ".", "").Replace(mantissa), "0")
	return len(digits)
}

// dateLayouts are what is taken for a date: with seconds and zone, as PocketBase
// writes it, or a day alone. Nothing finer than a millisecond.
var dateLayouts = []string{
	"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.000Z07:00", "2006-01-02 15:04:05.000Z", "2006-01-02 15:04:05Z", "2006-01-02",
}

func isDate(v string) bool {
	if len(v) < 10 || len(v) > 35 || v[4] != '-' {
		return false
	}
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, v); err == nil {
			return t.Nanosecond()%int(time.Millisecond) == 0 && t.Year() > 0
		}
	}
	return false
}

// kind is the type for the column. whole says that every row was looked at: only
// then may a type be chosen that would refuse a row for its looks.
func (c *column) kind(whole bool) string {
	filled := c.values - c.blanks
	switch filled {
	case 0:
		return typeText
	case c.boolean:
		return typeBool
	case c.number:
		return typeNumber
	case c.date:
		return typeDate
	}
	switch {
	case c.number+c.digits == filled:
		return typeText
	case c.text != filled:
		return typeJSON // mixed, lists or objects
	case c.longer:
		return typeLong
	case whole && c.email == filled:
		return typeEmail
	case whole && c.url == filled:
		return typeURL
	}
	return typeText
}

// csvColumn looks at strings that stand for something else.
type csvColumn struct{ column }

func (c *csvColumn) observe(value any) {
	v, _ := value.(string)
	switch lower := strings.ToLower(v); {
	case v == "":
		c.observeBlank()
	case lower == "true" || lower == "false":
		c.values++
		c.boolean++
		c.text++
	case numberPattern.MatchString(v) && significant(v) <= 15 && v != "-0":
		c.values++
		c.text++
		if idPattern.MatchString(v) {
			c.ids++
		}
		c.observeNumber(v, false)
	case (v[0] == '{' || v[0] == '[') && json.Valid([]byte(v)):
		c.values++
		c.text++
		c.nested++
	default:
		c.column.observe(v)
	}
}

func (c *csvColumn) observeBlank() {
	c.values++
	c.blanks++
}

// kind differs from JSON's: a blank is no false, a zero at the end of a fraction
// tells a version from a number unless all have as many, and what is mixed
// is text.
func (c *csvColumn) kind(whole bool) string {
	filled := c.values - c.blanks
	switch {
	case filled == 0:
		return typeText
	case c.boolean == filled && c.blanks == 0:
		return typeBool
	case c.number == filled && (!c.lastDigit || len(c.decimals) == 1):
		return typeNumber
	case c.nested == filled:
		return typeJSON
	}
	plain := c.column
	plain.boolean, plain.number, plain.digits, plain.nested = -1, -1, 0, 0
	return plain.kind(whole)
}
