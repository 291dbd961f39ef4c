package audit

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"holdfast/data"
	"holdfast/data/vault"
)

// Report is what Verify found. Counts are of entries.
type Report struct {
	Log        string   `json:"log"`
	OK         bool     `json:"ok"`
	Size       int64    `json:"size"`
	Root       string   `json:"root"`
	Checkpoint string   `json:"checkpoint,omitempty"`
	Keys       []string `json:"verifierKeys"`
	Kept       int      `json:"keptCheckpoints"`     // older checkpoints that the tree was held against
	Changes    int64    `json:"changes"`             // leaves of committed changes
	Withdrawn  int64    `json:"withdrawn,omitempty"` // changes that a restore took back
	Pruned     int64    `json:"pruned,omitempty"`    // changes that the store's feed no longer has, so that only the log tells of them
	Erased     int64    `json:"erased,omitempty"`    // entries whose body is gone
	Compared   bool     `json:"compared"`            // with the store's change feed
	Problems   []string `json:"problems"`            // the first hundred
	More       int      `json:"moreProblems,omitempty"`
}

const maxProblems = 100

func (r *Report) problem(format string, args ...any) {
	if len(r.Problems) == maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Verify recomputes a log's tree from its leaves, opens every body against its
// commitment, checks the newest checkpoint's signature and that each older one
// leads to it, and holds the leaves against the store's change feed. What is
// wrong is a problem in the report; an error means that it could not look.
func (s *Service) Verify(ctx context.Context, log string) (Report, error) {
	r := Report{Log: log, Problems: []string{}}
	if err := checkLog(log); err != nil {
		return r, err
	}
	against, err := s.feedOf(ctx, log)
	if err != nil {
		// A store that cannot be read must not keep its log from being checked.
		r.problem("the store's change feed cannot be read: %v", describe(err))
		against = &feedCheck{}
	}
	defer against.release()
	err = s.config.Vault.View(ctx, func(t *vault.Tx) error {
		c := check{service: s, tx: t, log: log, report: &r, feed: against}
		return c.run(ctx)
	})
	if err != nil {
		return r, fmt.Errorf("verify audit log %s: %w", log, err)
	}
	r.OK = len(r.Problems) == 0
	return r, nil
}

// check is one run of Verify over one state of the vault.
type check struct {
	service *Service
	tx      tx
	log     string
	report  *Report
	feed    *feedCheck
	edge    edge
	kept    map[int64]tlog.Tree
	signed  tlog.Tree
}

func (c *check) run(ctx context.Context) error {
	st, err := loadState(c.tx, c.log)
	if err != nil {
		return err
	}
	c.report.Size, c.report.Checkpoint = st.Size, st.Checkpoint
	if err := c.checkpoints(st); err != nil {
		return err
	}
	if err := c.feed.begin(ctx, st); err != nil {
		return err
	}
	for n := int64(0); n < st.Size; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.entry(ctx, n); err != nil {
			return err
		}
	}
	if err := c.feed.end(ctx, c.report); err != nil {
		return err
	}
	c.feed.copyTo(c.report)
	if err := c.beyond(st.Size); err != nil {
		return err
	}
	return c.head(st)
}

// checkpoints loads the signed heads that the tree must pass through.
func (c *check) checkpoints(st state) error {
	known, keys, err := verifiers(c.tx)
	if err != nil {
		return err
	}
	c.report.Keys = keys
	if st.Size > 0 {
		c.signed = c.open(st.Checkpoint, st.Size, known)
	}
	c.kept = map[int64]tlog.Tree{}
	return c.tx.Walk(logPrefix("k/", c.log), nil, func(key, value []byte) (bool, error) {
		size := indexOf(key)
		c.kept[size] = c.open(string(value), size, known)
		if size > st.Size {
			c.report.problem("a checkpoint of %d entries is kept, but the log has %d", size, st.Size)
		}
		return true, nil
	})
}

func (c *check) open(signed string, size int64, known note.Verifiers) tlog.Tree {
	tree, err := openCheckpoint(signed, origin(c.service.name, c.log), known)
	if err == nil && tree.N != size {
		err = fmt.Errorf("%w: it is of %d entries", errCheckpoint, tree.N)
	}
	if err != nil {
		c.report.problem("checkpoint of %d entries: %v", size, err)
		return tlog.Tree{N: -1}
	}
	return tree
}

// entry checks one leaf: the record, its hashes, its body, its place in the feed,
// and the kept checkpoint that ends with it. A leaf that cannot be read leaves a
// tree that cannot match, which head reports too.
func (c *check) entry(ctx context.Context, n int64) error {
	r, l, err := loadRecord(c.tx, c.log, n)
	if err != nil {
		c.report.problem("entry %d: %v", n, describe(err))
		c.edge.append(tlog.Hash{})
		return nil
	}
	c.hashes(n, c.edge.append(tlog.RecordHash(r.Leaf)))
	b, gone, err := c.service.bodyOf(c.log, r)
	if err != nil {
		c.report.problem("entry %d: %v", n, describe(err))
	}
	if gone {
		c.report.Erased++
	}
	if err := c.passes(n + 1); err != nil {
		return err
	}
	return c.feed.leaf(ctx, c.report, found{n, l, b, gone || err != nil})
}

func (c *check) hashes(n int64, want []tlog.Hash) {
	stored, err := c.tx.Get(hashKey(c.log, n))
	if err != nil {
		c.report.problem("hashes of entry %d: %v", n, describe(err))
	} else if string(stored) != string(joinHashes(want)) {
		c.report.problem("hashes of entry %d are not those of its leaves", n)
	}
}

// passes holds the tree against the kept checkpoint of this size, if there is one.
func (c *check) passes(size int64) error {
	kept, ok := c.kept[size]
	if !ok || kept.N < 0 {
		return nil
	}
	root, err := c.edge.root()
	if err != nil {
		return err
	}
	c.report.Kept++
	if root != kept.Hash {
		c.report.problem("the first %d entries are not those of the checkpoint kept then", size)
	}
	return nil
}

// head compares the recomputed root with the signed one.
func (c *check) head(st state) error {
	root, err := c.edge.root()
	if err != nil {
		return err
	}
	c.report.Root = root.String()
	if st.Size > 0 && c.signed.N == st.Size && c.signed.Hash != root {
		c.report.problem("the leaves give root %s, the checkpoint signs %s", root, c.signed.Hash)
	}
	return nil
}

// beyond names records that no checkpoint covers.
func (c *check) beyond(size int64) error {
	return c.tx.Walk(logPrefix("e/", c.log), recordKey(c.log, size), func(key, _ []byte) (bool, error) {
		c.report.problem("entry %d lies beyond the signed end of the log", indexOf(key))
		return true, nil
	})
}

// describe keeps a report free of key names and of the wrapping that repeats
// what the problem says.
func describe(err error) error {
	for _, known := range []error{data.ErrTampered, data.ErrNotFound, data.ErrNewer, errCommitment} {
		if errors.Is(err, known) {
			return known
		}
	}
	return err
}
