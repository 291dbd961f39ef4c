package custody

import (
	"slices"
	"sync"
	"time"

	"holdfast/app/api"
	"holdfast/data/keys"
)

// gatherLife is how long handed-in shares are kept in memory.
const gatherLife = 10 * time.Minute

// Gathered is how far a set of shares is. It tells nothing of them.
type Gathered struct {
	Set  string `json:"set"`
	Have int    `json:"have"`
	Need int    `json:"need"`
	Of   int    `json:"of"`
}

// Gathering collects shares that several persons hand in, one by one, in memory
// and for ten minutes from the first of a set. It is safe for concurrent use.
type Gathering struct {
	now func() time.Time

	mu   sync.Mutex
	sets map[string]*gatheredSet
}

type gatheredSet struct {
	info   keys.ShareInfo
	texts  map[int]string
	until  time.Time
	expire *time.Timer
}

// NewGathering is an empty one; Close forgets what it holds.
func NewGathering(now func() time.Time) *Gathering {
	return &Gathering{now: now, sets: map[string]*gatheredSet{}}
}

// Offer takes a share that keys.Slots.CheckShare knows. It gives all shares of
// the set once they are enough, else nil. A 409 problem for one that was
// handed in already.
func (g *Gathering) Offer(info keys.ShareInfo, text string) (enough []string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgetOld()
	s := g.sets[info.Set]
	if s == nil {
		s = &gatheredSet{info: info, texts: map[int]string{}, until: g.now().Add(gatherLife)}
		s.expire = time.AfterFunc(gatherLife, func() { g.drop(info.Set, s) })
		g.sets[info.Set] = s
	}
	if s.texts[info.Index] != "" {
		return nil, api.Errorf(409, "share-again", "Share %d was handed in already. There are %d of %d.", info.Index, len(s.texts), info.Need)
	}
	s.texts[info.Index] = text
	if len(s.texts) < info.Need {
		return nil, nil
	}
	for _, t := range s.texts {
		enough = append(enough, t)
	}
	return enough, nil
}

// Forget drops a set that was used.
func (g *Gathering) Forget(set string) { g.drop(set, nil) }

// drop forgets a set, or that very one when it is given.
func (g *Gathering) drop(set string, only *gatheredSet) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sets[set]
	if s == nil || only != nil && s != only {
		return
	}
	s.expire.Stop()
	clear(s.texts)
	delete(g.sets, set)
}

// forgetOld goes by the appliance's clock; the timer sees to it that memory is
// cleared when nobody asks.
func (g *Gathering) forgetOld() {
	for set, s := range g.sets {
		if !g.now().Before(s.until) {
			s.expire.Stop()
			clear(s.texts)
			delete(g.sets, set)
		}
	}
}

// Progress is how far each set is.
func (g *Gathering) Progress() []Gathered {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgetOld()
	all := []Gathered{}
	for _, s := range g.sets {
		all = append(all, Gathered{s.info.Set, len(s.texts), s.info.Need, s.info.Of})
	}
	slices.SortFunc(all, func(a, b Gathered) int { return b.Have - a.Have })
	return all
}

// Close forgets everything.
func (g *Gathering) Close() {
	for _, p := range g.Progress() {
		g.Forget(p.Set)
	}
}
