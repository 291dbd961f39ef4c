package recovery

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/backup/chain"
	"holdfast/data"
	"holdfast/data/store"
)

// Scrubbed is the result of a scrub. That nothing was compared means that no
// snapshot is known to hold the store against.
type Scrubbed struct {
	OK       bool            `json:"ok"`
	Pages    int64           `json:"pages" doc:"of the databases and their logs, each authenticated"`
	Files    int64           `json:"files" doc:"each authenticated to its end"`
	Compared int64           `json:"compared" doc:"of pages and files: unchanged since the last snapshot, and held against it"`
	Against  string          `json:"against,omitempty" doc:"the target and the snapshot's number"`
	Findings []store.Finding `json:"findings"`
}

// mostFindings bounds what one result lists.
const mostFindings = 1000

// Scrub starts reading a live store's disk through, and holding it against the
// last snapshot.
func (s *Service) Scrub(ctx context.Context, slug, environment string) (api.Operation, error) {
	r, err := s.find(ctx, slug, environment)
	if err == nil {
		err = r.closed
	}
	if err != nil {
		return api.Operation{}, s.explain(err)
	}
	return s.config.Operations.Start(ctx, "scrub", r.String(), r.id.String(), func(ctx context.Context, p *api.Progress) (any, error) {
		return s.scrub(ctx, p, r)
	})
}

func (s *Service) scrub(ctx context.Context, p *api.Progress, r ref) (any, error) {
	st, err := s.config.Stores.Acquire(ctx, r.id)
	if err != nil {
		return nil, s.explain(err)
	}
	defer st.Release()
	base, expected, against, err := s.expected(ctx, r.id, st)
	if err != nil {
		return nil, s.explain(err)
	}
	if base != nil {
		defer base.Release()
	}
	seen, err := st.Scrub(ctx, base, expected, func(seen store.Scrubbed) { p.Set(ctx, seen.Done, seen.Total, "units", seen.Part) })
	if err != nil {
		return nil, s.explain(err)
	}
	result := Scrubbed{
		OK: len(seen.Findings) == 0, Pages: seen.Pages, Files: seen.Files, Compared: seen.Compared,
		Against: against, Findings: append([]store.Finding{}, seen.Findings[:min(len(seen.Findings), mostFindings)]...),
	}
	if err := s.recordScrub(ctx, r, result, len(seen.Findings)); err != nil {
		return nil, err
	}
	return result, s.keepScrub(ctx, r.id, result)
}

// label names a snapshot to the store it was taken of.
func label(target, epoch string, sequence int64) string {
	return fmt.Sprintf("%s/%s/%d", target, epoch, sequence)
}

// expected asks the chain that shipped the store last what was shipped.
func (s *Service) expected(ctx context.Context, id data.StoreID, st *store.Store) (*store.Base, store.Expected, string, error) {
	const tries = 10 // while another target gets ahead
	for range tries {
		t, ok, err := s.labelled(ctx, st)
		if err != nil || !ok {
			return nil, store.Expected{}, "", err
		}
		base, known, err := s.agree(ctx, laneKey{id.String(), t.ID}, t, st)
		if known != nil {
			return base, store.Expected{Page: known.Page, File: known.File}, t.Name + " " + strconv.FormatInt(known.Sequence, 10), nil
		}
		if base == nil || err != nil {
			return nil, store.Expected{}, "", err
		}
		base.Release()
		if strings.HasPrefix(base.Label(), t.ID+"/") {
			break
		}
	}
	return nil, store.Expected{}, "", nil
}

// labelled is the target that got the store's last snapshot.
func (s *Service) labelled(ctx context.Context, st *store.Store) (targetRow, bool, error) {
	base := st.Base()
	if base == nil {
		return targetRow{}, false, nil
	}
	defer base.Release()
	targets, err := s.targets(ctx)
	i := slices.IndexFunc(targets, func(t targetRow) bool { return strings.HasPrefix(base.Label(), t.ID+"/") })
	if err != nil || i < 0 {
		return targetRow{}, false, err
	}
	return targets[i], true, nil
}

// agree gives the store's base and what a chain knows, nil where that is not of
// the same snapshot. Nothing is shipped there meanwhile.
func (s *Service) agree(ctx context.Context, key laneKey, t targetRow, st *store.Store) (*store.Base, *chain.Known, error) {
	l, err := s.lane(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	defer s.leave(l)
	c, err := s.openChain(ctx, l, t, false)
	if err != nil {
		return nil, nil, err
	}
	base := st.Base()
	if base == nil {
		return nil, nil, nil
	}
	known, err := c.Known()
	if known == nil || err != nil || label(t.ID, known.Epoch, known.Sequence) != base.Label() {
		return base, nil, err
	}
	return base, known, nil
}

func (s *Service) recordScrub(ctx context.Context, r ref, result Scrubbed, findings int) error {
	e := api.Event{Action: "store.scrub", Target: r.String(), Store: r.id.String(), Outcome: api.OK, Detail: map[string]string{
		"pages": strconv.FormatInt(result.Pages, 10), "files": strconv.FormatInt(result.Files, 10),
		"compared": strconv.FormatInt(result.Compared, 10), "findings": strconv.Itoa(findings),
	}}
	if !result.OK {
		first := result.Findings[0]
		e.Outcome, e.Detail["first"] = api.Failed, fmt.Sprintf("%s, page %d: %s", first.File, first.Page, first.Reason)
		s.config.Logger.ErrorContext(ctx, "a scrub found damage", "store", r.id.String(), "findings", findings,
			"file", first.File, "page", first.Page, "reason", first.Reason)
	}
	return s.config.Recorder.Record(context.WithoutCancel(ctx), e)
}

func (s *Service) keepScrub(ctx context.Context, id data.StoreID, result Scrubbed) error {
	return s.config.DB.Update(context.WithoutCancel(ctx), func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO scrubs (store, time, findings) VALUES (?, ?, ?)
			ON CONFLICT (store) DO UPDATE SET time = excluded.time, findings = excluded.findings`,
			id.String(), s.now().UnixMilli(), len(result.Findings))
		return err
	})
}

// LastScrubs tells when each store was last scrubbed to its end.
func (s *Service) LastScrubs(ctx context.Context) (map[data.StoreID]time.Time, error) {
	var rows []struct {
		Store string `db:"store"`
		Time  int64  `db:"time"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error { return tx.SelectContext(ctx, &rows, `SELECT store, time FROM scrubs`) })
	if err != nil {
		return nil, fmt.Errorf("last scrubs: %w", err)
	}
	last := make(map[data.StoreID]time.Time, len(rows))
	for _, r := range rows {
		if id, err := data.ParseStoreID(r.Store); err == nil {
			last[id] = time.UnixMilli(r.Time).UTC()
		}
	}
	return last, nil
}

// Damaged lists the stores whose last scrub found something.
func (s *Service) Damaged(ctx context.Context) (out []data.StoreID, err error) {
	var names []string
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &names, `SELECT store FROM scrubs WHERE findings > 0 ORDER BY store`)
	})
	if err != nil {
		return nil, fmt.Errorf("damaged stores: %w", err)
	}
	for _, name := range names {
		if id, err := data.ParseStoreID(name); err == nil {
			out = append(out, id)
		}
	}
	return out, nil
}

func (s *Service) serveScrub(w http.ResponseWriter, r *http.Request) error {
	op, err := s.Scrub(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	return accepted(w, op, err)
}
