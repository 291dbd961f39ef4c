package recovery

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/backup/restore"
	"holdfast/data"
	"holdfast/data/system"
)

var verifyMigrations = []system.Migration{{Name: "verifications", SQL: `
CREATE TABLE verifications (
	id TEXT PRIMARY KEY, store TEXT NOT NULL, target TEXT NOT NULL, target_name TEXT NOT NULL, ended INTEGER NOT NULL, ok INTEGER NOT NULL,
	sampled INTEGER NOT NULL, snapshots INTEGER NOT NULL, objects INTEGER NOT NULL, bytes INTEGER NOT NULL, ms INTEGER NOT NULL, problems TEXT NOT NULL
) STRICT;
CREATE INDEX verifications_chain ON verifications (store, target, ended DESC);
`}}

// verificationsKept is how many are kept of each chain.
const verificationsKept = 100

// Verification is one that was carried out.
type Verification struct {
	ID        string    `json:"id"`
	Target    string    `json:"target"`
	Ended     time.Time `json:"ended"`
	OK        bool      `json:"ok"`
	Sampled   bool      `json:"sampled" doc:"of the objects beside manifests only a part was read"`
	Snapshots int       `json:"snapshots" doc:"manifests read"`
	Objects   int       `json:"objects"`
	Bytes     int64     `json:"bytes"`
	MS        int64     `json:"ms"`
	Problems  []string  `json:"problems" doc:"each names an object and what is wrong with it"`
}

type verificationRow struct {
	ID         string `db:"id"`
	Store      string `db:"store"`
	Target     string `db:"target"`
	TargetName string `db:"target_name"`
	Ended      int64  `db:"ended"`
	OK         bool   `db:"ok"`
	Sampled    bool   `db:"sampled"`
	Snapshots  int    `db:"snapshots"`
	Objects    int    `db:"objects"`
	Bytes      int64  `db:"bytes"`
	MS         int64  `db:"ms"`
	Problems   string `db:"problems"`
}

func (r verificationRow) shown() (Verification, error) {
	v := Verification{r.ID, r.TargetName, time.UnixMilli(r.Ended).UTC(), r.OK, r.Sampled, r.Snapshots, r.Objects, r.Bytes, r.MS, nil}
	return v, json.Unmarshal([]byte(r.Problems), &v.Problems)
}

// keepVerified keeps what came of reading one chain; what was found is said aloud.
func (s *Service) keepVerified(ctx context.Context, name string, t targetRow, report restore.Report) error {
	problems := []string{}
	for _, p := range report.Problems {
		problems = append(problems, p.Object+": "+p.Reason)
	}
	if len(problems) > 0 {
		s.config.Logger.ErrorContext(ctx, "a chain is damaged", "store", name, "target", t.Name, "problems", len(problems), "first", problems[0])
	}
	text, err := json.Marshal(problems)
	if err != nil {
		return err
	}
	row := verificationRow{system.NewID(), name, t.ID, t.Name, s.now().UnixMilli(), report.OK, report.Sampled,
		report.Snapshots, report.Objects, report.Bytes, report.Duration.Milliseconds(), string(text)}
	err = s.config.DB.Update(context.WithoutCancel(ctx), func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `INSERT INTO verifications VALUES (:id, :store, :target, :target_name, :ended, :ok, :sampled, :snapshots, :objects, :bytes, :ms, :problems)`, row)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM verifications WHERE store = ? AND target = ? AND id NOT IN
			(SELECT id FROM verifications WHERE store = ? AND target = ? ORDER BY ended DESC LIMIT ?)`, row.Store, row.Target, row.Store, row.Target, verificationsKept)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep a verification: %w", err)
	}
	return nil
}

// lastVerified is the newest verification of each chain.
func (s *Service) lastVerified(ctx context.Context) (map[laneKey]verificationRow, error) {
	var rows []verificationRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT v.* FROM verifications v JOIN targets t ON t.id = v.target
			WHERE v.ended = (SELECT max(ended) FROM verifications WHERE store = v.store AND target = v.target)`)
	})
	if err != nil {
		return nil, fmt.Errorf("last verifications: %w", err)
	}
	last := map[laneKey]verificationRow{}
	for _, r := range rows {
		last[laneKey{r.Store, r.Target}] = r
	}
	return last, nil
}

