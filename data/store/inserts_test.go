package store

import (
	"testing"

	"github.com/pocketbase/dbx"
)

// Whether a statement was remembered or not, the rows are those of dbx's own builder.
func TestInsertsAreRemembered(t *testing.T) {
	s := newStore(t)
	db := s.app.NonconcurrentDB()
	for i, columns := range []dbx.Params{
		{"id": "a", "title": "first"},
		{"title": "the same columns", "id": "b"},
		{"id": "c", "score": 3, "title": "more"},
		{"id": "d", "title": "fewer again"},
		{"id": "e", "title": dbx.NewExp("upper({:t})", dbx.Params{"t": "an expression"})},
		{"id": "f", "title": "after it"},
	} {
		if _, err := db.Insert("items", columns).WithContext(t.Context()).Execute(); err != nil {
			t.Fatal(i, err)
		}
	}
	if first, second := db.Insert("items", dbx.Params{"id": "x"}), db.Insert("items", dbx.Params{"id": "y"}); first.Params()["p0"] != "x" || second.Params()["p0"] != "y" {
		t.Error(first.Params(), second.Params())
	}
	var titles []string
	if err := s.app.ConcurrentDB().NewQuery("SELECT title || score FROM items ORDER BY id").WithContext(t.Context()).Column(&titles); err != nil {
		t.Fatal(err)
	}
	wantFeed(t, titles, "first0", "the same columns0", "more3", "fewer again0", "AN EXPRESSION0", "after it0")
}
