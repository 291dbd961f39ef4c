package drill

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/app/api/signed"
	"holdfast/data"
	"holdfast/data/system"
)

// ErrReport answers for everything that is no report in its one spelling, or not
// signed with the key that was named.
var ErrReport = errors.New("not a valid report of drills")

var reportForm = signed.Form{Family: "holdfast report of drills v", Version: "1", Invalid: ErrReport}

// Report says what drills found. Its canonical JSON is what is signed.
type Report struct {
	Format  string     `json:"format"`
	ID      string     `json:"id"`
	Made    time.Time  `json:"made"`
	By      string     `json:"by"`
	From    *time.Time `json:"from" doc:"of a period; null in the report of one drill"`
	Until   *time.Time `json:"until"`
	Summary Summary    `json:"summary"`
	Stores  []Covered  `json:"stores" doc:"of a period: every live store and target, drilled or not"`
	Drills  []Drill    `json:"drills" doc:"oldest first"`
	Method  []string   `json:"method" doc:"what each check shows, and what it does not"`
}

// Summary counts the drills of a report.
type Summary struct {
	Drills   int   `json:"drills"`
	Passed   int   `json:"passed"`
	Failed   int   `json:"failed"`
	RTOMet   int   `json:"rto_met"`
	RTOSet   int   `json:"rto_set" doc:"drills that had a goal"`
	RPOMet   int   `json:"rpo_met"`
	RPOSet   int   `json:"rpo_set"`
	WorstRTO int64 `json:"worst_rto_ms"`
	WorstRPO int64 `json:"worst_rpo_ms"`
}

// Covered is how one store and target stood when a report was made.
type Covered struct {
	Store   string     `json:"store"`
	Name    string     `json:"name"`
	Target  string     `json:"target"`
	Drills  int        `json:"drills" doc:"in the period"`
	Passed  int        `json:"passed"`
	Last    *time.Time `json:"last_passed"`
	Overdue bool       `json:"overdue"`
}

// method is said in every report.
var method = []string{
	"chain: the snapshot was read from the target alone. Each object has the signature, size and SHA-256 that its manifest gives, each manifest follows the one before, " +
		"and the chain does not end before what this host knows it shipped.",
	"checksum: the restored database has, page for page, the checksum in the signed manifest; so has the tree of files.",
	"probe: PocketBase opened the restored store, listed its collections and read records of each. rto_ms runs from the beginning of the drill until then; " +
		"waiting for another drill to end is not in it.",
	"integrity: SQLite's integrity_check read the whole restored database.",
	"feed: the restored store's own list of changes has no gap and reaches the position that the manifest promises.",
	"records: the live store had added up the values of its records, and the hashes that were kept with their files when they were uploaded, by reading them through SQLite. " +
		"Those digests are kept in the appliance's database and not in the chain. Here the restored records were added up in the same way, files read to their end. " +
		"What was changed between a digest and the snapshot is left out; \"compared\" counts the rest. It shows that shipping and restoring lost and changed nothing. " +
		"It does not show that what people entered was right.",
	"rpo_ms is the age, when the drill began, of the oldest commit that the newest point on the target did not hold.",
	"The restored store lay sealed on the appliance's disk under a key of the process, and was removed after the drill.",
}

func (r *Report) add(d Drill) {
	s := &r.Summary
	r.Drills, s.Drills = append(r.Drills, d), s.Drills+1
	if d.OK {
		s.Passed++
	} else {
		s.Failed++
	}
	count := func(met *bool, set, good *int) {
		if met != nil {
			*set++
			if *met {
				*good++
			}
		}
	}
	count(d.RTOMet, &s.RTOSet, &s.RTOMet)
	count(d.RPOMet, &s.RPOSet, &s.RPOMet)
	if d.RTO != nil {
		s.WorstRTO = max(s.WorstRTO, *d.RTO)
	}
	if d.RPO != nil {
		s.WorstRPO = max(s.WorstRPO, *d.RPO)
	}
}

// signature is a signed report as the tables hold it.
type signature struct {
	Report    string `db:"report"`
	Signature string `db:"signature"`
	VKey      string `db:"vkey"`
}

func (s *Service) signReport(ctx context.Context, r Report) (out signature, err error) {
	text, err := signed.Text(r)
	if err != nil {
		return out, fmt.Errorf("report of drills: %w", err)
	}
	out.Report = string(text)
	out.Signature, out.VKey, err = s.config.Signer.SignNote(ctx, out.Report+"\n")
	return out, err
}

