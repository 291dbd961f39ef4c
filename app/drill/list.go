package drill

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
)

// Result is what the operation of a drill answers.
type Result struct {
	Drill
	RTOSeconds *float64 `json:"rto_seconds"`
	RPOSeconds *float64 `json:"rpo_seconds"`
}

func resultOf(d Drill) Result {
	r := Result{Drill: d}
	for seconds, ms := range map[**float64]*int64{&r.RTOSeconds: d.RTO, &r.RPOSeconds: d.RPO} {
		if ms != nil {
			s := float64(*ms) / 1000
			*seconds = &s
		}
	}
	return r
}

// AllResult is what the operation over all stores answers.
type AllResult struct {
	OK     bool     `json:"ok"`
	Drills []Result `json:"drills"`
}

// collect waits for a drill. One that did not come to an end is not passed over.
func (s *Service) collect(ctx context.Context, id string, sum *AllResult) error {
	op, err := s.config.Operations.Wait(ctx, id)
	if err != nil {
		return errors.Join(err, s.config.Operations.Cancel(context.WithoutCancel(ctx), id))
	}
	if op.State != api.Done {
		if op.Error != nil {
			return op.Error
		}
		return fmt.Errorf("the drill of %s was %s", op.Target, op.State)
	}
	var r Result
	if err := json.Unmarshal(op.Result, &r); err != nil {
		return err
	}
	sum.OK = sum.OK && r.OK
	sum.Drills = append(sum.Drills, r)
	return nil
}

// listing narrows a list of drills.
type listing struct {
	Store  string
	Filter string // ok, failed, or a store's name
	Reach  api.Reach
}

func (l listing) where() (string, []any) {
	where, args := `WHERE 1`, []any{}
	add := func(condition string, values ...any) { where, args = where+` AND `+condition, append(args, values...) }
	if l.Store != "" {
		add(`store = ?`, l.Store)
	}
	switch l.Filter {
	case "":
	case "ok", "failed":
		add(`ok = ?`, l.Filter == "ok")
	default:
		add(`name = ?`, l.Filter)
	}
	if !l.Reach.All {
		ids, err := json.Marshal(append([]string{}, l.Reach.Tenants...))
		if err != nil {
			ids = []byte("[]")
		}
		add(`substr(store, 1, instr(store, '/') - 1) IN (SELECT value FROM json_each(?))`, string(ids))
	}
	return where, args
}

func (s *Service) list(ctx context.Context, p api.Paging, l listing) (api.Page[Result], error) {
	var rows []drillRow
	var total int
	where, args := l.where()
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*) FROM drills `+where, args...); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT * FROM drills `+where+` ORDER BY started DESC, id LIMIT ? OFFSET ?`, append(args, p.PerPage, p.Offset())...)
	})
	if err != nil {
		return api.Page[Result]{}, fmt.Errorf("list drills: %w", err)
	}
	items := make([]Result, len(rows))
	for i, r := range rows {
		d, err := r.drill()
		if err != nil {
			return api.Page[Result]{}, err
		}
		items[i] = resultOf(d)
	}
	return api.NewPage(items, p, total), nil
}

// overview is every standing that may be seen, alarms first.
func (s *Service) overview(ctx context.Context, reach api.Reach) ([]Standing, error) {
	all, err := s.standings(ctx)
	all = slices.DeleteFunc(all, func(st Standing) bool { return !st.chain.within(reach) })
	slices.SortStableFunc(all, func(a, b Standing) int { return cmp.Compare(rank(b), rank(a)) })
	return all, err
}

func rank(st Standing) int {
	switch {
	case st.Alarm:
		return 2
	case st.Last == nil:
		return 1
	}
	return 0
}

func (s *Service) reports(ctx context.Context, p api.Paging) (api.Page[Kept], error) {
	var rows []keptRow
	var total int
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*) FROM drill_reports`); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT id, made, made_by, start, until, drills, vkey FROM drill_reports ORDER BY made DESC, id LIMIT ? OFFSET ?`,
			p.PerPage, p.Offset())
	})
	if err != nil {
		return api.Page[Kept]{}, fmt.Errorf("list reports: %w", err)
	}
	items := make([]Kept, len(rows))
	for i, r := range rows {
		items[i] = r.shown()
	}
	return api.NewPage(items, p, total), nil
}
