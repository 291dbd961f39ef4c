package recovery

import (
	"context"
	"time"

	"holdfast/data"
)

// Lane is how a store is kept on one target.
type Lane struct {
	Target     string     `json:"target"`
	State      string     `json:"state" enum:"current,behind,absent,fenced,paused"`
	Why        string     `json:"why,omitempty"`
	LagSeconds float64    `json:"lag_seconds" doc:"age of the oldest change that is not there yet"`
	Newest     *time.Time `json:"newest,omitempty" doc:"newest point there"`
}

// LastDrill is how the last drill of a store ended, whichever target it read.
type LastDrill struct {
	At     time.Time `json:"at"`
	Target string    `json:"target"`
	OK     bool      `json:"ok" doc:"it was restored and every check passed"`
	Met    bool      `json:"met" doc:"no goal of its policy was missed"`
}

func shownLane(one seen) Lane {
	lane := Lane{Target: one.target.Name, State: one.state, Why: one.why, LagSeconds: one.lag.Seconds()}
	if one.newest.Sequence > 0 {
		at := one.newest.at()
		lane.Newest = &at
	}
	return lane
}

// complete adds what is only asked for the stores that are shown: names for
// people, sizes that are not in the table, drills.
func (s *Service) complete(ctx context.Context, list []Overview) error {
	for i := range list {
		o := &list[i]
		if own := s.config.Own[o.Store]; own.Size != nil {
			o.Bytes, o.Files = own.Size(), 0 // what its chain calls files are stretches of the stream
		}
		if id, err := data.ParseStoreID(o.Store); err == nil && s.config.Slug != nil {
			o.Slug, _ = s.config.Slug(ctx, id) // a name for people only
		}
		if s.config.Drills == nil {
			continue
		}
		var err error
		if o.Drill, err = s.config.Drills.Last(ctx, o.Store); err != nil {
			return err
		}
	}
	return nil
}
