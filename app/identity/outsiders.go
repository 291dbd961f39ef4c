package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// Before access had to be asked for, operators could make keys and identity providers in
// tenants where nobody had given them anything. What is left of that opens records
// still, or lets people in.

// OutsidersKey is a key of a store that somebody made who had no role in its tenant.
type OutsidersKey struct {
	ID      string `db:"id"`
	Name    string `db:"name"`
	Store   string `db:"store"`
	By      string `db:"created_by"` // actor
	Created int64  `db:"created"`    // Unix milliseconds
}

// outsider is the condition that an actor, made at a moment something in a tenant before
// roles of the appliance stopped reaching records, had no role there. Its arguments are
// SQL.
func outsider(actor, tenant, at string) string {
	return at + ` < (SELECT m.at FROM access_marks m WHERE m.name = 'owners') AND NOT EXISTS (SELECT 1 FROM grants g
		WHERE g.scope = ` + tenant + ` AND g.created <= ` + at + ` AND (` + actor + ` = 'person:' || g.person OR g.person = 'host' AND ` + actor + ` LIKE 'host%'))`
}

// OutsidersKeys are those that still open something and that nothing follows.
func (s *Service) OutsidersKeys(ctx context.Context) (list []OutsidersKey, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &list, `SELECT k.id, k.name, k.store, k.created_by, k.created FROM api_keys k
			WHERE k.store <> '' AND k.revoked = 0 AND k.disabled = 0 AND k.successor = '' AND k.expires > ?
			AND `+outsider(`k.created_by`, `substr(k.store, 1, instr(k.store, '/') - 1)`, `k.created`)+` ORDER BY k.store, k.id`, millis(s.now()))
	})
	if err != nil {
		return nil, fmt.Errorf("find keys that outsiders made: %w", err)
	}
	return list, nil
}

// WasOutsider says whether an actor who made something in a tenant at a moment before
// access had to be asked for had no role there then.
func (s *Service) WasOutsider(ctx context.Context, actor, tenant string, at time.Time) (was bool, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &was, `SELECT EXISTS (SELECT 1 FROM (SELECT ? AS actor, ? AS tenant, ? AS at) x WHERE `+
			outsider(`x.actor`, `x.tenant`, `x.at`)+`)`, actor, tenant, millis(at))
	})
	if err != nil {
		return false, fmt.Errorf("find out who was an outsider: %w", err)
	}
	return was, nil
}

// TellOnce enters something into the log of a tenant once in the life of the appliance;
// target tells it from others of its action.
func (s *Service) TellOnce(ctx context.Context, id data.StoreID, action, target string, detail map[string]string) error {
	mark := action + " " + target
	err := s.ending(ctx, func(tx *sqlx.Tx) ([]holding, error) {
		var told bool
		err := tx.GetContext(ctx, &told, `SELECT EXISTS (SELECT 1 FROM access_marks WHERE name = ?)`, mark)
		if err != nil || told {
			return nil, err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO access_marks (name, at) VALUES (?, ?)`, mark, millis(s.now())); err != nil {
			return nil, err
		}
		return nil, s.owe(ctx, tx, id.String(), action, target, detail)
	})
	if err != nil {
		return fmt.Errorf("tell of %s %s: %w", action, target, err)
	}
	return nil
}
