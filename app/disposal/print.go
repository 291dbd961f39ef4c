package disposal

import (
	_ "embed"
	"encoding/json"
	"net/http"

	"holdfast/app/api/signed"
)

//go:embed print.html
var printPage string

var printTemplate = signed.NewPage("certificate", printPage, nil)

// printed is what the page shows.
type printed struct {
	Certificate
	signed.Printed
}

// servePrint shows a certificate as one page.
func (s *Service) servePrint(w http.ResponseWriter, r *http.Request) error {
	row, err := s.certified(r)
	if err != nil {
		return err
	}
	p := printed{Printed: signed.NewPrinted(row.Certificate, row.Signature, row.VKey)}
	if err := json.Unmarshal([]byte(row.Certificate), &p.Certificate); err != nil {
		return err
	}
	return signed.SendPage(w, printTemplate, p)
}
