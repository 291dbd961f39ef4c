package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"holdfast/app/api"
	"holdfast/app/edge"
	"holdfast/data"
	"holdfast/data/keys"
)

// Severities of a finding.
const (
	critical = "critical"
	warning  = "warning"
	info     = "info"
)

// Ailment is one thing that is misconfigured, insecure or failing, with the way
// out of it.
type Ailment struct {
	ID       string `json:"id"`
	Severity string `json:"severity" enum:"critical,warning,info"`
	What     string `json:"what"`
	Fix      string `json:"fix"`
}

// Diagnosis is what the doctor found.
type Diagnosis struct {
	OK       bool      `json:"ok" doc:"nothing is critical, and nothing is a warning"`
	Findings []Ailment `json:"findings" doc:"the worst first"`
}

// doctor asks every room what is not as it should be. A room that cannot answer is
// a finding of its own.
type doctor struct {
	*house
	appliance *Appliance
}

func (d doctor) routes() []api.Route {
	return []api.Route{{
		Method: http.MethodGet, Path: "/api/v1/doctor", Permission: api.DoctorRead,
		Summary: "What is misconfigured, insecure or failing, with the fix", Response: Diagnosis{}, Handler: d.serve,
	}}
}

func (d doctor) serve(w http.ResponseWriter, r *http.Request) error {
	return api.Respond(w, http.StatusOK, d.diagnose(r.Context()))
}

func (d doctor) diagnose(ctx context.Context) Diagnosis {
	out := Diagnosis{OK: true, Findings: []Ailment{}}
	for room, ask := range map[string]func(context.Context) ([]Ailment, error){
		"keys": d.ofKeys, "snapshots": d.ofSnapshots, "drills": d.ofDrills, "ledger": d.ofLedger, "people": d.ofPeople,
		"single sign-on": d.ofSSO, "network": d.ofNetwork, "host": d.ofHost, "stores": d.ofStores, "api keys": d.ofAPIKeys, "access reviews": d.ofReviews, "what outsiders made": d.ofOutsiders, "what takes two persons": d.ofPairs,
	} {
		found, err := ask(ctx)
		if err != nil {
			d.appliance.logger.ErrorContext(ctx, "the doctor could not look at a part", "part", room, "error", err)
			found = append(found, Ailment{"not-examined", critical, "What concerns " + room + " could not be looked at. The server's log has the reason.", "Look into the log, mend it, and ask again."})
		}
		out.Findings = append(out.Findings, found...)
	}
	slices.SortStableFunc(out.Findings, func(a, b Ailment) int {
		return cmp.Or(cmp.Compare(severityRank(a.Severity), severityRank(b.Severity)), cmp.Compare(a.ID, b.ID), cmp.Compare(a.What, b.What))
	})
	for _, f := range out.Findings {
		out.OK = out.OK && f.Severity == info
	}
	return out
}

func severityRank(s string) int { return slices.Index([]string{critical, warning, info}, s) }

func (d doctor) ofKeys(ctx context.Context) (out []Ailment, err error) {
	st, err := d.custody.Status(ctx)
	for _, f := range st.Findings {
		out = append(out, Ailment{f.ID, f.Severity, f.Text, f.Fix})
	}
	return append(out, d.retired()...), err
}

// retiredFor is how long a key that was replaced may still be needed.
const retiredFor = 30 * 24 * time.Hour

// retired tells of owners whose old keys are still needed long after a rotation.
func (d doctor) retired() []Ailment {
	owners := map[keys.Owner]bool{}
	for _, e := range d.ring.Entries() {
		if e.State == keys.Retired && d.appliance.now().Sub(e.Changed) > retiredFor && e.Purpose != keys.AuditSigning {
			owners[e.Owner] = true
		}
	}
	if len(owners) == 0 {
		return nil
	}
	return []Ailment{{"keys-retired", info, fmt.Sprintf("Keys of %d owners were replaced more than 30 days ago and are still needed: something on disk or on a target lies under them.", len(owners)),
		"holdfast keys status --owner - shows which; holdfast keys rotate OWNER PURPOSE writes anew what is left."}}
}

func (d doctor) ofSnapshots(ctx context.Context) (out []Ailment, err error) {
	found, err := d.recovery.Findings(ctx)
	for _, f := range found {
		out = append(out, Ailment{f.ID, asSeverity(f.Severity), f.What, f.Fix})
	}
	return out, err
}

func asSeverity(s string) string {
	if s == "error" {
		return critical
	}
	return s
}

