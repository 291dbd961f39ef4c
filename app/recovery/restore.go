package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/restore"
	"holdfast/data"
	"holdfast/data/store"
)

// Order is the body of a restore: as a new tenant, in place, or only records into the
// living store.
type Order struct {
	As          string   `json:"as,omitempty" doc:"slug of the new tenant"`
	InPlace     bool     `json:"in_place,omitempty" doc:"the living store becomes what it was; what it replaces is kept until it is confirmed"`
	Collections []string `json:"collections,omitempty" doc:"only these collections, into the living store: what is there now and was not then is left alone"`
	Records     []string `json:"records,omitempty" doc:"only these records (ids) of the one collection"`
	Conflict    string   `json:"conflict,omitempty" enum:"overwrite,keep,refuse" doc:"of records that differ now: overwrite (as they were then; the default), keep, or refuse all"`
	At          string   `json:"at,omitempty" doc:"moment to restore (RFC 3339), or so long ago, as 10m ago; the newest point where it is not given"`
	Sequence    int64    `json:"sequence,omitempty" doc:"a snapshot's number, instead of a moment"`
	Target      string   `json:"target,omitempty" doc:"target to read from; the one with the newest snapshot where it is not given"`
	DryRun      bool     `json:"dry_run,omitempty" doc:"change nothing, only tell what would change"`
}

func (o Order) kind() string {
	switch {
	case o.DryRun:
		return asPlan
	case o.InPlace:
		return inPlace
	case len(o.Collections) > 0:
		return asPart
	}
	return asTenant
}

// Restored is the result of a restore.
type Restored struct {
	ID         string        `json:"id" doc:"of the restore, for confirm and undo"`
	Slug       string        `json:"slug"`
	Records    int64         `json:"records"`
	RTOSeconds float64       `json:"rto_seconds" doc:"from the request to the open tenant"`
	Target     string        `json:"target"`
	Seq        int64         `json:"seq"`
	Time       time.Time     `json:"time" doc:"of the snapshot"`
	Position   data.Position `json:"position" doc:"in the store that was shipped"`
	Pages      int64         `json:"pages"`
	Files      int           `json:"files"`
	Bytes      int64         `json:"bytes" doc:"read from the target"`
	Erased     int           `json:"erased,omitempty" doc:"records taken out again because they were erased since"`
	InPlace    bool          `json:"in_place,omitempty"`
	Undone     int64         `json:"undone_changes,omitempty" doc:"changes of the living store, committed after the point, that the restore in place undid"`
	Taken      []store.Taken `json:"collections,omitempty" doc:"of a restore of collections or records"`
	Plan       *Plan         `json:"plan,omitempty" doc:"of a dry run"`
}

// job is a restore under way.
type job struct {
	row   restoreRow
	ref   ref
	order Order
	at    time.Time
	began time.Time
}

// Restore starts a restore. The store may be parked when it is restored as a new tenant;
// of a destroyed one nothing can be read (data.ErrDestroyed). After a crash the next
// start of the process goes on with it, under the same operation.
func (s *Service) Restore(ctx context.Context, slug, environment string, o Order) (api.Operation, error) {
	j := &job{order: o, began: s.now()}
	var err error
	if j.ref, j.at, err = s.accept(ctx, slug, environment, o); err != nil {
		return api.Operation{}, err
	}
	if _, err := s.sources(ctx, j); err != nil {
		return api.Operation{}, err
	}
	if j.row, err = s.newRestore(ctx, j.ref, o, o.kind()); err != nil {
		return api.Operation{}, err
	}
	op, err := s.config.Operations.Start(ctx, "restore", j.ref.String(), j.ref.id.String(), s.running(j))
	if err != nil {
		return op, errors.Join(err, s.mark(ctx, j.row.ID, restoreFailed, nil, "It could not be started."))
	}
	return op, nil
}

// accept checks an order before anything is begun.
func (s *Service) accept(ctx context.Context, slug, environment string, o Order) (r ref, at time.Time, err error) {
	if err := o.check(); err != nil {
		return r, at, err
	}
	if at, err = momentOf(o.At, s.now()); err != nil {
		return r, at, err
	}
	if o.kind() == asTenant || o.As != "" { // it creates one
		if err := s.config.Access.Authorize(ctx, data.ActorFrom(ctx), api.TenantCreate, api.Scope{}); err != nil {
			return r, at, err
		}
	}
	if r, err = s.readable(ctx, slug, environment); err != nil {
		return r, at, err
	}
	if len(o.Collections) > 0 { // records are chosen: that is changing them
		if err := s.config.Access.Authorize(ctx, data.ActorFrom(ctx), api.DataWrite, api.StoreScope(r.id)); err != nil {
			return r, at, err
		}
	}
	if o.As == "" {
		return r, at, s.acceptLiving(ctx, r, o)
	}
	if _, closed, err := s.config.Tenants.Find(ctx, o.As, data.Prod); err == nil && !errors.Is(closed, data.ErrDestroyed) {
		return r, at, api.Errorf(409, "exists", "A tenant %q exists already.", o.As).Because(data.ErrExists)
	}
	return r, at, nil
}

