package recovery

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/chain"
	"holdfast/data"
)

// Policy says how a store's snapshots are made and kept.
type Policy struct {
	EverySeconds       int       `json:"every_seconds" doc:"a changed store is shipped so often; 0: only when asked"`
	Retention          Retention `json:"retention"`
	Regions            []string  `json:"regions" doc:"regions that its snapshots may lie in; empty: any"`
	Targets            []string  `json:"targets" doc:"names of the targets that it is shipped to; empty: all"`
	Lock               LockRule  `json:"lock"`
	ErasureHorizonDays int       `json:"erasure_horizon_days" doc:"what was erased is gone from the targets after so long; locks are capped by it; 0: not stated"`
	RTOSeconds         int       `json:"rto_seconds" doc:"a restore may take so long; 0: not stated"`
	RPOSeconds         int       `json:"rpo_seconds" doc:"so much may be lost; 0: not stated"`
	DrillEveryDays     int       `json:"drill_every_days" doc:"0: only when asked"`
}

// Retention says which points are kept: one that any rule wants.
type Retention struct {
	AllHours int `json:"all_hours" doc:"every point that is younger"`
	Last     int `json:"last" doc:"the last so many"`
	Hourly   int `json:"hourly" doc:"the last point of each of so many hours"`
	Daily    int `json:"daily"`
	Weekly   int `json:"weekly"`
	Monthly  int `json:"monthly"`
	Yearly   int `json:"yearly"`
}

// LockRule says how long objects are locked on targets that can.
type LockRule struct {
	Mode string `json:"mode" enum:",compliance,governance" doc:"empty: no lock"`
	Days int    `json:"days"`
}

// defaultPolicy is that of a store that nobody set one for.
func defaultPolicy() Policy {
	return Policy{
		EverySeconds: 1, Regions: []string{}, Targets: []string{},
		Retention:      Retention{AllHours: 24, Hourly: 48, Daily: 31, Weekly: 8, Monthly: 12},
		RPOSeconds:     60,
		RTOSeconds:     900,
		DrillEveryDays: 7,
	}
}

const (
	mostSeconds = 24 * 3600
	mostDays    = 36_500
	mostKept    = 100_000
)

// check refuses what cannot be meant; targets are those that there are.
func (p Policy) check(targets []targetRow) error {
	r := p.Retention
	within := map[string][2]int{
		"every_seconds": {p.EverySeconds, mostSeconds}, "erasure_horizon_days": {p.ErasureHorizonDays, mostDays}, "lock.days": {p.Lock.Days, mostDays},
		"rto_seconds": {p.RTOSeconds, mostDays * mostSeconds}, "rpo_seconds": {p.RPOSeconds, mostDays * mostSeconds}, "drill_every_days": {p.DrillEveryDays, mostDays},
		"retention.all_hours": {r.AllHours, mostKept}, "retention.last": {r.Last, mostKept}, "retention.hourly": {r.Hourly, mostKept}, "retention.daily": {r.Daily, mostKept},
		"retention.weekly": {r.Weekly, mostKept}, "retention.monthly": {r.Monthly, mostKept}, "retention.yearly": {r.Yearly, mostKept},
	}
	for _, field := range sortedKeys(within) {
		if v := within[field]; v[0] < 0 || v[0] > v[1] {
			return api.InvalidField(field, "want 0 to %d", v[1])
		}
	}
	if err := p.kept().Validate(); err != nil {
		return api.InvalidField("retention", "it keeps nothing")
	}
	if p.Lock.Mode != "" && p.lockMode() == "" {
		return api.InvalidField("lock.mode", "want compliance, governance or nothing")
	}
	if (p.Lock.Mode == "") != (p.Lock.Days == 0) {
		return api.InvalidField("lock.days", "a lock has a mode and days, or neither")
	}
	return p.checkTargets(targets)
}

// checkTargets refuses a target that is not there, or lies where none may.
func (p Policy) checkTargets(targets []targetRow) error {
	for _, name := range p.Targets {
		i := slices.IndexFunc(targets, func(t targetRow) bool { return t.Name == name })
		if i < 0 {
			return api.InvalidField("targets", "there is no target %q", name)
		}
		if why := p.elsewhere(targets[i]); why != "" {
			return api.InvalidField("targets", "%s", why)
		}
	}
	return nil
}

// elsewhere tells why a target's region is not allowed; "" where it is.
func (p Policy) elsewhere(t targetRow) string {
	switch {
	case len(p.Regions) == 0 || slices.Contains(p.Regions, t.Region):
		return ""
	case t.Region == "":
		return fmt.Sprintf("Target %s has no region, and the policy allows only %s. Say where it is: holdfast target set %s --region REGION",
			t.Name, strings.Join(p.Regions, ", "), t.Name)
	}
	return fmt.Sprintf("Target %s is in region %s, and the policy allows only %s.", t.Name, t.Region, strings.Join(p.Regions, ", "))
}

