package recovery

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"holdfast/data/store"
)

// TestEachLifeCanBeRestored restores in place, writes, undoes, and restores from the one
// chain what each life was: before the restore, after it, and after the undo. The
// timeline tells where a life began, and the lag counts from there.
func TestEachLifeCanBeRestored(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 30)
	w.folder("local")
	want := map[int64]string{}
	shipped := func() int64 {
		seq := w.ship("acme").Seq
		want[seq] = w.notes("acme")
		return seq
	}
	first := shipped()
	w.add("acme", "later", 7)
	shipped()
	var got Restored
	w.done("/stores/acme/prod/restores", fmt.Sprintf(`{"in_place":true,"sequence":%d}`, first), &got)
	var st Status
	w.call("GET", "/stores/acme/prod/snapshots/status", "", 200, &st)
	if lag := st.Targets[0].LagSeconds; lag <= 0 || lag > w.now().Sub(got.Time).Seconds() {
		t.Errorf("before the new life is shipped the lag is %v s", lag)
	}
	w.add("acme", "of the restored life", 2)
	shipped()
	w.done("/stores/acme/prod/restores/"+got.ID+"/undo", "", new(Reverted))
	w.add("acme", "after the undo", 1)
	last := shipped()
	for seq, content := range want {
		as := fmt.Sprintf("copy-%d", seq)
		w.done("/stores/acme/prod/restores", fmt.Sprintf(`{"as":%q,"sequence":%d}`, as, seq), new(Restored))
		if w.notes(as) != content {
			t.Errorf("snapshot %d is not what was shipped", seq)
		}
	}
	var points Points
	w.call("GET", "/stores/acme/prod/snapshots/points", "", 200, &points)
	var lives []bool
	for _, p := range points.Points {
		lives = append(lives, p.NewLife)
	}
	if fmt.Sprint(lives) != "[false false true true]" || points.Points[0].Life != points.Points[1].Life || points.Points[3].Sequence != last {
		t.Errorf("lives: %v in %+v", lives, points.Points)
	}
	livesAre(t, points, got)
	var v Verified
	if w.done("/stores/acme/prod/snapshots/verify", "", &v); !v.OK {
		t.Errorf("the chain: %+v", v)
	}
}

// livesAre wants the three lives of a store that was restored in place and put back, and
// how each began.
func livesAre(t *testing.T, p Points, restored Restored) {
	t.Helper()
	var began []string
	for i, l := range p.Lives {
		began = append(began, l.Began)
		if l.Last.Before(l.First) || i > 0 && (l.First.Before(p.Lives[i-1].Last) || l.Restore != restored.ID) {
			t.Errorf("life %d: %+v", i, l)
		}
	}
	if !slices.Equal(began, []string{"", "restore", "undo"}) || p.Lives[0].Snapshots != 2 || p.Lives[2].Incarnation != p.Points[3].Life {
		t.Fatalf("lives: %+v", p.Lives)
	}
	if back := p.Lives[1].BackTo; back == nil || !back.Equal(p.Points[0].Time) {
		t.Errorf("the restored life began as of %v", back)
	}
}

// notes is content without files: those of no record go in their own time.
func (w *world) notes(slug string) string {
	w.t.Helper()
	var b bytes.Buffer
	w.with(slug, func(s *store.Store) {
		w.must(s.Export(w.t.Context(), "notes", func(r map[string]any) error { return json.NewEncoder(&b).Encode(r) }))
	})
	return b.String()
}