// acceptLiving checks what is to change a living store.
func (s *Service) acceptLiving(ctx context.Context, r ref, o Order) error {
	if r.closed != nil {
		return s.explain(r.closed)
	}
	if !o.InPlace || o.DryRun {
		return nil
	}
	kept, err := s.keptRestore(ctx, r.id)
	if err != nil {
		return err
	}
	if kept != nil {
		return api.Errorf(409, "kept", "Restore %s replaced this store and still keeps what was there. Confirm or undo it first.", kept.ID).Because(data.ErrExists)
	}
	return nil
}

func (o Order) check() error {
	ways := 0
	for _, way := range []bool{o.As != "", o.InPlace, len(o.Collections) > 0} {
		if way {
			ways++
		}
	}
	switch {
	case ways == 0:
		return api.InvalidField("as", "name the new tenant, or say in_place, or which collections")
	case ways > 1:
		return api.InvalidField("as", "as, in_place and collections are three ways: give one")
	case len(o.Records) > 0 && len(o.Collections) != 1:
		return api.InvalidField("records", "are of one collection: name it in collections")
	case o.At != "" && o.Sequence != 0:
		return api.InvalidField("sequence", "give a moment or a snapshot's number, not both")
	case o.Sequence < 0:
		return api.InvalidField("sequence", "is a snapshot's number")
	}
	switch store.Conflict(o.Conflict) {
	case "", store.Overwrite, store.Keep, store.Refuse:
		return nil
	}
	return api.InvalidField("conflict", "want overwrite, keep or refuse")
}

// momentOf reads RFC 3339, or how long ago.
func momentOf(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, ok := strings.CutSuffix(strings.TrimSpace(text), "ago"); ok {
		if d, err := time.ParseDuration(strings.ReplaceAll(ago, " ", "")); err == nil && d >= 0 {
			return now.Add(-d), nil
		}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, api.InvalidField("at", "%q is neither a moment like 2026-01-31T12:00:00Z nor like 10m ago", text)
	}
	return at, nil
}

// sources are the targets to restore from, best first.
func (s *Service) sources(ctx context.Context, j *job) ([]targetRow, error) {
	targets, err := s.candidates(ctx, j.ref, j.order.Target)
	if err != nil {
		return nil, err
	}
	return s.consult(ctx, j.ref, targets)
}

// running is what the operation of a restore does.
func (s *Service) running(j *job) func(context.Context, *api.Progress) (any, error) {
	return func(ctx context.Context, p *api.Progress) (any, error) {
		ctx = store.OnDuty(ctx) // accept has asked who may; nobody is shown a record
		if err := s.setOperation(ctx, j.row.ID, p.ID()); err != nil {
			return nil, err
		}
		targets, err := s.sources(ctx, j)
		var result Restored
		if err == nil {
			result, err = s.restore(ctx, p, j, targets)
		}
		if errors.Is(context.Cause(ctx), api.ErrDraining) && err != nil {
			return nil, err // the next process goes on with it
		}
		return s.finish(ctx, j, result, err)
	}
}

// finish writes down how a restore ended.
func (s *Service) finish(ctx context.Context, j *job, result Restored, failed error) (any, error) {
	result.ID, result.RTOSeconds = j.row.ID, s.now().Sub(j.began).Seconds()
	state, failure := restoreDone, ""
	if failed = s.explain(failed); failed != nil {
		state, failure = restoreFailed, api.AsProblem(failed).Detail
		failed = errors.Join(failed, os.RemoveAll(s.resume(j.row.ID)))
	} else if j.row.Kind == inPlace {
		state = restoreKept
	}
	err := errors.Join(failed, s.mark(ctx, j.row.ID, state, &result, failure))
	if j.row.Kind != asPlan {
		err = errors.Join(err, s.recordRestore(ctx, j.ref, j.order, result, err))
	}
	if err != nil {
		return nil, err
	}
	return result, nil
}

