package backup_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast/backup"
	"holdfast/data"
)

// Formats of the long run: merged manifests, prunes, and their names.

func exampleMerged() *backup.Merged {
	s := exampleSnapshot()
	s.Objects[0].First, s.Objects[0].Last = 3, 9000
	return &backup.Merged{Snapshot: *s, First: s.Sequence - 9, Level: backup.Minute, Low: 60000, Start: backup.Hash{8}, End: backup.Hash{9}}
}

func examplePrune() *backup.Prune {
	return &backup.Prune{
		Store: store, Number: 3, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Until: 500, Points: []int64{17, 400, 500}, Bases: []int64{1, 300},
		Condemned: []string{"files/" + strings.Repeat("0f", 32), "manifest/0000000000000002"},
	}
}

func TestGoldenLongTerm(t *testing.T) {
	for name, v := range map[string]any{"merged.json": exampleMerged(), "prune.json": examplePrune()} {
		body, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		exact(t, name, body)
	}
	exact(t, "longterm.txt", []byte(strings.Join([]string{
		exampleMerged().Name().In(store), backup.PruneName(store, 3), backup.SweptName(store, 3),
		backup.ContentName(store, backup.Chunk{ID: contentID, Copy: 26}),
	}, "\n")+"\n"))
}

func TestGoldenLongTermObjects(t *testing.T) {
	c := newCodec(t)
	merged := golden(t, "merged.bin", func() []byte {
		b, err := c.SealMerged(exampleMerged())
		return must(t, b, err)
	})
	h, m, err := c.OpenMerged(exampleMerged().Name(), merged)
	if err != nil || h.Previous != (backup.Hash{8}) || !reflect.DeepEqual(m, exampleMerged()) {
		t.Errorf("merged: %+v, %+v, %v", h, m, err)
	}
	prune := golden(t, "prune.bin", func() []byte {
		b, err := c.SealPrune(examplePrune())
		return must(t, b, err)
	})
	if p, err := c.OpenPrune(3, prune); err != nil || !reflect.DeepEqual(p, examplePrune()) {
		t.Errorf("prune: %+v, %v", p, err)
	}
	for i := range merged {
		bad := bytes.Clone(merged)
		bad[i] ^= 1
		if _, _, err := c.OpenMerged(exampleMerged().Name(), bad); err == nil {
			t.Fatalf("byte %d of a merged manifest may be changed", i)
		}
	}
	if _, err := c.OpenPrune(4, prune); !errors.Is(err, data.ErrTampered) {
		t.Errorf("a prune under another number: %v", err)
	}
}

func TestLongTermNames(t *testing.T) {
	n := exampleMerged().Name()
	if got, err := backup.ParseMergedName(store, n.In(store)); err != nil || got != n {
		t.Errorf("%+v, %v", got, err)
	}
	part := backup.PartName(store, header)
	if h, err := backup.ParsePartName(store, part); err != nil || backup.PartName(store, h) != part {
		t.Errorf("%+v, %v", h, err)
	}
	if got, err := backup.ParsePruneName(store, backup.PruneName(store, 77)); err != nil || got != 77 {
		t.Errorf("%d, %v", got, err)
	}
	prefix := backup.MergedPrefix(store)
	for _, bad := range []string{
		"", prefix, prefix + "1-1-1-1", strings.Replace(n.In(store), "-1-", "-4-", 1), strings.ToUpper(n.In(store)), n.In(store) + "0",
		prefix + "0000000000000001-0000000000000002-1-000000000000", prefix + "+000000000000002-0000000000000001-1-000000000000",
	} {
		if _, err := backup.ParseMergedName(store, bad); !errors.Is(err, backup.ErrFormat) {
			t.Errorf("merged name %q: %v", bad, err)
		}
		if _, err := backup.ParsePartName(store, bad); !errors.Is(err, backup.ErrFormat) {
			t.Errorf("part name %q: %v", bad, err)
		}
		if _, err := backup.ParsePruneName(store, bad); !errors.Is(err, backup.ErrFormat) {
			t.Errorf("prune name %q: %v", bad, err)
		}
	}
}

func TestBadLongTerm(t *testing.T) {
	for name, change := range map[string]func(*backup.Merged){
		"first":      func(m *backup.Merged) { m.First = m.Sequence + 1 },
		"level":      func(m *backup.Merged) { m.Level = 4 },
		"image":      func(m *backup.Merged) { m.Level = backup.Image },
		"low":        func(m *backup.Merged) { m.Low = m.Pages.Total + 1 },
		"base":       func(m *backup.Merged) { m.Base = m.First + 1 },
		"range":      func(m *backup.Merged) { m.Objects[0].First = 9001 },
		"object":     func(m *backup.Merged) { m.Objects[0].Kind = backup.Files },
		"large part": func(m *backup.Merged) { m.Objects[0].Size = backup.MaxObject + 1 },
	} {
		m := exampleMerged()
		change(m)
		body, _ := json.Marshal(m)
		if _, err := backup.ParseMerged(body); !errors.Is(err, backup.ErrFormat) {
			t.Errorf("merged, %s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*backup.Prune){
		"number":    func(p *backup.Prune) { p.Number = 0 },
		"points":    func(p *backup.Prune) { p.Points = []int64{5, 5} },
		"above":     func(p *backup.Prune) { p.Points = []int64{501} },
		"bases":     func(p *backup.Prune) { p.Bases = []int64{0} },
		"condemned": func(p *backup.Prune) { p.Condemned = []string{"b", "a"} },
		"nameless":  func(p *backup.Prune) { p.Condemned = []string{""} },
	} {
		p := examplePrune()
		change(p)
		body, _ := json.Marshal(p)
		if _, err := backup.ParsePrune(body); !errors.Is(err, backup.ErrFormat) {
			t.Errorf("prune, %s: %v", name, err)
		}
	}
}

func FuzzMerged(f *testing.F) {
	f.Add(fixture(f, "merged.json"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := backup.ParseMerged(b); err == nil && (m.First < m.Base || m.First > m.Sequence) {
			t.Errorf("%+v", m)
		}
	})
}

func FuzzPrune(f *testing.F) {
	f.Add(fixture(f, "prune.json"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := backup.ParsePrune(b); err == nil && len(p.Points) > 0 && p.Points[len(p.Points)-1] > p.Until {
			t.Errorf("%+v", p)
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add(exampleMerged().Name().In(store))
	f.Add(backup.PartName(store, header))
	f.Add(backup.PruneName(store, 3))
	f.Fuzz(func(t *testing.T, name string) {
		if n, err := backup.ParseMergedName(store, name); err == nil && n.In(store) != name {
			t.Error("another merged name comes back")
		}
		if h, err := backup.ParsePartName(store, name); err == nil && backup.PartName(store, h) != name {
			t.Error("another part name comes back")
		}
		if n, err := backup.ParsePruneName(store, name); err == nil && backup.PruneName(store, n) != name {
			t.Error("another prune name comes back")
		}
	})
}

func FuzzLongTermObjects(f *testing.F) {
	c := newCodec(f)
	merged, prune := fixture(f, "merged.bin"), fixture(f, "prune.bin")
	f.Add(merged)
	f.Add(prune)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := c.OpenMerged(exampleMerged().Name(), b); err == nil && !bytes.Equal(b, merged) {
			t.Error("a forged merged manifest was opened")
		}
		if _, err := c.OpenPrune(3, b); err == nil && !bytes.Equal(b, prune) {
			t.Error("a forged prune was opened")
		}
	})
}
