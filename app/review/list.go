package review

import (
	"context"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
)

// list gives the campaigns of the scopes in reach, those under way first, then the
// newest. The filter is open, closed, or text in the scope's name.
func (s *Service) list(ctx context.Context, p api.Paging, reach api.Reach) (api.Page[Review], error) {
	where, args := within(reach)
	switch p.Filter {
	case "":
	case "open":
		where += ` AND closed = 0`
	case "closed":
		where += ` AND closed <> 0`
	default:
		where, args = where+` AND instr(lower(name), lower(?)) > 0`, append(args, p.Filter)
	}
	var rows []reviewRow
	var total int
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*) FROM reviews WHERE `+where, args...); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT * FROM reviews WHERE `+where+` ORDER BY closed <> 0, started DESC, id LIMIT ? OFFSET ?`,
			append(args, p.PerPage, p.Offset())...)
	})
	if err != nil {
		return api.Page[Review]{}, fmt.Errorf("list reviews: %w", err)
	}
	items := make([]Review, len(rows))
	for i, r := range rows {
		sum, err := s.summary(ctx, r.ID)
		if err != nil {
			return api.Page[Review]{}, err
		}
		items[i] = r.review(sum)
	}
	return api.NewPage(items, p, total), nil
}

// within limits a list to a reach.
func within(reach api.Reach) (where string, args []any) {
	if reach.All {
		return `1 = 1`, nil
	}
	for _, t := range reach.Tenants {
		args = append(args, t)
	}
	return `scope IN (` + strings.TrimSuffix(strings.Repeat("?, ", len(args)), ", ") + `)`, args
}

// listItems gives the items of a campaign. The filter is waiting, a decision, or
// text in name, detail or role.
func (s *Service) listItems(ctx context.Context, review string, p api.Paging) (api.Page[Item], error) {
	where, args := `review = ?`, []any{review}
	switch p.Filter {
	case "":
	case "waiting":
		where += ` AND decision = ''`
	case Confirmed, Revoked, Lapsed, Kept, Gone:
		where, args = where+` AND decision = ?`, append(args, p.Filter)
	default:
		where, args = where+` AND instr(lower(name || ' ' || detail || ' ' || role), lower(?)) > 0`, append(args, p.Filter)
	}
	var rows []itemRow
	var total int
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*) FROM review_items WHERE `+where, args...); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT * FROM review_items WHERE `+where+` ORDER BY kind, lower(name), role, id LIMIT ? OFFSET ?`,
			append(args, p.PerPage, p.Offset())...)
	})
	if err != nil {
		return api.Page[Item]{}, fmt.Errorf("list items of a review: %w", err)
	}
	items := make([]Item, len(rows))
	for i, r := range rows {
		items[i] = r.item()
	}
	return api.NewPage(items, p, total), nil
}