// candidates are the targets to restore from, best first: those with the newest
// snapshots, then those that nothing is known of.
func (s *Service) candidates(ctx context.Context, r ref, name string) ([]targetRow, error) {
	targets, err := s.chosen(ctx, name)
	if err != nil || name != "" {
		return targets, err
	}
	newest, err := s.newest(ctx, r.id)
	if err != nil {
		return nil, err
	}
	sortBy(targets, func(t targetRow) int64 { return -newest[t.ID].Time })
	return targets, nil
}

// restore takes the first target that has the snapshot. A chain that is damaged
// is not passed over: the caller is to know, and may name another target.
func (s *Service) restore(ctx context.Context, p *api.Progress, j *job, targets []targetRow) (Restored, error) {
	var none error
	for _, t := range targets {
		result, err := s.restoreFrom(ctx, p, j, t)
		if !errors.Is(err, backup.ErrNoSnapshot) {
			return result, err
		}
		none = errors.Join(none, fmt.Errorf("target %s: %w", t.Name, err))
	}
	return Restored{}, none
}

func (s *Service) restoreFrom(ctx context.Context, p *api.Progress, j *job, t targetRow) (Restored, error) {
	c, err := s.reading(ctx, p, j, t)
	if err != nil {
		return Restored{}, err
	}
	replay, err := s.replayOf(ctx, j.ref.id)
	if err != nil {
		return Restored{}, err
	}
	b := &building{config: c, replay: replay}
	switch j.row.Kind {
	case inPlace:
		err = s.restoreInPlace(ctx, j, b)
	case asPart:
		err = s.restorePart(ctx, j, b)
	case asPlan:
		err = s.plan(ctx, j, b)
	default:
		err = s.adopt(ctx, j, b)
	}
	r := &b.result
	r.Target, r.Seq, r.Time, r.Position = t.Name, b.got.Sequence, b.got.Time, b.got.Position
	r.Pages, r.Files, r.Bytes, r.Erased = int64(b.got.Pages), b.got.Files, b.got.Bytes, b.erased
	return *r, err
}

// reading says what to read, and finds the snapshot before anything is made of it.
func (s *Service) reading(ctx context.Context, p *api.Progress, j *job, t targetRow) (restore.Config, error) {
	c, err := s.source(ctx, j.ref, t, p)
	if err != nil {
		return c, err
	}
	newest, err := s.newest(ctx, j.ref.id)
	if err != nil {
		return c, err
	}
	c.At, c.Sequence, c.AtLeast = j.at, j.order.Sequence, newest[t.ID].Sequence
	c.Until, c.Resume, c.Begin = s.quietUntil(ctx, j.ref, newest[t.ID]), s.resume(j.row.ID), s.roomFor
	c.Progress = paced(ctx, p, s.now, "reading from "+t.Name)
	c.Sequence, err = restore.Find(ctx, c)
	c.At = time.Time{} // what it means is known now
	return c, err
}

// paced tells of progress with its rate.
func paced(ctx context.Context, p *api.Progress, now func() time.Time, text string) func(done, of int64) {
	var meter restore.Meter
	return func(done, of int64) {
		rate, left := meter.At(now(), done, of)
		p.Pace(rate, left)
		p.Set(ctx, done, of, "bytes", text)
	}
}

// quietUntil is the moment up to which nothing came after the newest snapshot, zero if
// that is not known.
func (s *Service) quietUntil(ctx context.Context, r ref, newest snapshotRow) time.Time {
	if r.closed != nil || newest.Sequence == 0 {
		return time.Time{}
	}
	st, err := s.config.Stores.Acquire(ctx, r.id)
	if err != nil {
		return time.Time{}
	}
	defer st.Release()
	now := s.now()
	missing, err := st.Changes(ctx, newest.position(), 1)
	switch {
	case err != nil:
		return time.Time{}
	case len(missing) > 0:
		return missing[0].At.Add(-time.Millisecond)
	}
	return now
}

// resume is where a restore keeps what it fetched.
func (s *Service) resume(restore string) string {
	return filepath.Join(s.config.Staging, "restores", restore)
}

// roomFor refuses what does not fit on the disk.
func (s *Service) roomFor(p restore.Preview) error {
	if s.config.Room == nil {
		return nil
	}
	free, err := s.config.Room()
	if err != nil {
		return err
	}
	need := needed(p)
	if need <= free {
		return nil
	}
	return api.Errorf(507, "no-room", "The disk has not the room: the restore needs %d MiB, and %d MiB are free. Nothing was begun.", need>>20, free>>20)
}

// needed is the room that a restore takes while it runs, in bytes.
func needed(p restore.Preview) int64 {
	return p.Database + p.Database/64 + p.Files + p.Scratch
}

