package chain

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"holdfast/backup"
	"holdfast/data"
)

// meta says where the chain stands after a snapshot.
type meta struct {
	Epoch    backup.Epoch  `json:"epoch"`
	Base     int64         `json:"base"`
	Sequence int64         `json:"sequence"`
	Manifest backup.Hash   `json:"manifest"`
	Time     time.Time     `json:"time"`
	Position data.Position `json:"position"`
	SumKey   []byte        `json:"sumKey"`
	Total    uint32        `json:"total"`
	// Full records stand alone; others continue the one before.
	Full   bool `json:"full"`
	Sums   int  `json:"sums"`   // frames of page checksums that follow
	Change int  `json:"change"` // frames of tree changes that follow
}

// state is the newest staged snapshot, as far as the next one must know it.
type state struct {
	meta
	sums   *backup.Sums
	tree   *backup.FileTree
	chunks map[backup.Chunk]int // content on the target, with the number of its uses
	copies map[string]int64     // which copy of a content is in use, by its id; absent for the first
}

// pageSum is the checksum of a changed page.
type pageSum struct {
	pgno uint32
	sum  backup.PageSum
}

// record is one snapshot's change of the state.
type record struct {
	meta
	sums    []pageSum
	changes []backup.Change
}

func newState(sumKey []byte) (*state, error) {
	sums, err := backup.NewSums(sumKey)
	if err != nil {
		return nil, err
	}
	s := &state{sums: sums, tree: backup.NewFileTree(), chunks: map[backup.Chunk]int{}, copies: map[string]int64{}}
	s.SumKey = sumKey
	return s, nil
}

// apply brings a state forward; nil is before the first record.
func (r *record) apply(s *state) (*state, error) {
	if r.Full {
		var err error
		if s, err = newState(r.SumKey); err != nil {
			return nil, err
		}
	}
	if s == nil || (!r.Full && (r.Epoch != s.Epoch || r.Sequence != s.Sequence+1)) {
		return nil, fmt.Errorf("%w: journal: record out of order", backup.ErrFormat)
	}
	s.count(r.changes)
	if err := s.tree.Apply(r.changes); err != nil {
		return nil, err
	}
	s.sums.Resize(min(s.sums.Total(), r.Total)) // what was cut off is gone, even if it grew again
	for _, p := range r.sums {
		if p.pgno == 0 || p.pgno > r.Total {
			return nil, fmt.Errorf("%w: journal: page %d of %d", backup.ErrFormat, p.pgno, r.Total)
		}
		s.sums.Put(p.pgno, p.sum)
	}
	s.sums.Resize(r.Total)
	s.meta = r.meta
	return s, nil
}

// count keeps track of which chunks the tree uses.
func (s *state) count(changes []backup.Change) {
	for _, c := range changes {
		if old, ok := s.tree.Get(c.Name()); ok {
			for _, chunk := range old.Chunks {
				if s.chunks[chunk]--; s.chunks[chunk] == 0 {
					delete(s.chunks, chunk)
				}
			}
		}
		if c.Put != nil {
			for _, chunk := range c.Put.Chunks {
				s.chunks[chunk]++
				if chunk.Copy > 0 {
					s.copies[chunk.ID] = chunk.Copy
				}
			}
		}
	}
}

// has finds content that the tree uses.
func (s *state) has(c backup.Chunk) (backup.Chunk, bool) {
	for _, c.Copy = range [...]int64{s.copies[c.ID], 0} {
		if s.chunks[c] > 0 {
			return c, true
		}
	}
	return c, false
}

// full is a record that stands for the whole state.
func (s *state) full() *record {
	r := &record{meta: s.meta}
	r.Full = true
	for pgno := uint32(1); pgno <= s.sums.Total(); pgno++ {
		sum, _ := s.sums.Get(pgno)
		r.sums = append(r.sums, pageSum{pgno, sum})
	}
	for _, name := range s.tree.Names() {
		f, _ := s.tree.Get(name)
		r.changes = append(r.changes, backup.Change{Put: &f})
	}
	return r
}

const (
	sumSize      = 12
	sumsPerFrame = 1 << 20
)

// format gives the plaintext frames of a record: meta, checksums, tree changes.
func (r *record) format() ([][]byte, error) {
	var sums [][]byte
	for rest := r.sums; len(rest) > 0; {
		n := min(len(rest), sumsPerFrame)
		sums, rest = append(sums, formatSums(rest[:n])), rest[n:]
	}
	changes, err := backup.FormatChanges(r.changes)
	if err != nil {
		return nil, err
	}
	m := r.meta
	m.Sums, m.Change = len(sums), len(changes)
	head, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return append(append([][]byte{head}, sums...), changes...), nil
}

func formatSums(sums []pageSum) []byte {
	b := make([]byte, 0, sumSize*len(sums))
	for _, p := range sums {
		b = binary.BigEndian.AppendUint32(b, p.pgno)
		b = append(b, p.sum[:]...)
	}
	return b
}

func parseMeta(frame []byte) (m meta, err error) {
	if err := json.Unmarshal(frame, &m); err != nil {
		return m, fmt.Errorf("%w: journal: %v", backup.ErrFormat, err)
	}
	if m.Sequence < 1 || m.Sums < 0 || m.Change < 0 || len(m.SumKey) != 32 {
		return m, fmt.Errorf("%w: journal: values out of range", backup.ErrFormat)
	}
	return m, nil
}

// addFrame reads the i-th frame behind the meta frame.
func (r *record) addFrame(i int, frame []byte) error {
	if i >= r.Sums {
		changes, err := backup.ParseChanges(frame)
		r.changes = append(r.changes, changes...)
		return err
	}
	if len(frame)%sumSize != 0 {
		return fmt.Errorf("%w: journal: checksums of %d bytes", backup.ErrFormat, len(frame))
	}
	for ; len(frame) > 0; frame = frame[sumSize:] {
		r.sums = append(r.sums, pageSum{binary.BigEndian.Uint32(frame), backup.PageSum(frame[4:sumSize])})
	}
	return nil
}
