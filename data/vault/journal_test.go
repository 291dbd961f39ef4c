package vault

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"
)

// follower takes one stretch after the other.
type follower struct {
	stretches [][]byte
	since     uint64
}

func (f *follower) take(t testing.TB, v *Vault) (size int) {
	t.Helper()
	var b bytes.Buffer
	version, err := v.Stream(t.Context(), f.since, &b)
	if err != nil {
		t.Error(err)
	}
	if b.Len() > 0 {
		f.stretches = append(f.stretches, b.Bytes())
	}
	f.since = version
	return b.Len()
}

// loaded is what a follower's stretches make.
func (f *follower) loaded(t *testing.T, keys *testKeys) map[string]string {
	t.Helper()
	dir, rest := t.TempDir()+"/loaded", f.stretches
	must(t, Load(t.Context(), dir, keys, func() (io.Reader, error) {
		if len(rest) == 0 {
			return nil, io.EOF
		}
		r := bytes.NewReader(rest[0])
		rest = rest[1:]
		return r, nil
	}))
	v := openTest(t, dir, keys)
	return records(t, v)
}

func (v *Vault) scans() int {
	v.state.journal.mu.Lock()
	defer v.state.journal.mu.Unlock()
	return v.state.journal.scans
}

// TestStreamCostsWhatChanged: only the first stretch of each follower is looked for
// everywhere; what expired and what was deleted is in the others, too.
func TestStreamCostsWhatChanged(t *testing.T) {
	v, _, keys := newTest(t)
	s := v.Sub("s")
	for i := range 200 {
		set(t, s, strconv.Itoa(i), "first")
	}
	var one, two follower
	one.take(t, v)
	whole := two.take(t, v)
	if n := one.take(t, v); n != 0 || v.scans() != 2 {
		t.Errorf("nothing came, and %d bytes after %d scans", n, v.scans())
	}
	set(t, s, "7", "second")
	must(t, s.Update(t.Context(), func(tx *Tx) error {
		for _, key := range []string{"8", "never there"} {
			if err := tx.Delete([]byte(key)); err != nil {
				return err
			}
		}
		return tx.SetTTL([]byte("9"), []byte("short"), time.Nanosecond)
	}))
	if n := one.take(t, v); n == 0 || n > whole/20 {
		t.Errorf("%d bytes for four keys, all of them are %d", n, whole)
	}
	set(t, s, "10", "third")
	one.take(t, v)
	two.take(t, v) // of two spans
	if v.scans() != 2 {
		t.Errorf("%d scans", v.scans())
	}
	want := records(t, v)
	for _, f := range []*follower{&one, &two} {
		if got := f.loaded(t, keys); !maps.Equal(want, got) || len(got) != 198 || got["7"] != "second" {
			t.Errorf("%d records became %d", len(want), len(got))
		}
	}
}

// TestStreamForgets: who is so far behind that it is not remembered gets all the same.
func TestStreamForgets(t *testing.T) {
	v, _, keys := newTest(t)
	s := v.Sub("s")
	set(t, s, "a", "1")
	var late, early follower
	late.take(t, v)
	for i := range maxSpans + 2 {
		set(t, s, strconv.Itoa(i%5), strconv.Itoa(i))
		early.take(t, v)
	}
	before := v.scans()
	if late.take(t, v); v.scans() != before+1 {
		t.Errorf("%d scans after %d", v.scans(), before)
	}
	if got := late.loaded(t, keys); !maps.Equal(records(t, v), got) {
		t.Errorf("%v", got)
	}
}

// TestJournalIsBounded: what is remembered does not grow without an end, whoever follows.
func TestJournalIsBounded(t *testing.T) {
	var j journal
	j.reached(j.cut(), 1)
	for i := range 3 * maxRemembered / (perKey + 20) {
		j.begin([]string{fmt.Sprintf("%020d", i)})()
	}
	if j.size > maxRemembered || len(j.flying) != 0 {
		t.Errorf("%d bytes, %d under way", j.size, len(j.flying))
	}
	if _, ok := j.after(1); ok {
		t.Error("it says that it knows what it forgot")
	}
	j.reached(j.cut(), 2)
	end := j.begin([]string{"k"})
	if keys, ok := j.after(2); !ok || len(keys) != 1 {
		t.Errorf("%v, %v", keys, ok)
	}
	j.reached(j.cut(), 3) // the commit is still under way
	if keys, _ := j.after(3); len(keys) != 1 {
		t.Errorf("of what is under way: %v", keys)
	}
	end()
	j.reached(j.cut(), 4)
	if keys, ok := j.after(4); !ok || len(keys) != 0 {
		t.Errorf("%v, %v", keys, ok)
	}
}

// TestStreamUnderWriters: whatever commits while stretches are taken is in one of them.
func TestStreamUnderWriters(t *testing.T) {
	v, _, keys := newTest(t)
	s := v.Sub("s")
	followers := make([]follower, 2)
	var writers, readers sync.WaitGroup
	over := make(chan struct{})
	for w := range 4 {
		writers.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range 150 {
				err := s.Update(t.Context(), func(tx *Tx) error {
					if rnd.IntN(5) == 0 {
						return tx.Delete([]byte(strconv.Itoa(rnd.IntN(40))))
					}
					return tx.Set([]byte(strconv.Itoa(rnd.IntN(40))), fmt.Appendf(nil, "%d of %d", i, w))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range followers {
		readers.Go(func() {
			for done := false; !done; {
				select {
				case <-over:
					done = true
				default:
				}
				followers[i].take(t, v)
			}
		})
	}
	writers.Wait()
	close(over)
	readers.Wait()
	want := records(t, v)
	for i := range followers {
		if got := followers[i].loaded(t, keys); !maps.Equal(want, got) {
			t.Errorf("follower %d: %v, want %v", i, got, want)
		}
	}
}
