package disposal

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"strings"
	"time"
)

//go:embed print.html
var printPage string

//go:embed print.css
var printStyle string

var printTemplate = template.Must(template.New("certificate").Funcs(template.FuncMap{
	"at":    func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04:05 UTC") },
	"short": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") },
	"print": func(s string) string { // in groups, for people who compare
		var groups []string
		for ; len(s) > 8; s = s[8:] {
			groups = append(groups, s[:8])
		}
		return strings.Join(append(groups, s), " ")
	},
}).Parse(printPage))

// printed is what the page shows.
type printed struct {
	Certificate
	Style       template.CSS
	SHA256      string
	Signature   string
	VerifierKey string
}

// servePrint shows a certificate as one page without scripts. Its only style is its
// own, allowed by hash.
func (s *Service) servePrint(w http.ResponseWriter, r *http.Request) error {
	row, err := s.certified(r)
	if err != nil {
		return err
	}
	p := printed{Style: template.CSS(printStyle), SHA256: hashOf(row.Certificate), Signature: row.Signature, VerifierKey: row.VKey} //nolint:gosec // our own file
	if err := json.Unmarshal([]byte(row.Certificate), &p.Certificate); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := printTemplate.Execute(&b, p); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(printStyle))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	_, err = w.Write(b.Bytes())
	return err
}