// keepsOut tells why a store is not shipped to a target; "" where it is.
func (p Policy) keepsOut(t targetRow) string {
	if len(p.Targets) > 0 && !slices.Contains(p.Targets, t.Name) {
		return fmt.Sprintf("The policy does not name target %s.", t.Name)
	}
	return p.elsewhere(t)
}

func (p Policy) every() time.Duration { return time.Duration(p.EverySeconds) * time.Second }

const day = 24 * time.Hour

// kept is the retention as the chain knows it.
func (p Policy) kept() chain.Policy {
	r := p.Retention
	return chain.Policy{
		All: time.Duration(r.AllHours) * time.Hour, Last: r.Last, Hourly: r.Hourly,
		Daily: r.Daily, Weekly: r.Weekly, Monthly: r.Monthly, Yearly: r.Yearly,
	}
}

func (p Policy) lockMode() backup.LockMode {
	switch p.Lock.Mode {
	case "compliance":
		return backup.Compliance
	case "governance":
		return backup.Governance
	}
	return ""
}

// lock is how long objects are locked: never beyond the erasure horizon.
func (p Policy) lock() backup.LockFor {
	days := p.Lock.Days
	if p.ErasureHorizonDays > 0 {
		days = min(days, p.ErasureHorizonDays)
	}
	return backup.LockFor{Mode: p.lockMode(), For: time.Duration(days) * day}
}

// longest is how far back the retention reaches, in days.
func (p Policy) longest() int {
	r := p.Retention
	return max((r.AllHours+23)/24, (r.Hourly+23)/24, r.Daily, 7*r.Weekly, 31*r.Monthly, 366*r.Yearly)
}

// collision tells where lock or retention reach beyond the erasure horizon; "" where
// they do not.
func (p Policy) collision() string {
	h := p.ErasureHorizonDays
	switch {
	case h > 0 && p.Lock.Days > h:
		return fmt.Sprintf("Objects are to be locked for %d days, but the policy promises that erased data is gone after %d: they are locked for %d.", p.Lock.Days, h, h)
	case h > 0 && p.longest() > h:
		return fmt.Sprintf("Points are kept for up to %d days, but the policy promises that erased data is gone after %d: older points still hold it, encrypted.", p.longest(), h)
	}
	return ""
}

// Policy is a store's snapshot policy, the default where none was set.
func (s *Service) Policy(ctx context.Context, id data.StoreID) (Policy, error) {
	return s.policyOf(ctx, id.String())
}

func (s *Service) policyOf(ctx context.Context, name string) (p Policy, err error) {
	var text string
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &text, `SELECT policy FROM snapshot_policies WHERE store = ?`, name)
	})
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, data.ErrNotFound) {
		return defaultPolicy(), nil
	}
	if err == nil {
		p = defaultPolicy()
		err = json.Unmarshal([]byte(text), &p)
	}
	if err != nil {
		return p, fmt.Errorf("snapshot policy: %w", err)
	}
	return p, nil
}

// SetPolicy replaces a store's snapshot policy; it takes effect at once.
func (s *Service) SetPolicy(ctx context.Context, slug, environment string, p Policy) (Policy, error) {
	r, err := s.find(ctx, slug, environment)
	if err != nil {
		return p, err
	}
	targets, err := s.targets(ctx)
	if err == nil {
		err = p.check(targets)
	}
	if err != nil {
		return p, err
	}
	if p.Regions = slices.Compact(slices.Sorted(slices.Values(p.Regions))); p.Regions == nil {
		p.Regions = []string{}
	}
	if p.Targets = slices.Compact(slices.Sorted(slices.Values(p.Targets))); p.Targets == nil {
		p.Targets = []string{}
	}
	if err := s.keepPolicy(ctx, r, p); err != nil {
		return p, err
	}
	s.ships.policy(r.id.String(), p)
	s.closeIdle(r.id.String()) // the next one opens with the new locks
	return p, nil
}

func (s *Service) keepPolicy(ctx context.Context, r ref, p Policy) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	err = s.config.Recorder.Record(ctx, api.Event{
		Action: "snapshot.policy", Target: r.String(), Store: r.id.String(), Outcome: api.OK, Detail: map[string]string{"policy": string(text)},
	})
	if err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO snapshot_policies (store, policy) VALUES (?, ?)
			ON CONFLICT (store) DO UPDATE SET policy = excluded.policy`, r.id.String(), string(text))
		return err
	})
}

func (s *Service) servePolicy(w http.ResponseWriter, r *http.Request) error {
	found, err := s.find(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return err
	}
	p, err := s.Policy(r.Context(), found.id)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, p)
}

func (s *Service) serveSetPolicy(w http.ResponseWriter, r *http.Request) error {
	p := defaultPolicy()
	if err := api.Read(r, &p); err != nil {
		return err
	}
	p, err := s.SetPolicy(r.Context(), r.PathValue("slug"), r.PathValue("env"), p)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, p)
}
