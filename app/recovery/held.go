package recovery

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// Held is what one target holds of a store, as far as this host shipped it.
type Held struct {
	Target    string
	URL       string // without its query
	Snapshots int64
	Newest    time.Time
}

// Held lists the targets that hold snapshots of a store.
func (s *Service) Held(ctx context.Context, id data.StoreID) ([]Held, error) {
	var rows []struct {
		Name   string `db:"name"`
		URL    string `db:"url"`
		Count  int64  `db:"count"`
		Newest int64  `db:"newest"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT t.name, t.url, count(*) AS count, max(s.time) AS newest
			FROM snapshots s JOIN targets t ON t.id = s.target WHERE s.store = ? GROUP BY t.id ORDER BY t.name`, id.String())
	})
	if err != nil {
		return nil, fmt.Errorf("what targets hold of %s: %w", id, err)
	}
	out := make([]Held, len(rows))
	for i, r := range rows {
		out[i] = Held{r.Name, bare(r.URL), r.Count, time.UnixMilli(r.Newest).UTC()}
	}
	return out, nil
}

func bare(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.RawQuery, u.User, u.Fragment = "", nil, ""
	return u.String()
}
