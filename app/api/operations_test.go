package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/system"
)

func newOps(t testing.TB, db *system.DB) *Operations {
	t.Helper()
	o, err := NewOperations(bg, OperationsConfig{DB: db})
	must(t, err)
	return o
}

func TestOperationRunsToItsResult(t *testing.T) {
	o := newOps(t, newDB(t))
	ctx := data.WithActor(bg, data.Actor{Kind: data.Person, ID: "p1"})
	step, seen := make(chan struct{}), make(chan struct{})
	op, err := o.Start(ctx, "import", "acme/packages", "t1/prod", func(ctx context.Context, p *Progress) (any, error) {
		equal(t, "actor", data.ActorFrom(ctx).String(), "person:p1")
		p.Set(ctx, 5, 10, "records", "reading")
		close(step)
		<-seen
		return map[string]int{"read": 10}, nil
	})
	must(t, err)
	equal(t, "state", op.State, Running)
	<-step
	now, err := o.Get(bg, op.ID)
	must(t, err)
	equal(t, "progress while running", now.Progress, Amount{Done: 5, Total: 10, Unit: "records", Text: "reading"})
	close(seen)
	end, err := o.Wait(bg, op.ID)
	must(t, err)
	equal(t, "end", fmt.Sprint(end.State, " ", string(end.Result), " ", end.Actor, " ", end.Progress.Done), `done {"read":10} person:p1 5`)
}

func TestOperationOutlivesItsRequest(t *testing.T) {
	o := newOps(t, newDB(t))
	ctx, cancel := context.WithCancel(bg)
	gone := make(chan struct{})
	op, err := o.Start(ctx, "x", "", "", func(ctx context.Context, _ *Progress) (any, error) {
		<-gone
		return nil, ctx.Err()
	})
	must(t, err)
	cancel()
	close(gone)
	end, err := o.Wait(bg, op.ID)
	must(t, err)
	equal(t, "state", end.State, Done)
}

func TestOperationFailures(t *testing.T) {
	o := newOps(t, newDB(t))
	for name, c := range map[string]struct {
		run  func(context.Context, *Progress) (any, error)
		want string
	}{
		"known":   {func(context.Context, *Progress) (any, error) { return nil, InvalidField("key", "is missing") }, "invalid"},
		"unknown": {func(context.Context, *Progress) (any, error) { return nil, errors.New("secret") }, "internal"},
		"panic":   {func(context.Context, *Progress) (any, error) { panic("secret") }, "internal"},
		"no JSON": {func(context.Context, *Progress) (any, error) { return func() {}, nil }, "internal"},
	} {
		op, err := o.Start(bg, "x", "", "", c.run)
		must(t, err)
		end, err := o.Wait(bg, op.ID)
		must(t, err)
		equal(t, name+" state", end.State, OpFailed)
		equal(t, name+" code", end.Error.Code, c.want)
		out, _ := json.Marshal(end)
		if strings.Contains(string(out), "secret") {
			t.Errorf("%s: tells of the inside: %s", name, out)
		}
	}
}

func waitsForEnd(ctx context.Context, _ *Progress) (any, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("stopped: %w", ctx.Err())
}

func TestCancel(t *testing.T) {
	o := newOps(t, newDB(t))
	op, err := o.Start(bg, "x", "", "", waitsForEnd)
	must(t, err)
	must(t, o.Cancel(bg, op.ID))
	end, err := o.Wait(bg, op.ID)
	must(t, err)
	equal(t, "state", end.State, Cancelled)
	equal(t, "again", AsProblem(o.Cancel(bg, op.ID)).Status, 409)
	wantErr(t, o.Cancel(bg, "nothing"), data.ErrNotFound)
}

func TestCloseInterruptsAndWaits(t *testing.T) {
	o := newOps(t, newDB(t))
	op, err := o.Start(bg, "x", "", "", waitsForEnd)
	must(t, err)
	must(t, o.Close())
	end, err := o.Get(bg, op.ID)
	must(t, err)
	equal(t, "state", end.State, Interrupted)
	_, err = o.Start(bg, "x", "", "", waitsForEnd)
	wantErr(t, err, ErrDraining)
	equal(t, "status", AsProblem(err).Status, 503)
}

func TestUnfinishedOperationsAreInterruptedByTheNextProcess(t *testing.T) {
	db := newDB(t)
	o := newOps(t, db)
	op, err := o.Start(bg, "x", "", "", waitsForEnd)
	must(t, err)
	second := newOps(t, db) // the first was killed, as far as the second knows
	now, err := second.Get(bg, op.ID)
	must(t, err)
	equal(t, "state", now.State, Interrupted)
	must(t, o.Close())
}

func TestLateProgressDoesNotUndoTheEnd(t *testing.T) {
	now := time.Unix(1000, 0)
	o, err := NewOperations(bg, OperationsConfig{DB: newDB(t), Clock: func() time.Time { return now }})
	must(t, err)
	var late *Progress
	op, err := o.Start(bg, "x", "", "", func(_ context.Context, p *Progress) (any, error) { late = p; return 1, nil })
	must(t, err)
	_, err = o.Wait(bg, op.ID)
	must(t, err)
	now = now.Add(time.Hour)
	late.Set(bg, 1, 2, "x", "")
	end, err := o.Get(bg, op.ID)
	must(t, err)
	equal(t, "state", end.State, Done)
}

