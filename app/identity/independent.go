package identity

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// independent says whether persons are eyes of their own: none of them owes the role on the
// appliance to another one, nor two of them theirs to the same third person, also by way of
// others, by what was given after a moment; and nobody else opened the account
// of one of them anew after opened. It is the same whoever of them asks. What is older
// counts no more: the others had the time to notice, and somebody made everybody.
func (s *Service) independent(ctx context.Context, tx *sqlx.Tx, made, opened time.Time, persons ...string) (bool, error) {
	seen := map[string]bool{}
	for _, person := range persons {
		anew, err := openedAnew(ctx, tx, person, opened)
		if err != nil || anew {
			return false, err
		}
		behind, err := personsBehind(ctx, tx, person, made)
		if err != nil {
			return false, err
		}
		for _, p := range behind {
			if seen[p] {
				return false, nil
			}
			seen[p] = true
		}
	}
	return true, nil
}

// openedAnew says whether somebody else opened a person's account after a moment,
// whoever it was: who did it may sit in it, or have had it done by a puppet.
func openedAnew(ctx context.Context, tx *sqlx.Tx, person string, after time.Time) (anew bool, err error) {
	err = tx.GetContext(ctx, &anew, `SELECT EXISTS (SELECT 1 FROM recoveries WHERE person = ? AND at > ?)`, person, millis(after))
	return anew, err
}

// personsBehind are a person and all to whom the role on the appliance goes back by what
// was given after a moment. Ended roles count: who gave them made somebody all the same.
func personsBehind(ctx context.Context, tx *sqlx.Tx, person string, after time.Time) (all []string, err error) {
	err = tx.SelectContext(ctx, &all, `WITH RECURSIVE behind (actor) AS (
			SELECT ?
			UNION SELECT `+madeBy+` FROM behind b JOIN grants g ON b.actor = 'person:' || g.person
				WHERE g.scope = ? AND `+madeAt+` > ?)
		SELECT actor FROM behind WHERE actor LIKE 'person:%'`,
		data.Actor{Kind: data.Person, ID: person}.String(), Appliance, millis(after))
	return all, err
}

// madeAt and madeBy are when and by whom a role was given, or what it took the place of
// without being more.
const (
	madeAt = `CASE WHEN g.made > 0 THEN g.made ELSE g.created END`
	madeBy = `CASE WHEN g.made > 0 THEN g.made_by ELSE g.created_by END`
)

// later is the later of two moments.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
