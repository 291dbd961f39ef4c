package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/restore"
	"holdfast/data"
	"holdfast/data/store"
	"holdfast/data/system"
)

// Order is the body of a request for a drill.
type Order struct {
	Target string `json:"target,omitempty" doc:"name of the target to read from; the one with the newest snapshot where it is not given"`
	At     string `json:"at,omitempty" doc:"moment to restore (RFC 3339); the newest where it is not given"`
}

// Causes of a drill.
const (
	asked     = "asked"
	scheduled = "schedule"
)

// States of a check.
const (
	passed  = "passed"
	failed  = "failed"
	skipped = "skipped"
)

// task is one drill to be carried out.
type task struct {
	chain Chain
	name  string
	at    time.Time // zero: the newest
	cause string
	fresh bool // the live store is to be added up first
}

// drill is one drill under way.
type drill struct {
	*Service
	task
	row    drillRow
	policy Policy
	known  map[string][]witness
	clock  time.Time // monotonic, when its turn came
	checks []Check
	wrong  []string
}

func (d *drill) check(name, state, format string, args ...any) {
	d.checks = append(d.checks, Check{name, state, fmt.Sprintf(format, args...)})
}

func (d *drill) found(name string, findings ...string) {
	d.check(name, failed, "%s", strings.Join(findings[:min(len(findings), maxFindings)], "; "))
	d.wrong = append(d.wrong, findings...)
}

// maxFindings bounds what one drill lists.
const maxFindings = 100

// carryOut waits for its turn and drills. What is wrong with the chain is in the
// result; the error is of what kept the drill from being kept, or its end.
func (s *Service) carryOut(ctx context.Context, p *api.Progress, t task) (Drill, error) {
	p.Set(ctx, 0, 0, "bytes", "waiting for its turn")
	select {
	case <-s.turn:
	case <-ctx.Done():
		return Drill{}, ctx.Err()
	}
	defer func() { s.turn <- struct{}{} }()
	d := &drill{Service: s, task: t, clock: time.Now(), row: drillRow{
		ID: system.NewID(), Store: t.chain.name(), Name: t.name, Target: t.chain.Target, TargetName: t.chain.TargetName,
		Started: s.now().UnixMilli(), RTO: -1, RPO: -1, Cause: t.cause, Actor: data.ActorFrom(ctx).String(),
	}}
	if err := d.prepare(ctx); err != nil {
		return Drill{}, err
	}
	err := d.run(ctx, p)
	var outside *restore.RangeError
	switch {
	case ctx.Err() != nil:
		return Drill{}, ctx.Err()
	case errors.As(err, &outside): // a moment that never was proves nothing of the chain
		return Drill{}, outside
	case err != nil:
		d.failure(err)
	}
	return d.keep(ctx)
}

// prepare reads what the drill is held to. The store is only opened for a drill
// that somebody asked for.
func (d *drill) prepare(ctx context.Context) (err error) {
	if d.policy, err = d.policyOf(ctx, d.chain); err != nil {
		return err
	}
	d.row.RTOGoal, d.row.RPOGoal = d.policy.RTO.Milliseconds(), d.policy.RPO.Milliseconds()
	if d.chain.Own != "" {
		d.row.RPO, d.clock = d.chain.Lag.Milliseconds(), time.Now()
		return nil
	}
	if d.fresh {
		if err := d.Witness(ctx, d.chain.Store); err != nil && !errors.Is(err, data.ErrParked) {
			d.config.Logger.WarnContext(ctx, "a store could not be added up before a drill", "store", d.row.Store, "error", err)
		}
	}
	if d.known, err = d.witnesses(ctx, d.chain.Store); err != nil {
		return err
	}
	d.row.RPO, err = d.loss(ctx)
	d.clock = time.Now()
	return err
}

