package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"holdfast/app/api"
	"holdfast/data"
)

func TestRecordIsListedNewestFirst(t *testing.T) {
	w := newWorld(t)
	ctx := data.WithActor(t.Context(), data.Actor{Kind: data.Person, ID: "anna"})
	for i := range 5 {
		e := api.Event{Action: "tenant.create", Target: fmt.Sprintf("t%d", i), Outcome: api.OK, Detail: map[string]string{"name": "Tea & Co"}}
		if err := w.Record(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	got, total, err := w.List(t.Context(), Appliance, Query{Offset: 1, Limit: 2})
	if err != nil || total != 5 || len(got) != 2 {
		t.Fatalf("got %d of %d, %v", len(got), total, err)
	}
	e := got[0]
	if e.Index != 3 || e.Target != "t3" || e.Actor != "person:anna" || e.Action != "tenant.create" || e.Outcome != "ok" || e.Detail["name"] != "Tea & Co" || e.Position != nil {
		t.Errorf("got %+v", e)
	}
}

func TestListFilters(t *testing.T) {
	w := newWorld(t)
	anna := data.WithActor(t.Context(), data.Actor{Kind: data.Person, ID: "anna"})
	for ctx, actions := range map[context.Context][]string{anna: {"tenant.create", "key.create"}, t.Context(): {"tenant.delete", "tenants"}} {
		for _, a := range actions {
			if err := w.Record(ctx, api.Event{Action: a, Target: "Globex", Outcome: api.OK}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		q    Query
		want int
	}{
		{Query{Actor: "person:anna"}, 2}, {Query{Actor: "person"}, 2}, {Query{Actor: "pers"}, 0},
		{Query{Action: "tenant"}, 2}, {Query{Action: "tenant.create"}, 1},
		{Query{Text: "gLoBex"}, 4}, {Query{Text: "absent"}, 0}, {Query{Actor: "system", Action: "tenant", Text: "globex"}, 1},
	} {
		c.q.Limit = 10
		got, total, err := w.List(t.Context(), Appliance, c.q)
		if err != nil || total != c.want || len(got) != c.want {
			t.Errorf("%+v: got %d of %d, want %d (%v)", c.q, len(got), total, c.want, err)
		}
	}
}

func TestConcurrentRecordsHaveOneEntryEach(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	for g := range 16 {
		group.Go(func() {
			for i := range 25 {
				log := ""
				if i%2 == 0 {
					log = acme.String()
				}
				if err := w.Record(t.Context(), api.Event{Action: "x", Target: fmt.Sprintf("%d-%d", g, i), Store: log, Outcome: api.OK}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	seen := map[string]bool{}
	for _, log := range []string{Appliance, acme.String()} {
		entries, _, err := w.List(t.Context(), log, Query{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			seen[e.Target] = true
		}
		if r := w.verify(log); !r.OK {
			t.Errorf("%s: %v", log, r.Problems)
		}
	}
	if len(seen) != 400 {
		t.Errorf("got %d of 400", len(seen))
	}
}

func TestEntriesOutliveTheProcess(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.record(api.Event{Action: "a"})
	}
	before, err := w.Checkpoint(t.Context(), Appliance)
	if err != nil {
		t.Fatal(err)
	}
	w.shut()
	w.open()
	w.record(api.Event{Action: "b"})
	c, err := w.ProveSince(t.Context(), Appliance, before.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(before.Keys[0], before.Checkpoint); err != nil {
		t.Error(err)
	}
	if r := w.verify(Appliance); !r.OK || r.Size != 4 {
		t.Errorf("got %+v", r)
	}
}

func TestEventOfAStoreWithoutKeysGoesToTheAppliance(t *testing.T) {
	w := newWorld(t)
	w.personal[acme.String()].fail(data.ErrDestroyed)
	w.record(api.Event{Action: "snapshot.create", Store: acme.String(), Outcome: api.Refused})
	w.record(api.Event{Action: "snapshot.create", Store: "nobody/prod", Outcome: api.Refused})
	got, total, err := w.List(t.Context(), Appliance, Query{Limit: 5})
	if err != nil || total != 2 || got[1].Detail["store"] != acme.String() {
		t.Fatalf("got %+v, %d, %v", got, total, err)
	}
}

func TestRecordFailsWhereItCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.signing.fail(data.ErrSealed)
	if err := w.Record(t.Context(), api.Event{Action: "a", Outcome: api.OK}); !errors.Is(err, data.ErrSealed) {
		t.Errorf("got %v", err)
	}
	w.signing.fail(nil)
	if err := w.Record(t.Context(), api.Event{Action: "two words", Outcome: api.OK}); err == nil {
		t.Error("an action that would break the leaf's lines was taken")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Record(t.Context(), api.Event{Action: "a", Outcome: api.OK}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestLongValuesAreCut(t *testing.T) {
	w := newWorld(t)
	detail := map[string]string{"email": strings.Repeat("é", 5000)}
	for i := range 100 {
		detail[fmt.Sprintf("x%03d", i)] = "y"
	}
	w.record(api.Event{Action: "session.create", Target: strings.Repeat("t", 1<<20), Detail: detail})
	got, _, err := w.List(t.Context(), Appliance, Query{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	if e := got[0]; len(e.Target) > maxText+8 || len(e.Detail) != maxDetail || len(e.Detail["email"]) > maxText+8 || !strings.HasSuffix(e.Detail["email"], "é…") {
		t.Errorf("got %d, %d, %d", len(e.Target), len(e.Detail), len(e.Detail["email"]))
	}
}

func TestEraseBreaksNoProof(t *testing.T) {
	w := newWorld(t)
	for range 7 {
		w.record(api.Event{Action: "session.create", Target: "anna@example.com"})
	}
	if err := w.Erase(t.Context(), Appliance, 3); err != nil {
		t.Fatal(err)
	}
	got, _, err := w.List(t.Context(), Appliance, Query{Limit: 7})
	if err != nil || !got[3].Erased || got[3].Target != "" || got[3].Actor != "" || got[2].Erased {
		t.Fatalf("got %+v, %v", got[3], err)
	}
	if r := w.verify(Appliance); !r.OK || r.Erased != 1 {
		t.Errorf("got %+v", r)
	}
	p, err := w.Prove(t.Context(), Appliance, 3)
	if err != nil || p.Opening != nil {
		t.Fatalf("got %+v, %v", p, err)
	}
	if e, err := p.Check(p.Keys[0]); err != nil || !e.Erased || e.Action != "session.create" {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestDestroyedStoreKeepsItsLog(t *testing.T) {
	w := newWorld(t)
	for range 4 {
		w.record(api.Event{Action: "key.create", Store: acme.String(), Target: "anna's key"})
	}
	w.personal[acme.String()].fail(data.ErrDestroyed)
	if r := w.verify(acme.String()); !r.OK || r.Erased != 4 {
		t.Errorf("got %+v", r)
	}
	got, _, err := w.List(t.Context(), acme.String(), Query{Limit: 1})
	if err != nil || !got[0].Erased || got[0].Target != "" {
		t.Errorf("got %+v, %v", got, err)
	}
}
