package signed

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"html/template"
	"net/http"
	"strings"
	"time"
)

//go:embed page.css
var pageStyle string

// Printed is what a page shows beside what was signed; a page's data embeds it.
type Printed struct {
	Style       template.CSS
	SHA256      string // of the signed text, hexadecimal
	Signature   string
	VerifierKey string
}

// NewPrinted is of a signed text, its signature and the key that checks it.
func NewPrinted(text, signature, verifierKey string) Printed {
	sum := sha256.Sum256([]byte(text))
	return Printed{template.CSS(pageStyle), hex.EncodeToString(sum[:]), signature, verifierKey} //nolint:gosec // our own file
}

// NewPage reads the template of a page, a fixed text of the program: it panics where
// that does not parse. Besides more, the page can say a moment long (at) and short
// (short), and a fingerprint in groups of eight (print).
func NewPage(name, text string, more template.FuncMap) *template.Template {
	return template.Must(template.New(name).Funcs(pageFuncs()).Funcs(more).Parse(text))
}

func pageFuncs() template.FuncMap {
	return template.FuncMap{
		"at":    func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04:05 UTC") },
		"short": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") },
		"print": inGroups,
	}
}

// inGroups is for people who compare.
func inGroups(s string) string {
	var groups []string
	for ; len(s) > 8; s = s[8:] {
		groups = append(groups, s[:8])
	}
	return strings.Join(append(groups, s), " ")
}

// SendPage answers with a page without scripts. Its only style is its own, allowed
// by hash, so the page says the same when it is saved.
func SendPage(w http.ResponseWriter, page *template.Template, shown any) error {
	var b bytes.Buffer
	if err := page.Execute(&b, shown); err != nil {
		return err
	}
	style := sha256.Sum256([]byte(pageStyle))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(style[:])+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	_, err := w.Write(b.Bytes())
	return err
}
