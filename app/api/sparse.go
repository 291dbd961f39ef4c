package api

import (
	"sync"
	"time"
)

// maxSparse bounds the names that a Sparse remembers.
const maxSparse = 10_000

// Sparse lets one entry of a name into a log and holds the next ones back for a
// while: who does the same thing again and again must not fill the log. It is safe
// for concurrent use.
type Sparse struct {
	pause time.Duration
	now   func() time.Time
	mu    sync.Mutex
	names map[string]*sparseName
}

type sparseName struct {
	mu      sync.Mutex
	entered time.Time
	held    int
}

// NewSparse makes one whose names pause that long after an entry.
func NewSparse(pause time.Duration, now func() time.Time) *Sparse {
	return &Sparse{pause: pause, now: now, names: map[string]*sparseName{}}
}

// Do calls entry, with how many of the name were held back since the last one, or
// holds this one back. Whoever comes while entry runs waits for it, so that
// after Do there is a lasting entry in either case. A failed entry does not count.
func (s *Sparse) Do(name string, entry func(held int) error) error {
	n := s.name(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pausing(s.now(), s.pause) {
		n.held++
		return nil
	}
	if err := entry(n.held); err != nil {
		return err
	}
	n.entered, n.held = s.now(), 0
	return nil
}

func (n *sparseName) pausing(now time.Time, pause time.Duration) bool {
	return !n.entered.IsZero() && now.Sub(n.entered) < pause
}

func (s *Sparse) name(name string) *sparseName {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.names[name]
	if n == nil {
		if len(s.names) >= maxSparse {
			s.shed()
		}
		n = &sparseName{}
		s.names[name] = n
	}
	return n
}

// shed forgets the names that do not pause, and all if that frees nothing.
func (s *Sparse) shed() {
	now := s.now()
	for name, n := range s.names {
		if n.mu.TryLock() {
			if !n.pausing(now, s.pause) {
				delete(s.names, name)
			}
			n.mu.Unlock()
		}
	}
	if len(s.names) >= maxSparse {
		clear(s.names)
	}
}
