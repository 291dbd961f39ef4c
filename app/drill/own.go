package drill

import (
	"context"

	"holdfast/app/api"
	"holdfast/backup/restore"
	"holdfast/data"
)

// Trial restores a part of the appliance into scratch, looks at what came, and throws it
// away. It must not outlive its context.
type Trial func(ctx context.Context, c restore.Config, t Tell) error

// Tell is how a trial says what it found.
type Tell struct {
	Restored func(restore.Result) // once, when all of it was read and holds
	Opened   func(text string)    // once: what a restore needs is there, which ends the RTO
	// Found tells what a check found; nothing is wrong where it passed, and text says
	// what that means.
	Found func(check string, wrong []string, text string)
}

// name is what the chain is of, as tables and logs have it: a store's id, or the name of
// a part of the appliance.
func (c Chain) name() string {
	if c.Own != "" {
		return c.Own
	}
	return c.Store.String()
}

// log is the store whose log tells of it, "" for the appliance's.
func (c Chain) log() string {
	if c.Own != "" {
		return ""
	}
	return c.Store.String()
}

// within says whether somebody who reaches so far sees the chain.
func (c Chain) within(r api.Reach) bool {
	if c.Own != "" {
		return r.All
	}
	return r.Includes(c.Store.Tenant)
}

// try has a part of the appliance tried.
func (d *drill) try(ctx context.Context, c restore.Config) error {
	return d.config.Own[d.chain.Own](ctx, c, Tell{
		Restored: d.restored,
		Opened:   func(text string) { d.opened(text) },
		Found: func(check string, wrong []string, text string) {
			if len(wrong) > 0 {
				d.found(check, wrong...)
				return
			}
			d.check(check, passed, "%s", text)
		},
	})
}

// own finds a part of the appliance by the name that a request gives it.
func (s *Service) own(slug, environment string) (name string, ok bool) {
	if environment != data.Prod || s.config.Own[slug] == nil {
		return "", false
	}
	return slug, true
}

// policyOf is what the drills of a chain are held to. Those of the appliance's parts have
// no goals.
func (s *Service) policyOf(ctx context.Context, c Chain) (Policy, error) {
	if c.Own != "" {
		return DefaultPolicy(), nil
	}
	return s.config.Policy(ctx, c.Store)
}
