package chain_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/backup/backuptest"
	"holdfast/backup/objects"
	"holdfast/backup/restore"
	"holdfast/data"
)

// log is a stream of lines, a version each.
type log []string

func (l *log) Stream(_ context.Context, since uint64, w io.Writer) (uint64, error) {
	for _, line := range (*l)[since:] {
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			return 0, err
		}
	}
	return uint64(len(*l)), nil
}

// loaded is what a restore gives of a stream, the stretches one after the other.
func (r *rig) loaded() string {
	r.t.Helper()
	sink := backuptest.NewCopied()
	if _, err := restore.Run(r.t.Context(), r.source(), sink); err != nil {
		r.t.Fatal(err)
	}
	var b bytes.Buffer
	files := sink.Files.Copy()
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b.WriteString(files[name])
	}
	return b.String()
}

func TestShipStream(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	l := &log{}
	k := r.keeper()
	var together, stretches int
	for i := range 300 {
		*l = append(*l, fmt.Sprint("line ", i, strings.Repeat("x", i*20)))
		r.now = r.now.Add(7e9)
		res, err := r.chain.ShipStream(t.Context(), l, data.Position{})
		if err != nil || res.Unchanged {
			t.Fatalf("%+v, %v", res, err)
		}
		if res.Changed > 1 {
			together++
		}
		stretches = max(stretches, res.Files)
		if i%50 == 20 {
			r.open()
			r.compact(k)
		}
	}
	if res, err := r.chain.ShipStream(t.Context(), l, data.Position{}); err != nil || !res.Unchanged {
		t.Errorf("nothing came: %+v, %v", res, err)
	}
	if want := strings.Join(*l, "\n") + "\n"; r.loaded() != want {
		t.Error("the stream came back otherwise")
	}
	if together < 2 || stretches > 64 {
		t.Errorf("stretches were put together %d times, there were up to %d", together, stretches)
	}
	r.verified()
	r.now = r.now.Add(25 * time.Hour)
	*l = append(*l, "the next day")
	if res, err := r.chain.ShipStream(t.Context(), l, data.Position{}); err != nil || res.Files != 1 {
		t.Errorf("after a day the stream is not taken whole: %+v, %v", res, err)
	}
}
