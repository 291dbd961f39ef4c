package chain

import (
	"context"
	"fmt"
	"slices"
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
	Lock    backup.LockFor   // of what is put; none by default
}

// Keeper keeps one chain short: it merges segments into longer ones and prunes
// what no kept point needs. It needs the target and the keys alone, never the
// store, and works beside a Chain that ships at the same time. It is safe for
// concurrent use; one step runs at a time.
type Keeper struct {
	cfg    KeeperConfig
	reader *read.Reader

	mu     sync.Mutex
	line   []span // from the newest image on; nil until it is read
	ledger *read.Ledger
}

// relied is how long an object that was found on the target, rather than put,
// may wait for the manifest that refers to it. A sweep comes much later.
const relied = time.Hour

// requestLimit bounds a single request that puts or deletes: what was found out
// before it still holds when it takes effect.
const requestLimit = relied / 4

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

// load brings the line up to a sequence.
func (k *Keeper) load(ctx context.Context, newest int64) (err error) {
	if k.line == nil && newest > 0 {
		if k.line, err = k.readLine(ctx, newest); err != nil {
			return err
		}
	}
	for s := k.end() + 1; s <= newest; s++ {
		k.line = append(k.line, span{MergedName: backup.MergedName{First: s, Last: s}})
	}
	return nil
}

// readLine finds the fewest links from the newest image of the present epoch, or
// its base, on.
func (k *Keeper) readLine(ctx context.Context, newest int64) (line []span, err error) {
	l, err := k.reader.At(ctx, newest)
	if err != nil {
		return nil, err
	}
	names, start, err := k.sinceImage(ctx, l.Base, newest)
	if err != nil {
		return nil, err
	}
	there, err := k.reader.Sequences(ctx, start-1, newest)
	if err != nil {
		return nil, err
	}
	steps := read.Plan(start, newest, names, func(s int64) bool { _, ok := slices.BinarySearch(there, s); return ok })
	if steps == nil && start <= newest {
		return nil, k.gap(there, start)
	}
	if start > l.Base {
		line = []span{{MergedName: names[0], known: true}}
	}
	for _, n := range steps {
		line = append(line, span{MergedName: n, known: n.Level > 0})
	}
	return line, nil
}

// gap blames the first manifest from start on that is not there.
func (k *Keeper) gap(there []int64, start int64) error {
	for _, s := range there {
		if s == start {
			start++
		}
	}
	return read.Named(backup.ManifestName(k.cfg.Store, start), fmt.Errorf("%w: no way leads past it", data.ErrNotFound))
}

// sinceImage lists the merged links of an epoch that no prune condemned, from the
// newest image on, and tells where that ends.
func (k *Keeper) sinceImage(ctx context.Context, base, newest int64) (names []backup.MergedName, start int64, err error) {
	if k.ledger, err = k.reader.Ledger(ctx); err != nil {
		return nil, 0, err
	}
	if names, err = k.reader.MergedNames(ctx, base-1, newest); err != nil {
		return nil, 0, err
	}
	names = slices.DeleteFunc(names, func(n backup.MergedName) bool { return k.ledger.Condemned(n.In(k.cfg.Store)) })
	for i, n := range slices.Backward(names) {
		if n.Level == backup.Image {
			names[0], names[i] = names[i], names[0] // those before it are of no use
			return append(names[:1], names[i+1:]...), n.Last + 1, nil
		}
	}
	return names, base, nil
}
