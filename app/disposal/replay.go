package disposal

import (
	"context"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/store"
)

// Replay gives what takes the erased records of a store out of a restored copy of
// it: all of them, whenever they were erased. It gives nil when there were none.
// The function answers how many records it took out.
func (s *Service) Replay(ctx context.Context, id data.StoreID) (func(context.Context, *store.Store) (int, error), error) {
	var any bool
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &any, `SELECT EXISTS (SELECT 1 FROM ledger_stores WHERE store = ? AND kind = ?)`, id.String(), kindErase)
	})
	if err != nil || !any {
		return nil, err
	}
	return func(ctx context.Context, st *store.Store) (int, error) {
		return s.replay(data.WithActor(ctx, data.Actor{Kind: data.System}), id, st, nil)
	}, nil
}

// replay takes out of a store what some erasures say (nil: all that there were), by
// looking at all ids of their collections. In a living store the others are left alone:
// since they were carried out, a record may have been given the same id again.
func (s *Service) replay(ctx context.Context, id data.StoreID, st *store.Store, erasures []string) (int, error) {
	ctx = store.OnDuty(ctx) // nobody is shown a record
	erased, err := s.erasedSets(ctx, id, erasures)
	if err != nil {
		return 0, err
	}
	var refs []store.RecordRef
	for collection, sets := range erased {
		err := st.IDs(ctx, collection, func(rec string) error {
			for _, set := range sets {
				if set.records[set.hash(collection, rec)] {
					refs = append(refs, store.RecordRef{Collection: collection, ID: rec})
					break
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	if len(refs) == 0 {
		return 0, nil
	}
	return st.Erase(ctx, refs)
}

// erasedSet is what one generation of the key hashed.
type erasedSet struct {
	hash    func(collection, record string) [32]byte
	records map[[32]byte]bool
}

// erasedSets are the erased records by collection and generation. A generation that
// the keyring lacks is an error: these records could not be told from others.
func (s *Service) erasedSets(ctx context.Context, id data.StoreID, erasures []string) (map[string]map[uint32]*erasedSet, error) {
	source, out, hashers := s.config.Personal(id), map[string]map[uint32]*erasedSet{}, map[uint32]func(string, string) [32]byte{}
	err := s.eachErasure(ctx, id, func(e entry) error {
		if erasures != nil && !slices.Contains(erasures, e.ID) {
			return nil
		}
		for _, r := range e.Records {
			if hashers[r.Generation] == nil {
				key, err := source.Generation(r.Generation)
				if err == nil {
					hashers[r.Generation], err = hasher(id, key)
				}
				if err != nil {
					return fmt.Errorf("records were erased from this store, and the key that tells which is not in this keyring: %w", err)
				}
			}
			if out[r.Collection] == nil {
				out[r.Collection] = map[uint32]*erasedSet{}
			}
			if out[r.Collection][r.Generation] == nil {
				out[r.Collection][r.Generation] = &erasedSet{hashers[r.Generation], map[[32]byte]bool{}}
			}
			out[r.Collection][r.Generation].records[r.Hash] = true
		}
		return nil
	})
	return out, err
}
