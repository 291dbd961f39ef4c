package keys

import (
	"bytes"
	"errors"
	"testing"

	"holdfast/data"
)

// refused says that an error is one a parser may give.
func refused(err error) bool {
	return errors.Is(err, data.ErrTampered) || errors.Is(err, data.ErrNewer)
}

// A cell that parses is written again as the same bytes.
func FuzzCell(f *testing.F) {
	golden := append(readGolden(f, goldenSlots), readGolden(f, goldenKinds)...)
	for i := 0; i < len(golden); i += cellSize {
		f.Add(golden[i : i+cellSize-sumSize])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = addSum(bytes.Clone(b)) // else the sum stops everything
		c, err := parseCell(b)
		if err != nil {
			if !refused(err) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if c.kind > 0 && c.kind <= lastKind && !bytes.Equal(c.format(), b) {
			t.Fatal("written otherwise than read")
		}
		_ = c.cost.sane()
	})
}

func FuzzSlots(f *testing.F) {
	golden := readGolden(f, goldenSlots)
	f.Add(golden)
	f.Add(golden[:len(golden)-1])
	f.Add(golden[cellSize:])
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Slots{}
		if err := s.parse(b); err != nil {
			if !refused(err) {
				t.Fatalf("error %v", err)
			}
			return
		}
		_ = s.List()
		if s.Check(goldenRoot()) == nil && !bytes.Equal(b, golden) {
			t.Fatal("other bytes pass the check")
		}
	})
}

// Changed bytes never open, not even with a right sum.
func FuzzRing(f *testing.F) {
	golden := readGolden(f, goldenRing)
	f.Add(golden[:len(golden)-sumSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := addSum(bytes.Clone(b))
		_, err := parseRing(goldenRoot(), whole)
		if err == nil && !bytes.Equal(whole, golden) {
			t.Fatal("other bytes open")
		}
		if err != nil && !refused(err) && !errors.Is(err, ErrWrongKey) {
			t.Fatalf("error %v", err)
		}
	})
}

// Entries that parse are written again as the same bytes.
func FuzzRecords(f *testing.F) {
	c, err := parseRing(goldenRoot(), readGolden(f, goldenRing))
	if err != nil {
		f.Fatal(err)
	}
	var all []byte
	for _, k := range c.records {
		f.Add(k.append(nil), uint32(1))
		all = k.append(all)
	}
	f.Add(all, uint32(len(c.records)))
	f.Fuzz(func(t *testing.T, b []byte, count uint32) {
		records, err := parseRecords(b, count)
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Fatalf("error %v", err)
			}
			return
		}
		var again []byte
		for _, k := range records {
			again = k.append(again)
		}
		if !bytes.Equal(again, b) {
			t.Fatal("written otherwise than read")
		}
	})
}

// A code that parses is the one code of its key.
func FuzzCode(f *testing.F) {
	f.Add(string(readGolden(f, goldenCode)))
	f.Add("  0oO-1iIlL ")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := parseCode(text)
		if err != nil {
			if !errors.Is(err, ErrCode) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if again, err := parseCode(formatCode(key)); err != nil || again != key {
			t.Fatalf("%q: its own form does not parse: %v", text, err)
		}
	})
}

func FuzzKeyFile(f *testing.F) {
	f.Add(readGolden(f, goldenKey))
	f.Add([]byte(keyFilePrefix))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parseKeyFile(b); err != nil && !refused(err) {
			t.Fatalf("error %v", err)
		}
	})
}