// building makes a store of a chain.
type building struct {
	config restore.Config
	replay func(context.Context, *store.Store) (int, error)
	look   func(context.Context, *store.Store) error // at what was made; may be nil
	got    restore.Result
	erased int
	result Restored
}

// build is what data/store calls: the store takes its place only when all of it was
// verified, and what was erased is taken out.
func (b *building) build(ctx context.Context, _ string, t store.InstallTarget) (err error) {
	t.Amend(b.amend)
	b.got, err = restore.Run(ctx, b.config, t)
	return err
}

func (b *building) amend(ctx context.Context, st *store.Store) (err error) {
	if b.replay != nil {
		if b.erased, err = b.replay(ctx, st); err != nil {
			return err
		}
	}
	if b.look == nil {
		return nil
	}
	return b.look(ctx, st)
}

// adopt makes a tenant of the chain. The ledger knows of it before it has a record, so
// that an erasure in the source misses neither of them.
func (s *Service) adopt(ctx context.Context, j *job, b *building) error {
	err := s.config.Tenants.Adopt(ctx, j.order.As, "", j.ref.id, func(ctx context.Context, fresh data.StoreID) error {
		b.look = b.count
		install := func() error { return s.config.Stores.Install(ctx, fresh, b.build) }
		if s.config.Ledger == nil {
			return install()
		}
		if err := s.config.Ledger.Copied(ctx, fresh, j.ref.id, j.at); err != nil {
			return err
		}
		if err := install(); err != nil {
			return err
		}
		return s.config.Ledger.CopyLive(ctx, fresh, j.ref.id)
	})
	b.result.Slug = j.order.As
	return err
}

// count counts the records of all collections but PocketBase's own.
func (b *building) count(ctx context.Context, st *store.Store) error {
	collections, err := st.Collections(ctx)
	b.result.Records = 0
	for _, c := range collections {
		if !c.System && c.Type != "view" {
			b.result.Records += c.Records
		}
	}
	return err
}

func (s *Service) recordRestore(ctx context.Context, r ref, o Order, result Restored, failed error) error {
	e := api.Event{Action: "snapshot.restore", Target: r.String(), Store: r.id.String(), Outcome: api.OK, Detail: map[string]string{"kind": o.kind()}}
	for name, value := range map[string]string{"as": o.As, "at": o.At, "collections": strings.Join(o.Collections, ","), "conflict": o.Conflict} {
		if value != "" {
			e.Detail[name] = value
		}
	}
	if len(o.Records) > 0 {
		e.Detail["records asked for"] = strconv.Itoa(len(o.Records))
	}
	if failed != nil {
		e.Outcome, e.Detail["reason"] = api.Failed, api.AsProblem(s.explain(failed)).Code
	} else {
		e.Detail["target"], e.Detail["seq"] = result.Target, strconv.FormatInt(result.Seq, 10)
		e.Detail["erased"] = strconv.Itoa(result.Erased)
		e.Detail["records"] = strconv.FormatInt(result.Records, 10)
		if o.InPlace {
			e.Detail["undone changes"] = strconv.FormatInt(result.Undone, 10)
		}
	}
	return s.config.Recorder.Record(context.WithoutCancel(ctx), e)
}

// ResumeRestores goes on with what an earlier process left. It returns when they are
// started.
func (s *Service) ResumeRestores(ctx context.Context) error {
	rows, err := s.unfinished(ctx)
	if err != nil {
		return fmt.Errorf("go on with restores: %w", err)
	}
	var errs []error
	for _, row := range rows {
		if err := s.goOn(ctx, row); err != nil {
			errs = append(errs, fmt.Errorf("go on with restore %s: %w", row.ID, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Service) goOn(ctx context.Context, row restoreRow) error {
	ctx = data.WithActor(ctx, data.ParseActor(row.Actor))
	j := &job{row: row, began: time.UnixMilli(row.Created)}
	if err := json.Unmarshal([]byte(row.Orders), &j.order); err != nil {
		return err
	}
	var err error
	if j.ref, err = s.find(ctx, row.Slug, row.Environment); err != nil {
		return s.mark(ctx, row.ID, restoreFailed, nil, "The tenant is no longer there.")
	}
	if done, err := s.settled(ctx, j); done || err != nil {
		return err
	}
	if j.at, err = momentOf(j.order.At, j.began); err != nil {
		return err
	}
	_, err = s.config.Operations.Continue(ctx, row.Operation, s.running(j))
	if errors.Is(err, data.ErrNotFound) { // it had not come so far
		_, err = s.config.Operations.Start(ctx, "restore", j.ref.String(), j.ref.id.String(), s.running(j))
	}
	return err
}
