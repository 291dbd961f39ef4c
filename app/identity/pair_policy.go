package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// How the appliance asks for two persons.
const (
	PairAuto = "auto" // while there are two who could approve, and PairRests after that
	PairOn   = "on"   // always: who is alone needs the command line of the host
	PairOff  = "off"
)

// PairRests is how long "auto" goes on asking for two persons when there is only one
// left: who ends all others gains nothing soon, and they have been told.
const PairRests = 7 * 24 * time.Hour

// pairSeen is how exactly it is known when there were two.
const pairSeen = time.Hour

// PairPermissions are those of the routes that can take two persons.
func PairPermissions() []api.Permission {
	return []api.Permission{api.CustodyManage, api.TargetManage, api.TenantDelete, api.OperatorManage}
}

// PairPolicy is whether what takes keys or whole data out of the host takes two persons.
type PairPolicy struct {
	Mode  string      `json:"mode" enum:"auto,on,off" doc:"auto: while at least two persons could approve, and 7 days longer"`
	Force []PairForce `json:"force" doc:"what it comes to now, by the permission that a request takes"`
}

// PairForce is whether requests under one permission take two persons.
type PairForce struct {
	Permission api.Permission `json:"permission"`
	Since      *time.Time     `json:"since" doc:"two persons are asked for since then; null: one is enough"`
	Until      *time.Time     `json:"until" doc:"when one will be enough, if nobody else is found"`
	Could      int            `json:"could" doc:"how many persons hold the permission"`
}

// NewPairPolicy is the body of a change.
type NewPairPolicy struct {
	Mode string `json:"mode" enum:"auto,on,off"`
}

// pairForce is what the mode comes to for one permission.
type pairForce struct {
	Since int64    `db:"since"`
	Seen  int64    `db:"seen"`
	Mode  string   `db:"mode"`
	could []string // who holds the permission
}

// follow is what the mode comes to with those who hold the permission now.
func (f pairForce) follow(now time.Time) pairForce {
	two := len(f.could) >= 2
	switch {
	case f.Mode == PairOff:
		f.Since = 0
	case f.Since == 0 && (two || f.Mode == PairOn):
		f.Since, f.Seen = millis(now), millis(now)
	case two && now.Sub(fromMillis(f.Seen)) >= pairSeen:
		f.Seen = millis(now)
	case !two && f.Mode == PairAuto && !now.Before(f.until()):
		f.Since = 0
	}
	return f
}

func (f pairForce) until() time.Time { return fromMillis(f.Seen).Add(PairRests) }

// pairNow is what the mode comes to for a permission at this moment. A change is in the log
// before it is so.
func (s *Service) pairNow(ctx context.Context, p api.Permission) (f pairForce, err error) {
	before, err := s.readForce(ctx, p)
	if err != nil {
		return f, err
	}
	if f = before.follow(s.now()); f.Since == before.Since && f.Seen == before.Seen {
		return f, nil
	}
	if (f.Since == 0) != (before.Since == 0) {
		action := map[bool]string{true: "two-persons.begin", false: "two-persons.end"}[f.Since != 0]
		if err := s.record(ctx, action, string(p), api.OK, map[string]string{"mode": f.Mode, "could approve": fmt.Sprint(len(f.could))}); err != nil {
			return f, err
		}
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error { // of two at once, both found the same
		_, err := tx.ExecContext(ctx, `INSERT INTO pair_force (permission, since, seen) VALUES (?, ?, ?)
			ON CONFLICT (permission) DO UPDATE SET since = excluded.since, seen = excluded.seen`, p, f.Since, f.Seen)
		return err
	})
	if err != nil {
		return f, fmt.Errorf("store whether two persons are asked for: %w", err)
	}
	return f, nil
}

func (s *Service) readForce(ctx context.Context, p api.Permission) (f pairForce, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		err := tx.GetContext(ctx, &f, `SELECT since, seen FROM pair_force WHERE permission = ?`, p)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return tx.GetContext(ctx, &f.Mode, `SELECT mode FROM pair_policy`)
	})
	if err == nil {
		f.could, err = s.pairPersons(ctx, p)
	}
	if err != nil {
		return f, fmt.Errorf("read whether two persons are asked for: %w", err)
	}
	return f, nil
}

// pairPersons are those who could approve what takes the permission: active, and holding
// it by a role of the appliance.
func (s *Service) pairPersons(ctx context.Context, p api.Permission) (could []string, err error) {
	var all []string
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &all, `SELECT DISTINCT g.person FROM grants g JOIN persons p ON p.id = g.person AND p.state = ?
			WHERE g.scope = ? AND g.revoked = 0 ORDER BY g.person`, active, Appliance)
	})
	if err != nil {
		return nil, fmt.Errorf("look who could approve: %w", err)
	}
	for _, id := range all {
		st, err := s.standing(ctx, id)
		if err != nil {
			return nil, err
		}
		if ok, _ := st.allows(p, Appliance, s.now()); ok {
			could = append(could, id)
		}
	}
	return could, nil
}

// SetPairPolicy changes the mode. A 409 for "on" where nobody could approve for another.
func (s *Service) SetPairPolicy(ctx context.Context, mode string) (PairPolicy, error) {
	if !slices.Contains([]string{PairAuto, PairOn, PairOff}, mode) {
		return PairPolicy{}, api.InvalidField("mode", "want auto, on or off")
	}
	if mode == PairOn {
		if could, err := s.pairPersons(ctx, api.CustodyManage); err != nil || len(could) < 2 {
			return PairPolicy{}, orElse(err, api.Errorf(http.StatusConflict, "alone", "Fewer than two persons could approve: make another owner of the appliance first."))
		}
	}
	if err := s.record(ctx, "two-persons.set", mode, api.OK, nil); err != nil {
		return PairPolicy{}, err
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE pair_policy SET mode = ?, updated = ?`, mode, millis(s.now()))
		return err
	})
	if err != nil {
		return PairPolicy{}, fmt.Errorf("set whether two persons are asked for: %w", err)
	}
	return s.PairPolicy(ctx)
}

// PairPolicy tells whether two persons are asked for.
func (s *Service) PairPolicy(ctx context.Context) (p PairPolicy, err error) {
	for _, permission := range PairPermissions() {
		f, err := s.pairNow(ctx, permission)
		if err != nil {
			return p, err
		}
		shown := PairForce{Permission: permission, Since: moment(f.Since), Could: len(f.could)}
		if f.Mode == PairAuto && f.Since != 0 && len(f.could) < 2 {
			until := f.until()
			shown.Until = &until
		}
		p.Mode, p.Force = f.Mode, append(p.Force, shown)
	}
	return p, nil
}

// sweepPairs lets "auto" follow who there is, and writes down what the time has ended.
func (s *Service) sweepPairs(ctx context.Context) error {
	ctx = data.WithActor(ctx, data.Actor{Kind: data.System})
	if _, err := s.PairPolicy(ctx); err != nil {
		return err
	}
	return s.expirePairs(ctx)
}
