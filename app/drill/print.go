package drill

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"holdfast/app/api"
)

//go:embed print.html
var printPage string

//go:embed print.css
var printStyle string

var printTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"at":    func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04:05 UTC") },
	"short": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") },
	"secs":  func(ms int64) string { return fmt.Sprintf("%.1f s", float64(ms)/1000) },
	"ms": func(ms *int64) string {
		if ms == nil {
			return "not measured"
		}
		return fmt.Sprintf("%.1f s", float64(*ms)/1000)
	},
	"missed": func(met *bool) string {
		if met != nil && !*met {
			return " (missed)"
		}
		return ""
	},
	"metOr": func(met *bool) string {
		switch {
		case met == nil:
			return ""
		case *met:
			return ": met"
		}
		return ": missed"
	},
	"goals": func(met, set int) string {
		if set == 0 {
			return "no goal was set"
		}
		return fmt.Sprintf("goal met in %d of %d", met, set)
	},
	"verdict": func(ok bool) string {
		if ok {
			return "passed"
		}
		return "failed"
	},
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
	Report
	Style       template.CSS
	SHA256      string
	Signature   string
	VerifierKey string
}

// sendReport answers with a report in the form that is asked for.
func sendReport(w http.ResponseWriter, r *http.Request, name string, s signature) error {
	switch r.URL.Query().Get("format") {
	case "", "json":
		return sendFile(w, "application/json", name+".json", s.Report)
	case "sig":
		w.Header().Set("X-Verifier-Key", s.VKey)
		return sendFile(w, "text/plain; charset=utf-8", name+".json.sig", s.Signature)
	case "html":
		return sendPage(w, s)
	}
	return api.InvalidField("format", "want json, sig or html")
}

func sendFile(w http.ResponseWriter, mediaType, name, content string) error {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, err := w.Write([]byte(content))
	return err
}

// sendPage shows a report as one page without scripts. Its only style is its own,
// allowed by hash, so the page says the same when it is saved.
func sendPage(w http.ResponseWriter, s signature) error {
	sum := sha256.Sum256([]byte(s.Report))
	p := printed{Style: template.CSS(printStyle), SHA256: hex.EncodeToString(sum[:]), Signature: s.Signature, VerifierKey: s.VKey} //nolint:gosec // our own file
	if err := json.Unmarshal([]byte(s.Report), &p.Report); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := printTemplate.Execute(&b, p); err != nil {
		return err
	}
	style := sha256.Sum256([]byte(printStyle))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(style[:])+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	_, err := w.Write(b.Bytes())
	return err
}
