package review

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"holdfast/app/api"
	"holdfast/app/api/signed"
)

// ErrReport answers for everything that is no report in its one spelling, or not
// signed with the key that was named.
var ErrReport = errors.New("not a valid report of a review")

var reportForm = signed.Form{Family: "holdfast report of an access review v", Version: "1", Invalid: ErrReport}

// Report says what a campaign decided. Its canonical JSON is what is signed.
type Report struct {
	Format    string    `json:"format"`
	ID        string    `json:"id"`
	Scope     string    `json:"scope"`
	Name      string    `json:"name"`
	Cause     string    `json:"cause"`
	Started   time.Time `json:"started"`
	StartedBy string    `json:"startedBy"`
	Due       time.Time `json:"due"`
	Closed    time.Time `json:"closed"`
	Summary   Summary   `json:"summary"`
	Items     []Item    `json:"items"`
	Method    []string  `json:"method" doc:"what was asked, and what was not"`
}

// method is said in every report.
var method = []string{
	"The items are all roles and all API keys that held in the scope when the review began, as the appliance knew them then. What was given later is in the next review.",
	"confirmed and revoked were decided by a person who may, or by the command line of the host, and never by who holds the role or made the key of the control plane. What was revoked ended at that moment.",
	"lapsed was not answered until the end, after notice was given, and was revoked then. kept was not answered either; it is the role of the last owner, which is not revoked.",
	"gone had ended by other means before it was decided.",
	"used is the last sign-in of the person, or the last use of the key, when the review began.",
}

// sign makes the report of a campaign that closes.
func (s *Service) sign(ctx context.Context, row *reviewRow) error {
	items, err := s.items(ctx, row.ID)
	if err != nil {
		return err
	}
	sum, err := s.summary(ctx, row.ID)
	if err != nil {
		return err
	}
	r := Report{Format: reportForm.Format(), ID: row.ID, Scope: row.Scope, Name: row.Name, Cause: row.Cause, Started: timeOf(row.Started), StartedBy: row.StartedBy,
		Due: timeOf(row.Due), Closed: timeOf(row.Closed), Summary: sum, Items: []Item{}, Method: method}
	for _, it := range items {
		r.Items = append(r.Items, it.item())
	}
	text, err := signed.Text(r)
	if err != nil {
		return fmt.Errorf("report of review %s: %w", row.ID, err)
	}
	row.Report = string(text)
	row.Signature, row.VKey, err = s.config.Signer.SignNote(ctx, row.Report+"\n")
	return err
}

// ParseReport reads a report in its one spelling: ErrReport for any other bytes,
// data.ErrNewer for a later format.
func ParseReport(b []byte) (Report, error) {
	return signed.Parse(reportForm, b, formatOf)
}

// CheckReport verifies a report and its detached signature with a verifier key,
// which must come from somewhere else than the two. It needs no appliance.
func CheckReport(report, signature []byte, verifierKey string) (r Report, appliance string, err error) {
	return signed.Verify(reportForm, report, signature, verifierKey, formatOf)
}

func formatOf(r Report) string { return r.Format }

//go:embed print.html
var printPage string

var printTemplate = signed.NewPage("review", printPage, template.FuncMap{
	"when": func(t *time.Time) string {
		if t == nil {
			return "never"
		}
		return t.UTC().Format("2006-01-02")
	},
})

// printed is what the page shows.
type printed struct {
	Report
	signed.Printed
}

// sendReport answers with a closed campaign's report in the form that is asked for.
func sendReport(w http.ResponseWriter, r *http.Request, row reviewRow) error {
	if row.Report == "" {
		return api.Errorf(http.StatusConflict, "review-open", "The review is under way; its report is made when it closes.")
	}
	name := "review-" + row.ID + ".json"
	switch r.URL.Query().Get("format") {
	case "", "json":
		return signed.SendFile(w, "application/json", name, row.Report)
	case "sig":
		w.Header().Set("X-Verifier-Key", row.VKey)
		return signed.SendFile(w, "text/plain; charset=utf-8", name+".sig", row.Signature)
	case "html":
		p := printed{Printed: signed.NewPrinted(row.Report, row.Signature, row.VKey)}
		if err := json.Unmarshal([]byte(row.Report), &p.Report); err != nil {
			return err
		}
		return signed.SendPage(w, printTemplate, p)
	}
	return api.InvalidField("format", "want json, sig or html")
}
