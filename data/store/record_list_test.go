package store

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/types"
)

// everyKind is a collection with a field of each kind that a list shows.
func everyKind() *core.Collection {
	c := core.NewAuthCollection("kinds")
	c.Fields.Add(&core.TextField{Name: "text"}, &core.NumberField{Name: "number"}, &core.BoolField{Name: "bool"},
		&core.DateField{Name: "date"}, &core.JSONField{Name: "json"}, &core.SelectField{Name: "select", Values: []string{"a", "b"}, MaxSelect: 2},
		&core.RelationField{Name: "relation", MaxSelect: 3}, &core.FileField{Name: "file"}, &core.GeoPointField{Name: "point"},
		&core.EditorField{Name: "editor"}, &core.TextField{Name: "secret", Hidden: true})
	return c
}

// sameBytes compares what is written with what encoding/json writes.
func sameBytes(t *testing.T, records []*core.Record) {
	t.Helper()
	want, err := json.Marshal(map[string]any{"items": records})
	if err != nil {
		t.Skip(err) // neither can be written
	}
	if got, err := appendRecords(nil, records); err != nil || string(got)+"}" != string(want) {
		t.Errorf("%v\n got %s}\nwant %s", err, got, want)
	}
}

// TestAnswersAreAsPocketBaseGivesThem: lists and views, of all kinds of requests, are to
// the byte what PocketBase's own handlers answer.
func TestAnswersAreAsPocketBaseGivesThem(t *testing.T) {
	s := newStore(t)
	g := guest(s)
	id := g.create(t, "items", map[string]any{"title": "<one> é", "score": 1.5, "meta": map[string]any{"a": "<"}})
	g.create(t, "items", map[string]any{"title": "two"})
	note := g.create(t, "notes", map[string]any{"item": id})
	paths := []string{
		"items/records", "items/records/" + id, "items/records?perPage=1&sort=-title", "items/records?skipTotal=1", "items/records?filter=(score%3E7)",
		"items/records?fields=id,title", "items/records/" + id + "?fields=title", "notes/records?expand=item", "notes/records/" + note + "?expand=item",
		"items/records/none", "items/records?filter=nonsense",
	}
	ours := map[string]reply{}
	for _, path := range paths {
		ours[path] = g.do("GET", "/api/collections/"+path, nil)
	}
	s.app.OnRecordsListRequest().Unbind("hfRecordList")
	s.app.OnRecordViewRequest().Unbind("hfRecordView")
	for _, path := range paths {
		theirs := g.do("GET", "/api/collections/"+path+oneMore(path), nil)
		if got := ours[path]; got.code != theirs.code || string(got.body) != string(theirs.body) || got.header.Get("Content-Type") != theirs.header.Get("Content-Type") {
			t.Errorf("%s: %d %s %s\nwant %d %s %s", path, got.code, got.header.Get("Content-Type"), got.body, theirs.code, theirs.header.Get("Content-Type"), theirs.body)
		}
	}
}

// oneMore makes a query another one, so that no kept answer is given.
func oneMore(path string) string {
	if strings.Contains(path, "?") {
		return "&x=1"
	}
	return "?x=1"
}

func TestListsAreWrittenAsPocketBaseDoes(t *testing.T) {
	c := everyKind()
	sameBytes(t, []*core.Record{})
	full := core.NewRecord(c)
	full.Load(map[string]any{"id": "abc", "email": "a@example.org", "emailVisibility": true, "text": "plain", "number": 3, "bool": true,
		"date": "2026-01-02 03:04:05.678Z", "json": types.JSONRaw(`{"b": [1, "<\u00e9>"], "a": null}`), "select": []string{"a", "b"},
		"relation": []string{"x", "y"}, "file": "a.png", "point": types.GeoPoint{Lon: 1.5, Lat: -2}, "editor": "<p>é & \u2028</p>", "secret": "no"})
	full.SetExpand(map[string]any{"relation": []*core.Record{core.NewRecord(c)}})
	shown := full.Clone()
	shown.WithCustomData(true).Set("extra", map[string]any{"k": 1})
	hidden := full.Clone()
	hidden.Hide("text").Unhide("secret").Set("emailVisibility", false)
	sameBytes(t, []*core.Record{core.NewRecord(c), full, shown, hidden})
	for _, n := range []float64{0, math.Copysign(0, -1), -7, 0.1, 1e14, 1e15, 1e21, 123456789012345678, 1e-7, -1.5e300, math.MaxFloat64} {
		r := core.NewRecord(c)
		r.Set("number", n)
		sameBytes(t, []*core.Record{r})
	}
}

func FuzzRecordList(f *testing.F) {
	f.Add("plain", 1.0)
	f.Add("<é>\x00\"\\\x7f\xff", math.Copysign(0, -1))
	c := everyKind()
	f.Fuzz(func(t *testing.T, text string, number float64) {
		r := core.NewRecord(c)
		r.SetRaw("text", text)
		r.SetRaw("number", number)
		sameBytes(t, []*core.Record{r, r})
	})
}