func TestListShowsOnlyWhatIsInReach(t *testing.T) {
	o := newOps(t, newDB(t))
	for _, store := range []string{"t1/prod", "t1/test", "t2/prod", ""} {
		op, err := o.Start(bg, "x", "", store, func(context.Context, *Progress) (any, error) { return nil, nil })
		must(t, err)
		_, err = o.Wait(bg, op.ID)
		must(t, err)
	}
	for name, c := range map[string]struct {
		filter OperationFilter
		want   int
	}{
		"all":             {OperationFilter{Reach: Reach{All: true}}, 4},
		"one tenant":      {OperationFilter{Reach: Reach{Tenants: []string{"t1"}}}, 2},
		"nothing":         {OperationFilter{}, 0},
		"other's store":   {OperationFilter{Store: "t2/prod", Reach: Reach{Tenants: []string{"t1"}}}, 0},
		"by state":        {OperationFilter{State: Running, Reach: Reach{All: true}}, 0},
		"by kind":         {OperationFilter{Kind: "x", Reach: Reach{All: true}}, 4},
		"hostile tenants": {OperationFilter{Reach: Reach{Tenants: []string{`") OR true --`}}}, 0},
	} {
		page, err := o.List(bg, c.filter, Paging{Page: 1, PerPage: 10})
		must(t, err)
		equal(t, name, page.Total, c.want)
		equal(t, name+" items", len(page.Items), c.want)
	}
}

type eventLog struct {
	events []Event
	fail   error
}

func (l *eventLog) Record(_ context.Context, e Event) error {
	if l.fail == nil {
		l.events = append(l.events, e)
	}
	return l.fail
}

// TestCancelIsRecorded: nothing is stopped without an entry.
func TestCancelIsRecorded(t *testing.T) {
	log := &eventLog{fail: errors.New("the log is full")}
	o, err := NewOperations(bg, OperationsConfig{DB: newDB(t), Recorder: log})
	must(t, err)
	f := newFixture(t, o.Routes(reachOf{All: true})...)
	f.auth.allow["person:p1 operation.cancel t1"] = true
	op, err := o.Start(bg, "import", "acme/things", "t1/prod", waitsForEnd)
	must(t, err)
	cancel := func() int { return f.send("POST", "/api/v1/operations/"+op.ID+"/cancel", "person:p1", "").Code }
	equal(t, "without an entry", cancel(), 500)
	equal(t, "still", o.live[op.ID] != nil, true)
	log.fail = nil
	equal(t, "with one", cancel(), http.StatusAccepted)
	_, err = o.Wait(bg, op.ID)
	must(t, err)
	equal(t, "ended", cancel(), 409)
	equal(t, "entries", fmt.Sprint(log.events), fmt.Sprintf("[{operation.cancel %s t1/prod ok map[kind:import of:acme/things]}]", op.ID))
}

type reachOf Reach

func (r reachOf) Reach(context.Context, data.Actor, Permission) (Reach, error) { return Reach(r), nil }

func TestOperationsOverREST(t *testing.T) {
	o := newOps(t, newDB(t))
	f := newFixture(t, o.Routes(reachOf{Tenants: []string{"t1"}})...)
	f.auth.allow["person:p1 operation.read *"] = true
	f.auth.allow["person:p1 operation.read t1"] = true
	mine, err := o.Start(bg, "x", "", "t1/prod", waitsForEnd)
	must(t, err)
	theirs, err := o.Start(bg, "x", "", "t2/prod", waitsForEnd)
	must(t, err)
	defer func() { must(t, o.Close()) }()
	equal(t, "mine", f.send("GET", "/api/v1/operations/"+mine.ID, "person:p1", "").Code, 200)
	equal(t, "theirs", f.send("GET", "/api/v1/operations/"+theirs.ID, "person:p1", "").Code, 403)
	equal(t, "nobody's", f.send("GET", "/api/v1/operations/none", "person:p1", "").Code, 403)
	equal(t, "cancel without leave", f.send("POST", "/api/v1/operations/"+mine.ID+"/cancel", "person:p1", "").Code, 403)
	w := f.send("GET", "/api/v1/operations?state=running", "person:p1", "")
	var page Page[Operation]
	must(t, json.Unmarshal(w.Body.Bytes(), &page))
	equal(t, "list", page.Total, 1)
	f.auth.allow["person:p1 operation.cancel t1"] = true
	equal(t, "cancel", f.send("POST", "/api/v1/operations/"+mine.ID+"/cancel", "person:p1", "").Code, http.StatusAccepted)
}

// TestOldOperationsGo: those that ended long ago, more than one batch of them; what runs
// stays.
func TestOldOperationsGo(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var at atomic.Pointer[time.Time]
	at.Store(&now)
	db := newDB(t)
	o, err := NewOperations(bg, OperationsConfig{DB: db, Clock: func() time.Time { return *at.Load() }})
	must(t, err)
	end := make(chan struct{})
	running, err := o.Start(bg, "x", "", "", func(context.Context, *Progress) (any, error) { <-end; return nil, nil })
	must(t, err)
	must(t, db.Update(bg, func(tx *sqlx.Tx) error {
		_, err := tx.Exec(`WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1200)
			INSERT INTO operations SELECT 'old' || x, kind, target, store, 'done', progress, result, error, actor, created, updated FROM operations, n`)
		return err
	}))
	left := func() int {
		page, err := o.List(bg, OperationFilter{Reach: Reach{All: true}}, Paging{Page: 1, PerPage: 1})
		must(t, err)
		return page.Total
	}
	must(t, o.Sweep(bg, now.Add(89*24*time.Hour)))
	equal(t, "operations after 89 days", left(), 1201)
	later := now.Add(91 * 24 * time.Hour)
	at.Store(&later)
	must(t, o.Sweep(bg, later))
	equal(t, "operations after 91 days", left(), 1)
	close(end)
	_, err = o.Wait(bg, running.ID)
	must(t, err)
	must(t, o.Sweep(bg, later))
	equal(t, "one that has just ended", left(), 1)
}