// loss is for how long, in milliseconds, the newest point on the target has lacked
// something that the store had committed. The store is asked if it is open; of one
// at rest, who ships knows.
func (d *drill) loss(ctx context.Context) (int64, error) {
	st, release := d.config.Stores.Peek(d.chain.Store)
	defer release()
	if st == nil {
		return d.chain.Lag.Milliseconds(), nil
	}
	since, err := st.OldestBeyond(ctx, d.chain.Position)
	if err != nil || since.IsZero() {
		return 0, err
	}
	return max(0, d.now().Sub(since).Milliseconds()), nil
}

// run restores into scratch and looks at what came.
func (d *drill) run(ctx context.Context, p *api.Progress) error {
	c, err := d.config.Chains.Source(ctx, d.chain.name(), d.chain.Target)
	if err != nil {
		return err
	}
	c.At, c.Until = d.at, d.now()
	c.Begin = d.room
	c.Progress = func(done, of int64) { p.Set(ctx, done, of, "bytes", "restoring "+d.name+" from "+d.chain.TargetName) }
	if d.chain.Own != "" {
		return d.try(ctx, c)
	}
	return d.config.Stores.Try(ctx, func(ctx context.Context, t store.InstallTarget) error {
		got, err := restore.Run(ctx, c, t)
		if err == nil {
			d.restored(got)
		}
		return err
	}, func(ctx context.Context, st *store.Store) error { return d.look(ctx, p, st) })
}

// room refuses to begin what the disk cannot take.
func (d *drill) room(want restore.Preview) error {
	if d.config.Room == nil {
		return nil
	}
	free, err := d.config.Room()
	if need := want.Database + want.Files + want.Scratch; err == nil && need > free {
		return fmt.Errorf("%w: it takes %d bytes, and %d are free", errRoom, need, free)
	}
	return err
}

var errRoom = errors.New("there is not enough room on this host for the drill")

func (d *drill) restored(r restore.Result) {
	d.row.Sequence, d.row.Point = r.Sequence, r.Time.UnixMilli()
	d.row.Incarnation, d.row.Position = r.Position.Incarnation, r.Position.Sequence
	d.row.Bytes, d.row.Pages = r.Bytes, int64(r.Pages)
	d.check("chain", passed, "%d objects, %d bytes: every signature, hash and position holds, up to snapshot %d", r.Objects, r.Bytes, r.Sequence)
	d.check("checksum", passed, "the checksum over all %d pages and that over the file tree are those of the manifest", r.Pages)
	if r.Missing > 0 {
		d.found("files", fmt.Sprintf("%d files had vanished while the snapshot was made; it lacks them", r.Missing))
	}
}

// look examines the restored store: what a restore needs first, for that is what
// the clock runs for.
func (d *drill) look(ctx context.Context, p *api.Progress, st *store.Store) error {
	p.Set(ctx, 0, 0, "", "PocketBase opens the restored store")
	n, err := st.Probe(ctx)
	if err != nil {
		return fmt.Errorf("PocketBase cannot read the restored store: %w", err)
	}
	d.opened(fmt.Sprintf("PocketBase opened it, listed %d collections and read records of each", n))
	p.Set(ctx, 0, 0, "", "checking the restored database")
	if err := d.integrity(ctx, st); err != nil {
		return err
	}
	p.Set(ctx, 0, 0, "", "holding records and files to their recorded digests")
	r := restored{Store: st}
	if r.at, err = st.Position(ctx); err != nil {
		return err
	}
	if r.lives, err = st.Incarnations(ctx); err != nil {
		return err
	}
	if err := d.feed(ctx, r); err != nil {
		return err
	}
	return d.records(ctx, r)
}

// opened ends the time that a restore takes.
func (d *drill) opened(text string) {
	d.row.RTO = time.Since(d.clock).Milliseconds()
	d.check("probe", passed, "%s", text)
}

func (d *drill) integrity(ctx context.Context, st *store.Store) error {
	wrong, err := st.Integrity(ctx)
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		d.found("integrity", wrong...)
		return nil
	}
	d.check("integrity", passed, "SQLite's integrity check found nothing")
	return nil
}

