package audit

import (
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// TestEdgeIsTlog holds our append and root against tlog's own at every size.
func TestEdgeIsTlog(t *testing.T) {
	var all []tlog.Hash
	values := map[string][]byte{}
	theirs := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, n := range indexes {
			out[i] = all[n]
		}
		return out, nil
	})
	ours := hashReader{"x/prod", func(key []byte) ([]byte, error) { return values[string(key)], nil }}
	var e edge
	for n := range int64(300) {
		leaf := fmt.Appendf(nil, "leaf %d", n)
		want, err := tlog.StoredHashes(n, leaf, theirs)
		if err != nil {
			t.Fatal(err)
		}
		got := e.append(tlog.RecordHash(leaf))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("size %d: stored hashes differ", n)
		}
		all = append(all, want...)
		values[string(hashKey("x/prod", n))] = joinHashes(got)
		checkEdge(t, &e, theirs, ours)
	}
}

func checkEdge(t *testing.T, e *edge, theirs, ours tlog.HashReader) {
	t.Helper()
	want, err := tlog.TreeHash(e.size, theirs)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := e.root(); got != want {
		t.Fatalf("size %d: root differs", e.size)
	}
	loaded, err := loadEdge(e.size, ours)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(loaded) != fmt.Sprint(e) {
		t.Fatalf("size %d: loaded edge differs", e.size)
	}
}
