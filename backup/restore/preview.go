package restore

import (
	"context"
	"time"

	"holdfast/backup"
	"holdfast/backup/read"
	"holdfast/data"
)

// Preview says what a restore will do, before anything is written. Sizes are in
// bytes.
type Preview struct {
	Sequence int64
	Time     time.Time
	Position data.Position
	Links    int   // manifests, merged or not, that lead to the snapshot
	Database int64 // that the sink is going to hold
	Files    int64 // content of all files, if all are wanted
	Scratch  int64 // at most, in Config.Scratch and Config.Resume
	Fetch    int64 // of manifests' objects; content comes on top
}

// Look finds what Run would restore, without restoring it. It reads manifests
// alone. Errors are Run's.
func Look(ctx context.Context, c Config) (Preview, error) {
	r, err := newReader(c)
	if err != nil {
		return Preview{}, err
	}
	links, err := r.pick(ctx)
	if err != nil {
		return Preview{}, err
	}
	return r.preview(links), nil
}

func (r *reader) preview(links []*read.Link) Preview {
	last := links[len(links)-1]
	p := Preview{
		Sequence: last.Sequence, Time: last.Time, Position: last.Position, Links: len(links),
		Database: int64(last.Pages.Total) * data.PageSize, Files: last.Files.Bytes,
	}
	for i, l := range links {
		p.Fetch += l.Bytes()
		if i > 0 {
			p.Scratch += overlaid(l)
		}
	}
	if r.cfg.Resume != "" {
		p.Scratch += p.Fetch + p.Files
	}
	return p
}

// overlaid is an upper bound of what a link adds to the overlay.
func overlaid(l *read.Link) (n int64) {
	for _, ref := range l.Objects {
		if ref.Kind == backup.Pages {
			n += backup.PagesPerPart * read.SlotSize
		}
	}
	if l.Level == 0 {
		n = min(n, int64(l.Pages.Changed)*read.SlotSize)
	}
	return min(n, int64(l.Pages.Total)*read.SlotSize)
}

// Meter makes a rate and the time that is left of what Progress tells. The zero
// Meter is ready; it is not safe for concurrent use.
type Meter struct {
	start, last time.Time
	done        int64
	rate        float64
}

// meterSmooth is how much a new second counts against those before.
const meterSmooth = 0.2

// At takes what is done of how much at a moment, and returns bytes per second
// and the time left: 0 while nothing can be told.
func (m *Meter) At(now time.Time, done, of int64) (perSecond float64, left time.Duration) {
	if m.start.IsZero() {
		m.start, m.last, m.done = now, now, done
	}
	if span := now.Sub(m.last); span >= time.Second {
		fresh := float64(done-m.done) / span.Seconds()
		if m.rate == 0 {
			m.rate = fresh
		}
		m.rate += (fresh - m.rate) * min(1, meterSmooth*span.Seconds())
		m.last, m.done = now, done
	}
	if m.rate <= 0 {
		return 0, 0
	}
	return m.rate, time.Duration(float64(of-done) / m.rate * float64(time.Second))
}
