package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// MailWatchers are the addresses of those who could have been the second person when the
// mail server was set.
func (s *Service) MailWatchers(ctx context.Context) (to []string, err error) {
	could, err := s.pairPersons(ctx, api.OperatorManage)
	for _, id := range could {
		row, e := s.personByID(ctx, id)
		if e != nil {
			return to, e
		}
		to = append(to, row.Email)
	}
	return to, err
}

// mailOfLate says who set the mail server within the last PairRests, as an actor, and when:
// who has it reads what is mailed to a person. "" for one that was there before, or that
// the person set. A server that is gone by now was changed, too.
func (s *Service) mailOfLate(ctx context.Context, person string) (by string, at time.Time, err error) {
	at, by, err = s.config.Post.Changed(ctx)
	switch {
	case err != nil:
		return "", at, fmt.Errorf("look who set the mail server: %w", err)
	case at.IsZero():
		return data.Actor{Kind: data.System}.String(), s.now(), nil
	case s.now().Sub(at) >= PairRests || data.ParseActor(by) == data.Actor{Kind: data.Person, ID: person}:
		return "", at, nil
	}
	return by, at, nil
}

// cameByMailCode holds an operator's account that a code by mail opened soon after somebody
// else set the mail server, once for each server, where two persons are asked for: who
// approves has to be who it seems.
func (s *Service) cameByMailCode(ctx context.Context, person string) error {
	force, err := s.pairNow(ctx, api.OperatorManage)
	if err != nil || force.Since == 0 {
		return err
	}
	operates, err := s.operates(ctx, person)
	if err != nil || !operates {
		return err
	}
	by, at, err := s.mailOfLate(ctx, person)
	if err != nil || by == "" {
		return err
	}
	defer s.grants.forget()
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		var held bool
		err := tx.GetContext(ctx, &held, `SELECT EXISTS (SELECT 1 FROM recoveries WHERE person = ? AND at >= ?)`, person, millis(at))
		if err != nil || held {
			return err
		}
		return s.recovered(ctx, tx, person, by)
	})
}
