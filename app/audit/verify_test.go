package audit

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/vault"
)

// wantProblem fails unless the log's report is bad and says so in these words.
func (w *world) wantProblem(log, words string) Report {
	w.t.Helper()
	r := w.verify(log)
	if r.OK || !strings.Contains(strings.Join(r.Problems, "\n"), words) {
		w.t.Errorf("got ok=%v %q, want %q", r.OK, r.Problems, words)
	}
	return r
}

func filled(t *testing.T) *world {
	w := newWorld(t)
	for range 11 {
		w.record(api.Event{Action: "key.create", Target: "k"})
	}
	if r := w.verify(Appliance); !r.OK || r.Size != 11 || r.Root == "" || r.Compared {
		t.Fatalf("got %+v", r)
	}
	return w
}

func TestVerifyEmptyLog(t *testing.T) {
	if r := newWorld(t).verify(Appliance); !r.OK || r.Size != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestVerifyNamesWhatWasChanged(t *testing.T) {
	copyOf := func(t *vault.Tx, from, to []byte) error {
		value, err := t.Get(from)
		if err != nil {
			return err
		}
		return t.Set(to, value)
	}
	for name, c := range map[string]struct {
		change func(t *vault.Tx) error
		want   string
	}{
		"entry gone":     {func(t *vault.Tx) error { return t.Delete(recordKey(Appliance, 4)) }, "entry 4: not found"},
		"entry replaced": {func(t *vault.Tx) error { return copyOf(t, recordKey(Appliance, 3), recordKey(Appliance, 4)) }, "hashes of entry 4 are not those"},
		"entry added":    {func(t *vault.Tx) error { return copyOf(t, recordKey(Appliance, 3), recordKey(Appliance, 11)) }, "entry 11 lies beyond"},
		"hashes gone":    {func(t *vault.Tx) error { return t.Delete(hashKey(Appliance, 7)) }, "hashes of entry 7: not found"},
		"body swapped": {func(t *vault.Tx) error {
			a, _, err := loadRecord(t, Appliance, 1)
			if err != nil {
				return err
			}
			b, _, err := loadRecord(t, Appliance, 2)
			if err != nil {
				return err
			}
			a.Sealed = b.Sealed
			return t.Set(recordKey(Appliance, 1), formatRecord(a))
		}, "entry 1: authentication failed"},
		"head of another log": {func(t *vault.Tx) error {
			st, err := loadState(t, Appliance)
			if err != nil {
				return err
			}
			st.Checkpoint = strings.Replace(st.Checkpoint, "/appliance", "/bppliance", 1)
			return st.save(t, Appliance)
		}, "checkpoint of 11 entries: bad checkpoint"},
		"end cut off": {func(t *vault.Tx) error {
			st, err := loadState(t, Appliance)
			if err != nil {
				return err
			}
			st.Size = 10
			return st.save(t, Appliance)
		}, "checkpoint of 10 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			w := filled(t)
			w.change(c.change)
			w.wantProblem(Appliance, c.want)
		})
	}
}

