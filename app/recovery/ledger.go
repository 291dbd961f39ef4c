package recovery

import (
	"context"
	"errors"
	"net/http"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/data"
	"holdfast/data/store"
)

// consult has the ledgers on the targets read before a restore: one of them may
// know of a destruction or an erasure that this host, as an older copy of itself,
// does not. Targets that cannot be read are left out, unless none is left.
func (s *Service) consult(ctx context.Context, r ref, targets []targetRow) ([]targetRow, error) {
	if s.config.Ledger == nil {
		return targets, nil
	}
	var usable []targetRow
	var failed error
	for _, t := range targets {
		err := s.config.Ledger.Consult(ctx, t.ID)
		var object *backup.ObjectError
		switch {
		case errors.As(err, &object):
			return nil, api.Errorf(http.StatusBadGateway, "ledger-damaged", "The ledger of destructions and erasures on target %s cannot be trusted: %v. "+
				"Nothing was restored. Remove that object there, or restore from another target.", t.Name, object).Because(err)
		case err != nil:
			failed = errors.Join(failed, err)
		default:
			usable = append(usable, t)
		}
	}
	if len(usable) == 0 {
		return nil, s.explain(failed)
	}
	return usable, s.explain(s.notDestroyed(ctx, r))
}

// notDestroyed answers for a store that the ledger says is destroyed, whatever
// keyring and tables of this host say.
func (s *Service) notDestroyed(ctx context.Context, r ref) error {
	if s.config.Ledger == nil {
		return nil
	}
	id, err := s.config.Ledger.Destroyed(ctx, r.id)
	if err != nil || id == "" {
		return err
	}
	return api.Errorf(http.StatusGone, "destroyed", "%s The ledger of destructions says so; certificate of disposal: %s.", destroyedText, id).Because(data.ErrDestroyed)
}

func (s *Service) replayOf(ctx context.Context, id data.StoreID) (func(context.Context, *store.Store) (int, error), error) {
	if s.config.Ledger == nil {
		return nil, nil
	}
	return s.config.Ledger.Replay(ctx, id)
}
