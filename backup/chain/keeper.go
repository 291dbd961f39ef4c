package chain

import (
	"context"
	"fmt"
	"sync"
	"time"

	"holdfast/backup"
	"holdfast/backup/read"
	"holdfast/data"
)

// KeeperConfig says which chain to keep short.
type KeeperConfig struct {
	Target  backup.ObjectStore
	Store   string           // store id, see backup.CheckStore
	Keys    data.KeySource   // purpose "segments"
	Scratch string           // folder for sealed temporary files; "" is the system's
	Clock   func() time.Time // nil: time.Now
}

// Keeper keeps one chain short: it merges segments into longer ones and prunes
// what no kept point needs. It needs the target and the keys alone, never the
// store, and works beside a Chain that ships at the same time. It is safe for
// concurrent use; one step runs at a time.
type Keeper struct {
	cfg    KeeperConfig
	reader *read.Reader

	mu   sync.Mutex
	line []span // from the newest image on; nil until it is read
}

// relied is how long an object that was found on the target, rather than put,
// may wait for the manifest that refers to it. A sweep comes much later.
const relied = time.Hour

// NewKeeper makes no request.
func NewKeeper(c KeeperConfig) (*Keeper, error) {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	r, err := read.New(c.Target, c.Store, c.Keys)
	if err != nil {
		return nil, fmt.Errorf("keep chain: %w", err)
	}
	return &Keeper{cfg: c, reader: r}, nil
}

// span is one step of the line: a merged manifest, or a manifest (level 0).
type span struct {
	backup.MergedName
	known bool // Time and base are
	base  bool
}

// end is the last sequence of the line.
func (k *Keeper) end() int64 {
	if len(k.line) == 0 {
		return 0
	}
	return k.line[len(k.line)-1].Last
}

// load brings the line up to a sequence: the coarsest links from the newest
// image on, then plain manifests.
func (k *Keeper) load(ctx context.Context, newest int64) error {
	if k.line == nil {
		names, err := k.reader.MergedNames(ctx, 0, newest)
		if err != nil {
			return err
		}
		first, err := backup.Sequences(ctx, k.cfg.Target, k.cfg.Store, 0, 1)
		if err != nil || len(first) == 0 {
			return err
		}
		k.line = coarsest(names, first[0])
	}
	for s := k.end() + 1; s <= newest; s++ {
		k.line = append(k.line, span{MergedName: backup.MergedName{First: s, Last: s}})
	}
	return nil
}

// coarsest goes from the newest image (else the first manifest) along the longest
// merged links; between them are manifests.
func coarsest(names []backup.MergedName, first int64) (line []span) {
	longest := map[int64]backup.MergedName{}
	at, last := first-1, first
	for _, n := range names {
		if n.Level == backup.Image {
			line, at = []span{{MergedName: n, known: true}}, n.Last
		} else if n.Last > longest[n.First].Last {
			longest[n.First] = n
		}
		last = max(last, n.Last)
	}
	for at < last {
		n, ok := longest[at+1]
		if !ok {
			n = backup.MergedName{First: at + 1, Last: at + 1}
		}
		line = append(line, span{MergedName: n, known: ok})
		at = n.Last
	}
	return line
}
