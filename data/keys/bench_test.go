package keys

import (
	"fmt"
	"path/filepath"
	"testing"
)

// ringOf makes a keyring of n stores with three keys each, written once.
func ringOf(b *testing.B, n int) (*Ring, string, Root) {
	b.Helper()
	dir, root := filepath.Join(b.TempDir(), "keys"), newTestRoot()
	r, err := CreateRing(dir, root)
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		owner := Owner(fmt.Sprintf("tenant%09d/prod", i))
		for _, p := range []Purpose{Pages, Files, Segments} {
			r.owners[owner] = append(r.owners[owner], r.make(owner, p, 1))
		}
	}
	if err := r.Add(acme, Pages); err != nil {
		b.Fatal(err)
	}
	return r, dir, root
}

func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r, _, _ := ringOf(b, n)
			for i := 0; b.Loop(); i++ {
				if err := r.Add(Owner(fmt.Sprintf("new%d/prod", i)), Pages, Files, Segments); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpenRing(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, dir, root := ringOf(b, n)
			for b.Loop() {
				if _, err := OpenRing(dir, root); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCurrent(b *testing.B) {
	r, _, _ := ringOf(b, 10)
	s := r.Source(acme, Pages)
	for b.Loop() {
		if _, _, err := s.Current(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnlock(b *testing.B) {
	path := filepath.Join(b.TempDir(), "keys", "root.slots")
	if _, err := CreateSlots(path, Passphrase([]byte(phrase))); err != nil {
		b.Fatal(err)
	}
	s, err := OpenSlots(path)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Unlock(Passphrase([]byte(phrase))); err != nil {
			b.Fatal(err)
		}
	}
}
