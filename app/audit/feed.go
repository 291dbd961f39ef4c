package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"holdfast/data"
	"holdfast/data/store"
)

// Feed is one open store as the follower reads it.
type Feed interface {
	Position(ctx context.Context) (data.Position, error)
	Changes(ctx context.Context, after data.Position, limit int) ([]data.Change, error)
	Incarnations(ctx context.Context) ([]store.Incarnation, error)
	Release()
}

// Stores opens stores on demand.
type Stores interface {
	Acquire(ctx context.Context, id data.StoreID) (Feed, error)
}

// FromPool follows the stores of a pool.
func FromPool(p *store.Pool) Stores { return pool{p} }

type pool struct{ *store.Pool }

func (p pool) Acquire(ctx context.Context, id data.StoreID) (Feed, error) {
	s, err := p.Pool.Acquire(ctx, id)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Actions of entries that the follower writes.
const (
	actionBegin  = "feed.begin" // a life of the store is followed from here
	tableSchema  = "_collections"
	tableSetting = "_params"
)

// maxChanges is how many changes become leaves in one transaction.
const maxChanges = 500

// CatchUp gives every committed change of a store its leaf, and returns the
// position that it reached.
func (s *Service) CatchUp(ctx context.Context, id data.StoreID) (data.Position, error) {
	if s.config.Stores == nil {
		return data.Position{}, fmt.Errorf("follow %s: no stores", id)
	}
	feed, err := s.config.Stores.Acquire(ctx, id)
	if err != nil {
		return data.Position{}, fmt.Errorf("follow %s: %w", id, err)
	}
	defer feed.Release()
	at, err := s.drain(ctx, id.String(), feed)
	if err != nil {
		return at, fmt.Errorf("follow %s: %w", id, err)
	}
	return at, nil
}

// Farewell gives every change of a store its leaf that is about to be replaced, and
// that nobody can acquire any more.
func (s *Service) Farewell(ctx context.Context, id data.StoreID, last Feed) error {
	if _, err := s.drain(ctx, id.String(), last); err != nil {
		return fmt.Errorf("follow %s to its end: %w", id, err)
	}
	return nil
}

// drain takes steps until there is nothing after the followed position.
func (s *Service) drain(ctx context.Context, log string, feed Feed) (data.Position, error) {
	for {
		st, err := s.state(ctx, log)
		if err != nil {
			return st.Follow, err
		}
		more, err := s.step(ctx, log, feed, st.Follow)
		if errors.Is(err, errMoved) {
			continue // somebody else took this step
		}
		if err != nil || !more {
			return st.Follow, err
		}
	}
}

// Followed is the newest change of a store that has its leaf: the log can do without the
// changes up to it in the store's feed.
func (s *Service) Followed(ctx context.Context, id data.StoreID) (data.Position, error) {
	st, err := s.state(ctx, id.String())
	return st.Follow, err
}

// step moves the followed position once: to the beginning of a life, over some
// changes, or over those that the feed no longer has (a log that was put back: it is
// told as what it is, and Verify finds it). It reports whether it moved.
func (s *Service) step(ctx context.Context, log string, feed Feed, at data.Position) (bool, error) {
	if at == (data.Position{}) {
		return true, s.begin(ctx, log, feed, at)
	}
	changes, err := feed.Changes(ctx, at, maxChanges)
	if errors.Is(err, store.ErrLostPosition) {
		return true, s.begin(ctx, log, feed, at)
	}
	var pruned *store.PrunedError
	if errors.As(err, &pruned) {
		return true, s.skip(ctx, log, at, pruned.To)
	}
	if err != nil || len(changes) == 0 {
		return false, err
	}
	if first := changes[0].Incarnation; first != at.Incarnation {
		return true, s.begin(ctx, log, feed, at)
	}
	return true, s.appendChanges(ctx, log, at, sameLife(changes))
}

// skip goes on behind changes that are gone.
func (s *Service) skip(ctx context.Context, log string, at, to data.Position) error {
	s.config.Logger.Error("changes are in neither the store's feed nor its log", "store", log, "after", at.Sequence, "to", to.Sequence)
	r, err := s.beginAt(log, to, "pruned", at)
	if err != nil {
		return err
	}
	return s.submit(ctx, &job{log: log, records: []record{r}, move: &move{from: at, to: to}})
}

// sameLife is the beginning of changes that are of the first one's incarnation.
func sameLife(changes []data.Change) []data.Change {
	for i, c := range changes {
		if c.Incarnation != changes[0].Incarnation {
			return changes[:i]
		}
	}
	return changes
}

// begin moves to the start of the next life to follow and says so in the log.
func (s *Service) begin(ctx context.Context, log string, feed Feed, at data.Position) error {
	lives, err := feed.Incarnations(ctx)
	if err != nil {
		return err
	}
	life, ok := nextLife(lives, at)
	if !ok {
		return fmt.Errorf("no incarnation follows %v: %w", at, store.ErrLostPosition)
	}
	r, err := s.beginAt(log, startOf(life), life.Reason, at)
	if err != nil {
		return err
	}
	to := startOf(life)
	m := &move{from: at, to: to}
	return s.submit(ctx, &job{log: log, records: []record{r}, move: m})
}

// nextLife is the first life for a store that was just created, the newest for
// one that was restored from elsewhere, and the one after the followed life
// for one that was restored in place.
func nextLife(lives []store.Incarnation, at data.Position) (store.Incarnation, bool) {
	if len(lives) == 0 {
		return store.Incarnation{}, false
	}
	for i, life := range lives {
		if life.ID == at.Incarnation {
			if i+1 == len(lives) {
				return store.Incarnation{}, false
			}
			return lives[i+1], true
		}
	}
	return lives[len(lives)-1], true
}

// startOf is the position before a life's first change.
func startOf(life store.Incarnation) data.Position {
	return data.Position{Incarnation: life.ID, Sequence: life.From}
}

func (s *Service) beginAt(log string, to data.Position, reason string, at data.Position) (record, error) {
	detail := map[string]string{"reason": reason}
	if at != (data.Position{}) {
		detail["before"] = fmt.Sprintf("%s %d", at.Incarnation, at.Sequence)
	}
	l := leaf{Time: s.config.Clock(), Action: actionBegin, Outcome: "ok", Position: to}
	return s.ciphers.seal(log, s.config.Personal(owner(log)), l, body{Actor: data.Actor{Kind: data.System}.String(), Detail: detail})
}

// appendChanges gives changes their leaves, as many as fit one transaction.
func (s *Service) appendChanges(ctx context.Context, log string, at data.Position, changes []data.Change) error {
	j := &job{log: log, move: &move{from: at}}
	keys := s.config.Personal(owner(log))
	for size := 0; len(j.records) < len(changes) && size < maxBatchBytes; {
		c := changes[len(j.records)]
		r, err := s.ciphers.seal(log, keys, leafOf(c), bodyOfChange(c))
		if err != nil {
			return err
		}
		j.records, j.move.to = append(j.records, r), c.Position
		size += r.size()
	}
	return s.submit(ctx, j)
}

func leafOf(c data.Change) leaf {
	return leaf{Time: c.At, Action: actionOf(c), Outcome: "ok", Position: c.Position}
}

func actionOf(c data.Change) string {
	switch c.Collection {
	case tableSchema:
		return "schema." + string(c.Op)
	case tableSetting:
		return "settings." + string(c.Op)
	}
	return "record." + string(c.Op)
}

func bodyOfChange(c data.Change) body {
	b := body{Actor: c.Actor.String(), Target: clip(strings.TrimSuffix(c.Collection+"/"+c.Record, "/"))}
	if len(c.Fields) > 0 {
		b.Detail = map[string]string{"fields": clip(strings.Join(c.Fields, ","))}
	}
	return b
}
