package recovery

import "testing"

func TestPlaces(t *testing.T) {
	w := newWorld(t)
	_, err := w.Add(t.Context(), NewTarget{Name: "disk", URL: "file://" + t.TempDir()})
	w.must(err)
	places, err := w.Places(t.Context())
	w.must(err)
	if len(places) != 1 || places[0].Name != "disk" || places[0].ID == "" {
		t.Fatalf("places %+v", places)
	}
	s, err := places[0].Open()
	w.must(err)
	if list, err := s.List(t.Context(), "", "", 10); err != nil || len(list) != 0 {
		t.Errorf("list %v, %v", list, err)
	}
}
