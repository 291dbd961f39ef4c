package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"runtime"
	"strings"
)

// Single statements that wait for the writer at the same time share a transaction.
// Who gets the turn runs its own and those of all who wait, in order of arrival,
// and commits once:
//
//	session 1   | BEGIN, 1, 2, 3, COMMIT | wait for the disk | answer
//	session 2   | waits ..................................... | answer
//	session 3   | waits ..................................... | answer
//
// Whose statement fails is told so, and SQLite takes back what it had done: each
// statement is a savepoint of its own. When the transaction itself comes to nothing,
// all are told. Nobody is answered before the commit.
//
// A statement that finds nobody waiting is committed by itself, as ever. Where there
// was a crowd just now, who leads first lets those run who are about to come: on a
// busy processor nobody would be waiting yet. A lone writer waits for nobody.

// mostMerged bounds how many share a transaction, so that who leads is not late with
// its own answer.
const mostMerged = 32

// statement is one that is a transaction by itself, until others are run with it.
type statement struct {
	waiter
	ctx   context.Context
	query string
	args  []driver.NamedValue

	result driver.Result
	err    error
	ran    bool // by somebody; result and err stand
}

// mergeable says whether a statement can share a transaction: it is one of those that
// write rows, and no context can interrupt it, for that would end the others' as well.
func mergeable(ctx context.Context, query string, args []driver.NamedValue) bool {
	if ctx.Done() != nil || len(args) == 0 { // without arguments it may be several
		return false
	}
	verb, _, _ := strings.Cut(query, " ")
	return verb == "INSERT" || verb == "UPDATE" || verb == "DELETE"
}

// together runs a statement in the next transaction.
func (w *writer) together(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	x := &statement{ctx: ctx, query: query, args: args}
	x.waiter.statement = x
	if !w.turn.enter(&x.waiter) {
		<-x.ready
	}
	if !x.ran {
		w.lead(x)
	}
	return x.result, x.err
}

// lead runs, in the caller's turn, its statement and all that wait.
func (w *writer) lead(first *statement) {
	if w.turn.crowded() {
		runtime.Gosched()
	}
	all := append([]*statement{first}, w.turn.statements(mostMerged-1)...)
	w.run(all)
	w.give()
	w.answer(all)
}

// run has each statement committed, or its error told.
func (w *writer) run(all []*statement) {
	if err := w.connected(all[0].ctx); err != nil {
		fail(all, err)
		return
	}
	done := w.commit()
	defer done()
	if len(all) > 1 {
		w.share(all)
		return
	}
	all[0].result, all[0].err = w.real.ExecContext(all[0].ctx, all[0].query, all[0].args)
}

// share runs several in one transaction.
func (w *writer) share(all []*statement) {
	if _, err := w.real.BeginTx(context.Background(), driver.TxOptions{}); err != nil {
		fail(all, err)
		return
	}
	for _, x := range all {
		x.result, x.err = w.real.ExecContext(x.ctx, x.query, x.args)
		if w.real.raw.GetAutocommit() { // with it, SQLite took all back
			fail(all, x.err)
			return
		}
	}
	if err := w.real.Commit(); err != nil {
		fail(all, err)
	}
}

// fail tells those who did not fail by themselves.
func fail(all []*statement, why error) {
	for _, x := range all {
		if x.err == nil {
			x.err = fmt.Errorf("the transaction it shared: %w", why)
		}
	}
}

// answer waits for the disk once for all, and lets them go.
func (w *writer) answer(all []*statement) {
	var failed error
	for _, x := range all {
		if x.err == nil {
			failed = w.settle(context.WithoutCancel(x.ctx))
			break
		}
	}
	for i, x := range all {
		if x.err == nil {
			x.err = failed
		}
		x.ran = true
		if i > 0 { // the first is ourselves
			close(x.ready)
		}
	}
}