func (d doctor) ofDrills(ctx context.Context) (out []Ailment, err error) {
	found, err := d.drills.Findings(ctx)
	for _, f := range found {
		out = append(out, Ailment(f))
	}
	return out, err
}

func (d doctor) ofLedger(ctx context.Context) (out []Ailment, err error) {
	l, err := d.disposal.Ledger(ctx)
	if len(l.Missing) > 0 {
		out = append(out, Ailment{"ledger-missing", critical, fmt.Sprintf("%d entries of the ledger of destructions were taken away: what they destroyed or erased might come back.", len(l.Missing)),
			"Bring the objects below ledger/ back onto a target from a copy of it, then restart."})
	}
	return out, err
}

func (d doctor) ofPeople(ctx context.Context) (out []Ailment, err error) {
	needed, err := d.identity.SetupNeeded(ctx)
	if needed {
		out = append(out, Ailment{"no-operator", warning, "Nobody has an account yet: who has the setup link makes the first.", "Open the setup link, or: holdfast operator create EMAIL --password-stdin"})
	}
	return out, err
}

// Days before its end that a certificate ought to have been renewed.
const certificateDays = 14

func (d doctor) ofNetwork(ctx context.Context) (out []Ailment, err error) {
	if d.appliance.config.InsecureHTTP {
		out = append(out, Ailment{"plain-http", warning, "Passwords and records cross the network in clear: --insecure-http is on.",
			"Leave it on only behind a proxy on this host that speaks TLS; else use --domain."})
	}
	if len(d.appliance.config.Domains) == 0 {
		return out, nil
	}
	certificates, err := edge.Certificates(ctx, d.vault.Sub("certificates/"))
	now := d.appliance.now()
	newest := map[string]time.Time{}
	for _, c := range certificates {
		if c.NotAfter.After(newest[c.Name]) {
			newest[c.Name] = c.NotAfter
		}
	}
	for name, until := range newest {
		switch {
		case until.Before(now):
			out = append(out, Ailment{"certificate-expired", critical, fmt.Sprintf("The certificate of %s expired on %s.", name, until.Format(time.DateOnly)), certificateFix})
		case until.Sub(now) < certificateDays*24*time.Hour:
			out = append(out, Ailment{"certificate-late", warning, fmt.Sprintf("The certificate of %s ends on %s and was not renewed.", name, until.Format(time.DateOnly)), certificateFix})
		}
	}
	return out, err
}

const certificateFix = "See that the name leads to this host and that its ports 80 and 443 can be reached; the log has what the certificate authority said."

func gib(n int64) float64 { return float64(n) / (1 << 30) }

// Room that the disk ought to have.
const (
	littleRoom = 0.10
	noRoom     = 0.03
)

func (d doctor) ofHost(ctx context.Context) (out []Ailment, err error) {
	free, total, err := roomOf(d.appliance.folder.path)
	const fix = "Free room on the disk of the data folder, or move the folder to a larger one. A prune of old snapshots helps only where a target lies on the same disk."
	left := float64(free) / float64(max(1, total))
	switch what := fmt.Sprintf("The disk of the data folder has %.1f GiB of %.1f GiB left.", gib(free), gib(total)); {
	case err != nil:
	case left < noRoom:
		out = append(out, Ailment{"disk-full", critical, what, fix})
	case left < littleRoom:
		out = append(out, Ailment{"disk-low", warning, what, fix})
	}
	setback, later := (lastSeen{vault: d.vault.Sub("clock")}).setBack(ctx)
	if !setback.IsZero() && d.appliance.now().Sub(setback) < 7*24*time.Hour {
		out = append(out, Ailment{"clock-set-back", warning, "The host's clock was set back, seen on " + setback.Format("2006-01-02 15:04 MST") + ": what had expired may live again.", "Check the host's time service."})
	}
	return out, errors.Join(err, later)
}

// ofStores tells of stores whose last scrub found damage.
func (d doctor) ofStores(ctx context.Context) (out []Ailment, err error) {
	damaged, err := d.recovery.Damaged(ctx)
	for _, id := range damaged {
		name, err := (drilledTenants{directory{d.tenants}}).Name(ctx, id)
		if errors.Is(err, data.ErrNotFound) || errors.Is(err, data.ErrParked) || errors.Is(err, data.ErrDestroyed) {
			continue
		}
		if name == "" {
			name = id.String()
		}
		out = append(out, Ailment{"store-damaged", critical, "The last scrub of " + name + " found damage on this host's disk.",
			"holdfast scrub " + name + " names file and page. Restore it in place, and have the disk examined: holdfast restore " + strings.TrimSuffix(name, "/prod") + " --in-place"})
	}
	return out, err
}
