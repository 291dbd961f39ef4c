package drill

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"

	"holdfast/app/api"
	"holdfast/app/api/signed"
)

//go:embed print.html
var printPage string

var printTemplate = signed.NewPage("report", printPage, template.FuncMap{
	"secs": func(ms int64) string { return fmt.Sprintf("%.1f s", float64(ms)/1000) },
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
})

// printed is what the page shows.
type printed struct {
	Report
	signed.Printed
}

// sendReport answers with a report in the form that is asked for.
func sendReport(w http.ResponseWriter, r *http.Request, name string, s signature) error {
	switch r.URL.Query().Get("format") {
	case "", "json":
		return signed.SendFile(w, "application/json", name+".json", s.Report)
	case "sig":
		w.Header().Set("X-Verifier-Key", s.VKey)
		return signed.SendFile(w, "text/plain; charset=utf-8", name+".json.sig", s.Signature)
	case "html":
		return sendPage(w, s)
	}
	return api.InvalidField("format", "want json, sig or html")
}

// sendPage shows a report as one page.
func sendPage(w http.ResponseWriter, s signature) error {
	p := printed{Printed: signed.NewPrinted(s.Report, s.Signature, s.VKey)}
	if err := json.Unmarshal([]byte(s.Report), &p.Report); err != nil {
		return err
	}
	return signed.SendPage(w, printTemplate, p)
}
