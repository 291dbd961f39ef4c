package chain

import (
	"context"
	"fmt"
	"time"

	"holdfast/backup"
	"holdfast/backup/read"
)

// Compacted is what a Compact did. Bytes were put on the target.
type Compacted struct {
	Merged  int // links that now stand for several
	Images  int // of them, whole images
	Objects int // put
	Taken   int // parts that an image took over from the one before, unread
	Bytes   int64
}

const (
	lookAhead   = 512                // manifests looked at together
	imageLinks  = 8                  // so many links make a new image worth it,
	imageOldest = 7 * 24 * time.Hour // or the age of the last one
)

// windows are the stretches of time that the levels stand for.
var windows = [...]time.Duration{backup.Minute: time.Minute, backup.Hour: time.Hour, backup.Image: 24 * time.Hour}

// Compact merges what can be merged: the segments of a minute that is over, those
// of an hour, and daily all of them with the last image. newest is the sequence
// that a Chain confirmed last (Status); 0 asks the target. With nothing new it
// makes no request. What was merged stays, until Prune. Interrupted at any
// point, it leaves the chain as good as it was, and the next call goes on.
func (k *Keeper) Compact(ctx context.Context, newest int64) (Compacted, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	done, err := k.compact(ctx, newest)
	if unusable(err) {
		k.line = nil // it is not as we remember it
	}
	if err != nil {
		return done, fmt.Errorf("compact %s: %w", k.cfg.Store, err)
	}
	return done, nil
}

func (k *Keeper) compact(ctx context.Context, newest int64) (done Compacted, err error) {
	if newest != 0 && newest == k.end() {
		return done, nil
	}
	if newest == 0 {
		if newest, err = backup.Newest(ctx, k.cfg.Target, k.cfg.Store); err != nil {
			return done, err
		}
	}
	if err := k.load(ctx, newest); err != nil {
		return done, err
	}
	for more := true; more; {
		if more, err = k.look(ctx); err != nil {
			return done, err
		}
		if err := k.fold(ctx, backup.Minute, &done); err != nil {
			return done, err
		}
	}
	if err := k.fold(ctx, backup.Hour, &done); err != nil {
		return done, err
	}
	return done, k.images(ctx, &done)
}

// look reads the manifests of steps of which only the sequence is known, some at
// a time; it reports whether there are more.
func (k *Keeper) look(ctx context.Context) (more bool, err error) {
	var unknown []int
	for i := range k.line {
		if !k.line[i].known {
			unknown = append(unknown, i)
		}
	}
	now := unknown[:min(len(unknown), lookAhead)]
	s := read.Ahead(ctx, len(now), func(ctx context.Context, i int) (*read.Link, error) {
		return k.reader.Manifest(ctx, k.line[now[i]].Last)
	})
	defer s.Close()
	for _, i := range now {
		l, err := s.Next()
		if err != nil {
			return false, err
		}
		k.line[i].Time, k.line[i].known, k.line[i].base = l.Time, true, l.IsImage()
	}
	return len(unknown) > len(now), nil
}

// fold replaces the steps of each window that is over by one of the level.
func (k *Keeper) fold(ctx context.Context, level int, done *Compacted) error {
	var line []span
	rest := k.line
	for len(rest) > 0 {
		group := window(rest, level)
		if len(group) > 1 && len(group) < len(rest) && rest[len(group)].known {
			merged, err := k.merge(ctx, group, level, done)
			if err != nil {
				k.line = append(line, rest...)
				return err
			}
			line = append(line, merged)
		} else {
			line = append(line, group...)
		}
		rest = rest[len(group):]
	}
	k.line = line
	return nil
}

// window is the run of steps at the beginning that lie in one window and below a
// level; at least one step. Bases and images stand alone.
func window(line []span, level int) []span {
	if !foldable(line[0], level) {
		return line[:1]
	}
	n := 1
	for n < len(line) && foldable(line[n], level) && same(line[0].Time, line[n].Time, level) {
		n++
	}
	return line[:n]
}

func foldable(s span, level int) bool { return s.known && !s.base && s.Level < level }

func same(a, b time.Time, level int) bool {
	return a.Truncate(windows[level]).Equal(b.Truncate(windows[level]))
}

// images makes a new image of each epoch whose last one has gone far enough. The
// line then begins with the last.
func (k *Keeper) images(ctx context.Context, done *Compacted) error {
	for i := 0; i < len(k.line); {
		stretch := epochOf(k.line[i:])
		over := stretch
		if i+len(stretch) == len(k.line) {
			over = finished(stretch)
		}
		if worthImage(over) {
			merged, err := k.merge(ctx, over, backup.Image, done)
			if err != nil {
				return err
			}
			k.line[i+len(over)-1] = merged
			k.line = append(k.line[:i], k.line[i+len(over)-1:]...)
			stretch = stretch[:len(stretch)-len(over)+1]
		}
		i += len(stretch)
	}
	k.line = lastEpoch(k.line)
	return nil
}

// epochOf is the run of steps at the beginning up to the next base.
func epochOf(line []span) []span {
	n := 1
	for n < len(line) && !line[n].base {
		n++
	}
	return line[:n]
}

func lastEpoch(line []span) []span {
	for i := len(line) - 1; i > 0; i-- {
		if line[i].base || line[i].Level == backup.Image {
			return line[i:]
		}
	}
	return line
}

// finished leaves out the steps of the newest day: it is not over.
func finished(line []span) []span {
	last := line[len(line)-1]
	n := len(line)
	for n > 0 && (!line[n-1].known || same(line[n-1].Time, last.Time, backup.Image)) {
		n--
	}
	return line[:n]
}

func worthImage(steps []span) bool {
	if len(steps) < 2 || !steps[0].base && steps[0].Level != backup.Image {
		return false
	}
	age := steps[len(steps)-1].Time.Sub(steps[0].Time)
	return len(steps) > imageLinks || age >= imageOldest
}
