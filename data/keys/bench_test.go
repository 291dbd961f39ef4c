//go:build unix

package keys

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
)

// processorTime is what other work on the machine hardly changes.
func processorTime() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// ringOf makes a keyring of n stores with three keys each, written once.
func ringOf(b *testing.B, n int) (*Ring, string, Root) {
	b.Helper()
	dir, root := filepath.Join(b.TempDir(), "keys"), newTestRoot()
	r, err := CreateRing(dir, root)
	if err != nil {
		b.Fatal(err)
	}
	owners := make([]Owner, n)
	for i := range owners {
		owners[i] = Owner(fmt.Sprintf("tenant%09d/prod", i))
	}
	if err := errors.Join(r.AddMany(owners, Pages, Files, Segments), r.Add(acme, Pages)); err != nil {
		b.Fatal(err)
	}
	return r, dir, root
}

func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r, _, _ := ringOf(b, n)
			start := processorTime()
			for i := 0; b.Loop(); i++ {
				if err := r.Add(Owner(fmt.Sprintf("new%d/prod", i)), Pages, Files, Segments); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processorTime()-start)/float64(b.N), "cpu-ns/op")
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