// TestVerifyFindsAnotherHistory rewrites a log from its beginning, as somebody
// with the keys could: a checkpoint kept from before does not lead to it.
func TestVerifyFindsAnotherHistory(t *testing.T) {
	w := filled(t)
	noted, err := w.Checkpoint(t.Context(), Appliance)
	if err != nil {
		t.Fatal(err)
	}
	w.change(func(t *vault.Tx) error { return t.Delete(stateKey(Appliance)) })
	for range 12 {
		w.record(api.Event{Action: "key.create", Target: "forged"})
	}
	if r := w.verify(Appliance); !r.OK {
		t.Fatalf("a whole forged log needs a checkpoint from before to be found: %v", r.Problems)
	}
	w.change(func(t *vault.Tx) error { return t.Set(keptKey(Appliance, noted.Size), []byte(noted.Checkpoint)) })
	w.wantProblem(Appliance, "the first 11 entries are not those of the checkpoint kept then")
	p, err := w.ProveSince(t.Context(), Appliance, noted.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(noted.Keys[0], noted.Checkpoint); err == nil {
		t.Error("the forged log was proven consistent with the checkpoint from before")
	}
}

func TestVerifyHoldsTheLogAgainstTheFeed(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(1200)
	w.record(api.Event{Action: "key.create", Store: acme.String()})
	if r := w.verify(acme.String()); !r.OK || !r.Compared || r.Changes != 1200 || r.Size != 1202 || r.Kept < 1 {
		t.Fatalf("got %+v", r)
	}
	feed.rows[600].Record = "another"
	w.wantProblem(acme.String(), "tells another actor, record or fields than change life1 601")
	feed.rows[600].Record = "record000000601"
	feed.rows[10].At = feed.rows[11].At
	w.wantProblem(acme.String(), "tells another time or action than change life1 11")
}

func TestVerifyNamesForeignLeaves(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(10)
	w.verify(acme.String())
	feed.rows = append(feed.rows[:4:4], feed.rows[5:]...)
	w.wantProblem(acme.String(), "is foreign: the store's feed has no change life1 5")
}

func TestVerifyNamesALifeThatNeverWas(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(3)
	w.verify(acme.String())
	other := feed.rows[2]
	other.Incarnation, other.Sequence = "elsewhere", 4
	w.forge([]data.Change{other}, feed.rows[2].Position)
	w.wantProblem(acme.String(), "is foreign: change elsewhere 4 is not of the life followed there")
}

func TestVerifyNamesABeginThatNeverWas(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(3)
	w.verify(acme.String())
	r, err := w.beginAt(acme.String(), data.Position{Incarnation: "elsewhere", Sequence: 3}, "restored", data.Position{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.submit(t.Context(), &job{log: acme.String(), records: []record{r}}); err != nil {
		t.Fatal(err)
	}
	w.wantProblem(acme.String(), "is foreign: the store has no life elsewhere")
}

// forge appends leaves past the follower's own checks.
func (w *world) forge(rows []data.Change, to data.Position) {
	w.t.Helper()
	st, err := w.state(w.t.Context(), acme.String())
	if err != nil {
		w.t.Fatal(err)
	}
	j := &job{log: acme.String(), move: &move{from: st.Follow, to: to}}
	for _, c := range rows {
		r, err := w.ciphers.seal(acme.String(), w.personal[acme.String()], leafOf(c), bodyOfChange(c))
		if err != nil {
			w.t.Fatal(err)
		}
		j.records = append(j.records, r)
	}
	if err := w.submit(w.t.Context(), j); err != nil {
		w.t.Fatal(err)
	}
}

func TestVerifyNamesMissingDoubledAndGaps(t *testing.T) {
	for name, c := range map[string]struct {
		pick []int
		want string
	}{
		"doubled": {[]int{5, 6, 6, 7, 8, 9}, "doubles change life1 7"},
		"back":    {[]int{5, 6, 7, 5, 8, 9}, "goes back to change life1 6"},
		"missing": {[]int{5, 7, 8, 9}, "no leaf for change life1 7"},
		"last":    {[]int{5, 6, 7, 8}, "no leaf for change life1 10"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			feed := newFeed()
			w.feeds[acme] = feed
			feed.write(5)
			w.verify(acme.String())
			feed.write(5)
			var rows []data.Change
			for _, i := range c.pick {
				rows = append(rows, feed.rows[i])
			}
			w.forge(rows, feed.rows[9].Position)
			if r := w.wantProblem(acme.String(), c.want); len(r.Problems) != 1 {
				t.Errorf("got %q", r.Problems)
			}
			delete(w.feeds, acme)
			if name == "missing" {
				w.wantProblem(acme.String(), "no leaf for changes life1 7 to 7")
			}
		})
	}
}

func TestVerifyGoesOnAfterTheHundredthProblem(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(300)
	w.verify(acme.String())
	for i := range feed.rows {
		feed.rows[i].Actor.ID = "k2"
	}
	if r := w.verify(acme.String()); len(r.Problems) != 100 || r.More != 200 {
		t.Errorf("got %d and %d more", len(r.Problems), r.More)
	}
}

func TestVerifyChecksTheLogOfAnUnreadableStore(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(10)
	w.verify(acme.String())
	feed.fail = fmt.Errorf("page 7 of data.db: %w", data.ErrTampered)
	r := w.wantProblem(acme.String(), "the store's change feed cannot be read: authentication failed")
	if r.Size != 11 || r.Changes != 10 || r.Compared || len(r.Problems) != 1 {
		t.Errorf("got %+v", r)
	}
}