// feed holds the restored change feed to the position in the manifest.
func (d *drill) feed(ctx context.Context, r restored) error {
	_, last, gapless, err := touched(ctx, r.Store, r.Floor(), 0)
	if err != nil {
		return err
	}
	shipped := data.Position{Incarnation: d.row.Incarnation, Sequence: d.row.Position}
	switch {
	case !gapless:
		d.found("feed", "the change feed of the restored store has a gap")
	case r.at.Incarnation != shipped.Incarnation || r.at.Sequence < shipped.Sequence:
		d.found("feed", fmt.Sprintf("the restored store ends at change %d, but it was shipped when it had %d", r.at.Sequence, shipped.Sequence))
	default:
		d.check("feed", passed, "the change feed has no gap and ends at %d; the manifest promises at least %d", last, shipped.Sequence)
	}
	d.row.Incarnation, d.row.Position = r.at.Incarnation, r.at.Sequence
	return nil
}

func (d *drill) records(ctx context.Context, r restored) error {
	c, err := d.compare(ctx, r, d.known)
	if err != nil {
		return err
	}
	d.row.Records, d.row.Files, d.row.Compared = c.records, c.files, c.compared
	switch {
	case len(c.findings) > 0:
		d.found("records", c.findings...)
	case c.witnessed == 0 && c.records > 0:
		d.check("records", skipped, "no digest was recorded that this point could be held to; %d records and %d files were read", c.records, c.files)
	default:
		d.check("records", passed, "%d of %d records in %d collections, and the content of their files, are what the store had; the others were changed between the point and the digest",
			c.compared, c.records, c.witnessed)
	}
	return nil
}

// failure words why nothing, or not all, could be looked at.
func (d *drill) failure(err error) {
	var object *backup.ObjectError
	var text string
	name := "probe"
	if d.row.Sequence == 0 {
		name = "chain"
	}
	var tampered = errors.As(err, &object)
	switch {
	case tampered:
		text = object.Error()
	case errors.Is(err, errRoom):
		text = err.Error()
	default:
		text = api.AsProblem(d.config.Chains.Explain(err)).Detail
		if name == "probe" {
			text = err.Error()
		}
	}
	d.found(name, text)
}

// keep signs and stores the drill, and raises the alarm if it failed. An error of
// the log is the drill's.
func (d *drill) keep(ctx context.Context) (Drill, error) {
	d.row.Ended, d.row.OK = d.now().UnixMilli(), len(d.wrong) == 0
	findings := d.wrong[:min(len(d.wrong), maxFindings)]
	if findings == nil {
		findings = []string{}
	}
	for text, v := range map[*string]any{&d.row.Checks: d.checks, &d.row.Findings: findings} {
		b, err := json.Marshal(v)
		if err != nil {
			return Drill{}, err
		}
		*text = string(b)
	}
	shown, err := d.row.drill()
	if err != nil {
		return Drill{}, err
	}
	if err := d.sign(ctx, shown); err != nil {
		return Drill{}, err
	}
	if err := d.insert(ctx, d.row); err != nil {
		return Drill{}, err
	}
	return shown, errors.Join(d.alarm(ctx, shown), d.record(ctx, shown))
}

func (d *drill) record(ctx context.Context, shown Drill) error {
	e := api.Event{Action: "drill.run", Target: shown.Name, Store: d.chain.log(), Outcome: api.OK, Detail: map[string]string{
		"id": shown.ID, "target": shown.Target, "seq": strconv.FormatInt(shown.Sequence, 10), "cause": shown.Cause,
		"rto_ms": strconv.FormatInt(d.row.RTO, 10), "rpo_ms": strconv.FormatInt(d.row.RPO, 10),
	}}
	if !shown.OK {
		e.Outcome, e.Detail["first"] = api.Failed, shown.Findings[0]
	}
	return d.config.Recorder.Record(context.WithoutCancel(ctx), e)
}
