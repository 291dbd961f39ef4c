package audit

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"holdfast/data"
	"holdfast/data/vault"
)

// Bounds of one vault transaction.
const (
	maxBatch      = 512       // jobs
	maxBatchBytes = 512 << 10 // of records; the vault takes some 2 MB
)

// keepEvery is how many entries lie between kept checkpoints: the older heads
// that Verify holds the tree against.
const keepEvery = 1024

// errMoved says that the log's followed position is not where the job's
// changes begin.
var errMoved = errors.New("the followed position moved")

// job is what one caller wants in a log: records, and for the follower the new
// position, all or nothing.
type job struct {
	log     string
	records []record
	move    *move
	err     error // why this job alone was left out of its batch
	done    chan error
}

// move carries the follower's position with its leaves.
type move struct {
	from, to data.Position
}

// submit hands a job to the worker and waits until it is durable. When ctx ends
// first, the records may still be written.
func (s *Service) submit(ctx context.Context, j *job) error {
	j.done = make(chan error, 1)
	if err := s.hand(ctx, j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Service) hand(ctx context.Context, j *job) error {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return ErrClosed
	}
	select {
	case s.queue <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// work writes jobs until the queue is closed and empty. Jobs that arrive while a
// transaction is on its way to the disk share the next one.
func (s *Service) work() {
	for first := range s.queue {
		batch := s.gather(first)
		err := s.commit(batch)
		for _, j := range batch {
			if err != nil {
				j.err = err
			}
			j.done <- j.err
		}
	}
}

func (s *Service) gather(first *job) []*job {
	batch, bytes := []*job{first}, first.bytes()
	for len(batch) < maxBatch && bytes < maxBatchBytes {
		select {
		case j, ok := <-s.queue:
			if !ok {
				return batch
			}
			batch, bytes = append(batch, j), bytes+j.bytes()
		default:
			return batch
		}
	}
	return batch
}

func (j *job) bytes() (n int) {
	for _, r := range j.records {
		n += r.size()
	}
	return n
}

// head is a log while a batch is applied to it.
type head struct {
	state
	edge *edge
}

// commit writes a batch in one vault transaction: records, hashes, one signed
// checkpoint for each log, and its state.
func (s *Service) commit(batch []*job) error {
	ctx := context.Background() // callers may leave; what they handed over is written
	if err := s.refreshSigner(); err != nil {
		return err
	}
	var heads map[string]*head
	err := s.config.Vault.Update(ctx, func(t *vault.Tx) error {
		heads = map[string]*head{} // anew at each try
		for _, j := range batch {
			if err := s.apply(t, heads, j); err != nil {
				return err
			}
		}
		return s.finish(t, heads)
	})
	if err != nil {
		clear(s.edges)
		return fmt.Errorf("write audit entries: %w", err)
	}
	s.cache(heads)
	return nil
}

// maxEdges bounds the heads kept in memory, some hundred bytes each.
const maxEdges = 4096

func (s *Service) cache(heads map[string]*head) {
	if len(s.edges) > maxEdges {
		clear(s.edges)
	}
	for log, h := range heads {
		s.edges[log] = h.edge
	}
}

func (s *Service) apply(t tx, heads map[string]*head, j *job) error {
	h, err := s.head(t, heads, j.log)
	if err != nil {
		return err
	}
	if j.err = j.move.check(h.state); j.err != nil {
		return nil
	}
	for _, r := range j.records {
		if err := h.append(t, j.log, r); err != nil {
			return err
		}
	}
	j.move.apply(&h.state)
	return nil
}

func (m *move) check(st state) error {
	if m != nil && m.from != st.Follow {
		return errMoved
	}
	return nil
}

func (m *move) apply(st *state) {
	if m == nil {
		return
	}
	if st.Follow == (data.Position{}) {
		st.Began = m.to
	}
	st.Follow = m.to
}

// head gives the batch's working copy of a log.
func (s *Service) head(t tx, heads map[string]*head, log string) (*head, error) {
	if h, ok := heads[log]; ok {
		return h, nil
	}
	st, err := loadState(t, log)
	if err != nil {
		return nil, err
	}
	h := &head{state: st}
	if cached, ok := s.edges[log]; ok && cached.size == st.Size {
		h.edge = cached.clone()
	} else if h.edge, err = loadEdge(st.Size, hashReader{log, t.Get}); err != nil {
		return nil, err
	}
	heads[log] = h
	return h, nil
}

func (h *head) append(t tx, log string, r record) error {
	n := h.edge.size
	hashes := h.edge.append(tlog.RecordHash(r.Leaf))
	if err := t.Set(recordKey(log, n), formatRecord(r)); err != nil {
		return err
	}
	h.Size = h.edge.size
	return t.Set(hashKey(log, n), joinHashes(hashes))
}

// finish signs and saves every log of the batch.
func (s *Service) finish(t tx, heads map[string]*head) error {
	if err := s.signer.remember(t); err != nil {
		return err
	}
	for log, h := range heads {
		root, err := h.edge.root()
		if err != nil {
			return err
		}
		if h.Checkpoint, err = s.signer.checkpoint(log, tlog.Tree{N: h.Size, Hash: root}); err != nil {
			return err
		}
		if err := h.keep(t, log); err != nil {
			return err
		}
		if err := h.save(t, log); err != nil {
			return err
		}
	}
	return nil
}

func (h *head) keep(t tx, log string) error {
	if h.Kept > 0 && h.Size-h.Kept < keepEvery {
		return nil
	}
	h.Kept = h.Size
	return t.Set(keptKey(log, h.Size), []byte(h.Checkpoint))
}

// refreshSigner follows a rotation of the signing key.
func (s *Service) refreshSigner() error {
	generation, seed, err := s.config.Signing.Current()
	if err != nil {
		return fmt.Errorf("audit signing key: %w", err)
	}
	if s.signer != nil && s.generation == generation {
		return nil
	}
	s.signer, err = newSigner(s.name, seed)
	s.generation = generation
	return err
}
