package store

import (
	"fmt"
	"testing"
)

func TestPlainCount(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT COUNT(DISTINCT `items`.`_rowid_`) FROM `items`":                               "SELECT COUNT(*) FROM `items`",
		"SELECT COUNT(DISTINCT `items`._rowid_) FROM `items` WHERE `items`.`a` > ?":           "SELECT COUNT(*) FROM `items` WHERE `items`.`a` > ?",
		"SELECT COUNT(DISTINCT `items`.`_rowid_`) FROM `items` LEFT JOIN `b` ON 1=1":          "",
		"SELECT COUNT(DISTINCT `items`.`_rowid_`) FROM `items`, `other`":                      "",
		"SELECT COUNT(DISTINCT `items`.`_rowid_`) FROM `other`":                               "",
		"SELECT COUNT(DISTINCT `items`.`id`) FROM `items`":                                    "",
		"SELECT COUNT(DISTINCT `items`.`_rowid_`) FROM `items` `x` WHERE 1":                   "",
		"DELETE FROM `items` WHERE 'SELECT COUNT(DISTINCT `items`.`_rowid_`) FROM `items`'=1": "",
	} {
		if want == "" {
			want = query
		}
		if got := plainCount(query); got != want {
			t.Errorf("%s\n became %s", query, got)
		}
	}
}

// PocketBase still writes what plainCount knows, and the totals are right, also
// where a relation makes a row appear more than once.
func TestListTotals(t *testing.T) {
	s := newStore(t)
	id := guest(s).create(t, "items", map[string]any{"title": "t0", "score": 0})
	for i := range 30 {
		guest(s).create(t, "items", map[string]any{"title": fmt.Sprint("t", i%3), "score": i})
	}
	for range 3 {
		guest(s).create(t, "notes", map[string]any{"item": id})
	}
	for query, want := range map[string]float64{
		"": 31, "filter=title='t1'": 10, "filter=score>28": 1, "filter=notes_via_item.id!=''": 1, "filter=title='none'": 0,
	} {
		got := guest(s).must(t, 200, "GET", "/api/collections/items/records?perPage=2&"+query, nil).object(t)["totalItems"]
		if got != want {
			t.Errorf("%s: %v, not %v", query, got, want)
		}
	}
}
