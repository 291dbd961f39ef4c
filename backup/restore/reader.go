package restore

import (
	"fmt"

	"holdfast/backup/read"
)

// reader counts what a restore or a verification reads.
type reader struct {
	*read.Reader
	cfg     Config
	ledger  *read.Ledger
	objects int
	bytes   int64 // read
	done    int64 // of expect
	expect  int64
}

func newReader(c Config) (*reader, error) {
	source, err := newKept(c.Source, c.Resume)
	if err != nil {
		return nil, fmt.Errorf("scratch: %w", err)
	}
	r, err := read.New(source, c.Store, c.Keys)
	if err != nil {
		return nil, err
	}
	return &reader{Reader: r, cfg: c}, nil
}

func (r *reader) count(size, done int64) {
	r.objects++
	r.bytes += size
	r.done += done
	if r.cfg.Progress != nil {
		r.cfg.Progress(r.done, max(r.done, r.expect))
	}
}
