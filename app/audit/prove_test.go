package audit

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"holdfast/app/api"
	"holdfast/data"
)

func TestProveEveryEntryAtEverySize(t *testing.T) {
	w := newWorld(t)
	for size := range int64(20) {
		w.record(api.Event{Action: "a", Target: "anna"})
		for n := int64(0); n <= size; n++ {
			p, err := w.Prove(t.Context(), Appliance, n)
			if err != nil {
				t.Fatal(err)
			}
			if e, err := p.Check(p.Keys[0]); err != nil || e.Index != n || e.Target != "anna" {
				t.Fatalf("entry %d of %d: %+v, %v", n, size+1, e, err)
			}
		}
	}
	if _, err := w.Prove(t.Context(), Appliance, 20); !errors.Is(err, data.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestForgedProofsFail(t *testing.T) {
	w := newWorld(t)
	for range 9 {
		w.record(api.Event{Action: "tenant.delete", Target: "acme"})
	}
	good, err := w.Prove(t.Context(), Appliance, 4)
	if err != nil {
		t.Fatal(err)
	}
	for name, forge := range map[string]func(p *Proof){
		"leaf":  func(p *Proof) { p.Leaf = strings.Replace(p.Leaf, "delete", "create", 1) },
		"index": func(p *Proof) { p.Index = 5 },
		"body": func(p *Proof) {
			p.Opening = &Opening{p.Opening.Salt, strings.Replace(p.Opening.Body, "acme", "beta", 1)}
		},
		"salt":    func(p *Proof) { p.Opening = &Opening{"AAAA" + p.Opening.Salt[4:], p.Opening.Body} },
		"origin":  func(p *Proof) { p.Origin += "x" },
		"hash":    func(p *Proof) { p.Hashes[0][0] ^= 1 },
		"fewer":   func(p *Proof) { p.Hashes = p.Hashes[1:] },
		"head":    func(p *Proof) { p.Checkpoint = strings.Replace(p.Checkpoint, "\n9\n", "\n8\n", 1) },
		"no head": func(p *Proof) { p.Checkpoint = "" },
	} {
		p := good
		p.Hashes = append(p.Hashes[:0:0], good.Hashes...)
		forge(&p)
		if _, err := p.Check(good.Keys[0]); err == nil {
			t.Errorf("%s: a forged proof holds", name)
		}
	}
	var unknown *note.UnverifiedNoteError
	s, _ := newSigner("holdfast/x", [32]byte{9})
	if _, err := good.Check(s.vkey); !errors.As(err, &unknown) {
		t.Errorf("another appliance's key: got %v", err)
	}
}

func TestConsistencyBetweenAllSizes(t *testing.T) {
	w := newWorld(t)
	var seen []Checkpoint
	for range 12 {
		w.record(api.Event{Action: "a"})
		c, err := w.Checkpoint(t.Context(), Appliance)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, c)
		for _, old := range seen {
			p, err := w.ProveSince(t.Context(), Appliance, old.Size)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Check(c.Keys[0], old.Checkpoint); err != nil {
				t.Fatalf("%d to %d: %v", old.Size, c.Size, err)
			}
		}
	}
	p, _ := w.ProveSince(t.Context(), Appliance, 5)
	if err := p.Check(seen[0].Keys[0], seen[3].Checkpoint); err == nil {
		t.Error("a proof from 5 was taken for one from 4")
	}
}

func TestExportChecksOffline(t *testing.T) {
	w := newWorld(t)
	for range 5 {
		w.record(api.Event{Action: "key.create", Target: "billing", Store: acme.String()})
	}
	if err := w.Erase(t.Context(), acme.String(), 2); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := w.Export(t.Context(), acme.String(), &file); err != nil {
		t.Fatal(err)
	}
	c, _ := w.Checkpoint(t.Context(), acme.String())
	var targets []string
	tree, err := CheckExport(bytes.NewReader(file.Bytes()), c.Keys[0], func(e Entry) error {
		targets = append(targets, e.Target)
		return nil
	})
	if err != nil || tree.N != 5 || strings.Join(targets, ",") != "billing,billing,,billing,billing" {
		t.Fatalf("got %v, %v, %v", tree.N, targets, err)
	}
	lines := strings.SplitAfter(file.String(), "\n")
	for name, bad := range map[string]string{
		"line dropped": strings.Join(append(lines[:3:3], lines[4:]...), ""),
		"end dropped":  strings.Join(lines[:5], ""),
		"body changed": strings.Replace(file.String(), "billing", "melling", 1),
		"empty":        "",
	} {
		if _, err := CheckExport(strings.NewReader(bad), c.Keys[0], nil); err == nil {
			t.Errorf("%s: the export holds", name)
		}
	}
}

func TestRotatedSigningKeyKeepsOldCheckpoints(t *testing.T) {
	w := newWorld(t)
	w.record(api.Event{Action: "a"})
	old, _ := w.Checkpoint(t.Context(), Appliance)
	w.signing.rotate()
	w.record(api.Event{Action: "b"})
	r := w.verify(Appliance)
	if !r.OK || len(r.Keys) != 2 || r.Kept != 1 {
		t.Errorf("got %+v", r)
	}
	now, _ := w.Checkpoint(t.Context(), Appliance)
	if old.Checkpoint == now.Checkpoint || len(now.Keys) != 2 {
		t.Errorf("got %+v", now)
	}
}