// Verifications on schedule: each chain once a week, a twentieth of its objects.
const (
	verifyEvery  = 7 * 24 * time.Hour
	verifySample = 0.05
)

// VerifyNext reads a sample of the chain that was longest not verified, if that is
// due, and waits for the end. It wakes no store.
func (s *Service) VerifyNext(ctx context.Context, now time.Time) error {
	chains, err := s.Chains(ctx, "")
	if err != nil {
		return err
	}
	last, err := s.lastVerified(ctx)
	if err != nil {
		return err
	}
	seen := func(c Chain) time.Time {
		if v, ok := last[c.key()]; ok {
			return time.UnixMilli(v.Ended)
		}
		return c.First.Add(24*time.Hour - verifyEvery) // a day after the first snapshot
	}
	slices.SortStableFunc(chains, func(a, b Chain) int { return seen(a).Compare(seen(b)) })
	for _, c := range chains {
		if now.Sub(seen(c)) < verifyEvery || s.config.Slug == nil {
			return nil
		}
		slug, environment, err := s.called(ctx, c)
		if err != nil {
			continue // it is no more
		}
		op, err := s.Verify(ctx, slug, environment, VerifyOrder{Choice{c.TargetName}, verifySample})
		if err != nil {
			continue // destroyed, or its keys are gone: nothing to verify
		}
		_, err = s.config.Operations.Wait(ctx, op.ID)
		return err
	}
	return nil
}

// called is how a request names what a chain is of.
func (s *Service) called(ctx context.Context, c Chain) (slug, environment string, err error) {
	if c.Own != "" {
		return c.Own, data.Prod, nil
	}
	slug, err = s.config.Slug(ctx, c.Store)
	return slug, c.Store.Environment, err
}

func (c Chain) key() laneKey {
	if c.Own != "" {
		return laneKey{c.Own, c.Target}
	}
	return laneKey{c.Store.String(), c.Target}
}

// verifyFindings tells of chains whose last verification found something.
func (s *Service) verifyFindings(ctx context.Context) (list []Finding, err error) {
	last, err := s.lastVerified(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range last {
		v, err := r.shown()
		if err != nil {
			return nil, err
		}
		if !v.OK && len(v.Problems) > 0 {
			list = append(list, Finding{"chain-damaged", "error", fmt.Sprintf("The chain of %s on %s is damaged in %d places, first %s", r.Store, v.Target, len(v.Problems), v.Problems[0]),
				"Somebody or something changed what lies there: find out who can. A server goes on there with a whole image of its own; points that need what is damaged have to come from another target."})
		}
	}
	slices.SortFunc(list, func(a, b Finding) int { return slices.Compare([]string{a.What}, []string{b.What}) })
	return list, nil
}

func (s *Service) verifyRoute() api.Route {
	return api.Route{
		Method: "GET", Path: "/api/v1/stores/{slug}/{env}/snapshots/verifications", Permission: api.SnapshotRead, Scope: s.scope, Paged: true,
		Summary: "What verifications found, newest first", Response: api.Page[Verification]{}, Handler: s.serveVerifications,
	}
}

func (s *Service) serveVerifications(w http.ResponseWriter, r *http.Request) error {
	return servePage(s, w, r, s.verifications)
}

func (s *Service) verifications(ctx context.Context, id data.StoreID, p api.Paging) (api.Page[Verification], error) {
	var rows []verificationRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT * FROM verifications WHERE store = ? ORDER BY ended DESC, id`, id.String())
	})
	if err != nil {
		return api.Page[Verification]{}, fmt.Errorf("list verifications: %w", err)
	}
	items := make([]Verification, len(rows))
	for i, row := range rows {
		if items[i], err = row.shown(); err != nil {
			return api.Page[Verification]{}, err
		}
	}
	return api.Cut(items, p), nil
}
