package api

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestSparse(t *testing.T) {
	now := time.Unix(1000, 0)
	s := NewSparse(time.Minute, func() time.Time { return now })
	var entries []int
	enter := func(held int) error { entries = append(entries, held); return nil }
	broken := errors.New("no log")
	wantErr(t, s.Do("a", func(int) error { return broken }), broken)
	for range 3 {
		must(t, s.Do("a", enter))
	}
	must(t, s.Do("b", enter))
	now = now.Add(time.Minute)
	must(t, s.Do("a", enter))
	now = now.Add(time.Minute)
	must(t, s.Do("a", enter))
	equal(t, "held back before each entry", fmt.Sprint(entries), "[0 0 2 0]")
}

// TestSparseWaitsForTheEntry: nobody passes by an entry that is not yet on disk.
func TestSparseWaitsForTheEntry(t *testing.T) {
	s := NewSparse(time.Minute, time.Now)
	begun, finish, lasting := make(chan struct{}), make(chan struct{}), false
	var all sync.WaitGroup
	all.Go(func() {
		_ = s.Do("a", func(int) error { close(begun); <-finish; lasting = true; return nil })
	})
	<-begun
	all.Go(func() {
		_ = s.Do("a", func(int) error { t.Error("a second entry"); return nil })
		if !lasting {
			t.Error("went on before the entry was there")
		}
	})
	close(finish)
	all.Wait()
}

func TestSparseIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	s := NewSparse(time.Minute, func() time.Time { return now })
	for i := range maxSparse + 10 {
		must(t, s.Do(fmt.Sprint(i), func(int) error { return nil }))
	}
	equal(t, "few names", len(s.names) <= maxSparse, true)
}
