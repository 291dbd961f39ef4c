package vault

import (
	"slices"
	"sync"
)

// What the journal remembers, at most: beyond it the next stretch of who is far behind is
// looked for in all that the vault holds.
const (
	maxRemembered = 16 << 20 // bytes
	maxSpans      = 256
	perKey        = 64 // bytes that a remembered key takes beside its name
)

// journal remembers which keys commits wrote since stretches were taken, so that the next
// stretch costs what changed, not what the vault holds. It is in memory only, and may
// name keys that were not changed.
type journal struct {
	mu     sync.Mutex
	spans  []*span         // oldest first; commits write into the last. None before the first stretch
	flying map[*batch]bool // commits under way
	size   int             // of all spans, in bytes
	scans  int             // stretches that were looked for everywhere
}

// span has every key with a version later than since, together with the spans after it.
type span struct {
	known bool   // since is
	since uint64 // what the stretch that began with it reached
	keys  map[string]bool
	size  int
}

// batch is what one commit writes.
type batch struct{ keys []string }

// begin notes what a commit is about to write; end is called when it is over, however.
// It must come before the commit: whoever sees the commit then finds its keys here.
func (j *journal) begin(keys []string) (end func()) {
	if len(keys) == 0 {
		return func() {}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.flying == nil {
		j.flying = map[*batch]bool{}
	}
	b := &batch{keys}
	j.flying[b] = true
	if n := len(j.spans); n > 0 {
		j.add(j.spans[n-1], keys)
	}
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.flying, b)
	}
}

// add puts keys into a span, and forgets the oldest spans where they are too many; mu is
// held.
func (j *journal) add(s *span, keys []string) {
	for _, key := range keys {
		if !s.keys[key] {
			s.keys[key] = true
			s.size += len(key) + perKey
			j.size += len(key) + perKey
		}
	}
	for len(j.spans) > 0 && (j.size > maxRemembered || len(j.spans) > maxSpans) {
		j.size -= j.spans[0].size
		j.spans = slices.Delete(j.spans, 0, 1)
	}
}

// cut begins a span. It has the commits that are under way, too: they may be later than
// what is read now. Read after it.
func (j *journal) cut() *span {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &span{keys: map[string]bool{}}
	j.spans = append(j.spans, s)
	j.add(s, nil)
	for b := range j.flying {
		j.add(s, b.keys)
	}
	return s
}

// reached notes up to which version everything is in the stretch that began with a cut.
func (j *journal) reached(s *span, version uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.known, s.since = true, version
}

// after gives the keys that may have later versions, in order; not ok where that is not
// known.
func (j *journal) after(version uint64) (keys []string, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, s := range slices.Backward(j.spans) {
		if s.known && s.since == version && version > 0 {
			return union(j.spans[i:]), true
		}
	}
	j.scans++
	return nil, false
}

func union(spans []*span) []string {
	all := map[string]bool{}
	for _, s := range spans {
		for key := range s.keys {
			all[key] = true
		}
	}
	keys := make([]string, 0, len(all))
	for key := range all {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
