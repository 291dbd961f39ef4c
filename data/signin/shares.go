package signin

// Shares keeps values by owner and name, within bounds: an owner with more than its
// share loses some of its own, and when all together have too many, whoever has most
// loses some. So a flood at one takes nothing of the others. Not safe for concurrent use.
type Shares[V any] struct {
	share, most int
	count       int
	byOwner     map[string]map[string]V
}

// NewShares makes an empty one for at most so many values of one owner, and of all.
func NewShares[V any](share, most int) *Shares[V] {
	return &Shares[V]{share: share, most: most, byOwner: map[string]map[string]V{}}
}

// Get gives the value of that name.
func (s *Shares[V]) Get(owner, name string) (V, bool) {
	v, ok := s.byOwner[owner][name]
	return v, ok
}

// Put keeps a value in place of what was there, and makes room for it where that is needed.
func (s *Shares[V]) Put(owner, name string, v V) {
	if _, ok := s.byOwner[owner][name]; !ok {
		s.makeRoom(owner)
		s.count++
	}
	if s.byOwner[owner] == nil {
		s.byOwner[owner] = map[string]V{}
	}
	s.byOwner[owner][name] = v
}

// Delete lets go of a value.
func (s *Shares[V]) Delete(owner, name string) {
	of := s.byOwner[owner]
	if _, ok := of[name]; !ok {
		return
	}
	delete(of, name)
	s.count--
	if len(of) == 0 {
		delete(s.byOwner, owner)
	}
}

// Count is how many values an owner has.
func (s *Shares[V]) Count(owner string) int { return len(s.byOwner[owner]) }

// Len is how many all have.
func (s *Shares[V]) Len() int { return s.count }

// Full says whether the owner's next new value costs an old one.
func (s *Shares[V]) Full(owner string) bool {
	return s.Count(owner) >= s.share || s.count >= s.most
}

// DropOf lets go of an owner's values that have ended.
func (s *Shares[V]) DropOf(owner string, ended func(V) bool) {
	for name, v := range s.byOwner[owner] {
		if ended(v) {
			s.Delete(owner, name)
		}
	}
}

// Drop lets go of all values that have ended.
func (s *Shares[V]) Drop(ended func(V) bool) {
	for owner := range s.byOwner {
		s.DropOf(owner, ended)
	}
}

func (s *Shares[V]) makeRoom(owner string) {
	switch {
	case s.Count(owner) >= s.share:
		s.shed(owner)
	case s.count >= s.most:
		s.shed(s.richest())
	}
}

func (s *Shares[V]) richest() (owner string) {
	for name, of := range s.byOwner {
		if len(of) > s.Count(owner) {
			owner = name
		}
	}
	return owner
}

// shed drops a tenth of what an owner has; which goes is the map's chance, which no
// flood can steer.
func (s *Shares[V]) shed(owner string) {
	keep := s.Count(owner) * 9 / 10
	for name := range s.byOwner[owner] {
		if s.Count(owner) <= keep {
			return
		}
		s.Delete(owner, name)
	}
}