// sign makes the report of one drill.
func (d *drill) sign(ctx context.Context, shown Drill) error {
	r := Report{Format: reportForm.Format(), ID: shown.ID, Made: shown.Ended, By: shown.Actor, Stores: []Covered{}, Method: method}
	r.add(shown)
	out, err := d.signReport(ctx, r)
	d.row.Report, d.row.Signature, d.row.VKey = out.Report, out.Signature, out.VKey
	return err
}

// Period is the body of a request for a report.
type Period struct {
	From  *time.Time `json:"from,omitempty" doc:"first moment; 90 days before until where it is not given"`
	Until *time.Time `json:"until,omitempty" doc:"now where it is not given"`
}

// mostReported bounds the drills of one report.
const mostReported = 20_000

// Kept is a report of a period as it is listed.
type Kept struct {
	ID          string    `json:"id"`
	Made        time.Time `json:"made"`
	By          string    `json:"by"`
	From        time.Time `json:"from"`
	Until       time.Time `json:"until"`
	Drills      int       `json:"drills"`
	VerifierKey string    `json:"verifier_key"`
}

type keptRow struct {
	ID     string `db:"id"`
	Made   int64  `db:"made"`
	By     string `db:"made_by"`
	Start  int64  `db:"start"`
	Until  int64  `db:"until"`
	Drills int    `db:"drills"`
	signature
}

func (r keptRow) shown() Kept {
	return Kept{r.ID, timeOf(r.Made), r.By, timeOf(r.Start), timeOf(r.Until), r.Drills, r.VKey}
}

// Report makes, signs and keeps the report of a period over all stores.
func (s *Service) Report(ctx context.Context, p Period) (Kept, error) {
	until := s.now()
	if p.Until != nil {
		until = p.Until.UTC().Truncate(time.Millisecond)
	}
	from := until.Add(-90 * 24 * time.Hour)
	if p.From != nil {
		from = p.From.UTC().Truncate(time.Millisecond)
	}
	if !from.Before(until) {
		return Kept{}, api.InvalidField("from", "is not before until")
	}
	r := Report{Format: reportForm.Format(), ID: system.NewID(), Made: s.now(), By: data.ActorFrom(ctx).String(), From: &from, Until: &until,
		Drills: []Drill{}, Stores: []Covered{}, Method: method}
	if err := s.fill(ctx, &r); err != nil {
		return Kept{}, err
	}
	out, err := s.signReport(ctx, r)
	if err != nil {
		return Kept{}, err
	}
	row := keptRow{r.ID, r.Made.UnixMilli(), r.By, from.UnixMilli(), until.UnixMilli(), r.Summary.Drills, out}
	err = s.config.Recorder.Record(ctx, api.Event{Action: "drill.report", Target: r.ID, Outcome: api.OK,
		Detail: map[string]string{"from": from.Format(time.RFC3339), "until": until.Format(time.RFC3339)}})
	if err != nil {
		return Kept{}, err
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `INSERT INTO drill_reports VALUES (:id, :made, :made_by, :start, :until, :drills, :report, :signature, :vkey)`, row)
		return err
	})
	return row.shown(), err
}

// fill puts the period's drills in, and how every store stands now.
func (s *Service) fill(ctx context.Context, r *Report) error {
	var rows []drillRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT * FROM drills WHERE started >= ? AND started < ? ORDER BY started, id LIMIT ?`,
			r.From.UnixMilli(), r.Until.UnixMilli(), mostReported+1)
	})
	if err != nil {
		return fmt.Errorf("report of drills: %w", err)
	}
	if len(rows) > mostReported {
		return api.InvalidField("from", "the period has more than %d drills; take a shorter one", mostReported)
	}
	counts := map[pair][2]int{}
	for _, row := range rows {
		d, err := row.drill()
		if err != nil {
			return err
		}
		r.add(d)
		n := counts[pair{row.Store, row.Target}]
		n[0]++
		if row.OK {
			n[1]++
		}
		counts[pair{row.Store, row.Target}] = n
	}
	all, err := s.standings(ctx)
	for _, st := range all {
		n := counts[pairOf(st.chain)]
		r.Stores = append(r.Stores, Covered{st.Store, st.Name, st.Target, n[0], n[1], st.LastGood, st.Overdue})
	}
	return err
}

// kept finds a report of a period. data.ErrNotFound.
func (s *Service) kept(ctx context.Context, id string) (r keptRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &r, `SELECT * FROM drill_reports WHERE id = ?`, id)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = data.ErrNotFound
	}
	if err != nil {
		return r, fmt.Errorf("report %s: %w", id, err)
	}
	return r, nil
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
