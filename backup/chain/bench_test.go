//go:build unix

package chain_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"

	"holdfast/backup"
	"holdfast/backup/backuptest"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/backup/objects/gateway"
	"holdfast/backup/restore"
	"holdfast/data"
)

// benchPages is the size of the database: 64 MiB, or $HOLDFAST_BENCH_MIB.
func benchPages(b *testing.B) uint32 {
	mib, err := strconv.Atoi(os.Getenv("HOLDFAST_BENCH_MIB"))
	if err != nil || mib < 1 {
		mib = 64
	}
	return uint32(mib << 20 / data.PageSize)
}

// fill writes pages that compress about as records do.
func fill(pages *backuptest.Pages, rnd *rand.Rand, pgno uint32) {
	page := make([]byte, 0, data.PageSize+100)
	for len(page) < data.PageSize-32 {
		page = fmt.Appendf(page, `{"id":"%015x","name":"record of %d","amount":%d,"note":"%x"}`, rnd.Uint64()>>4, pgno, rnd.IntN(1e6), rnd.Uint64())
	}
	pages.Write(pgno, page[:data.PageSize-32])
}

type bench struct {
	pages *backuptest.Pages
	chain *chain.Chain
	rnd   *rand.Rand
	total uint32
	conf  restore.Config

	processor float64 // seconds spent in ship
}

func newBench(b *testing.B, target backup.ObjectStore) *bench {
	b.Helper()
	keys := backuptest.NewKeys("bench")
	c, err := chain.New(chain.Config{Target: target, Store: store, Keys: keys, Staging: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	w := &bench{pages: backuptest.NewPages(), chain: c, rnd: rand.New(rand.NewPCG(1, 2)), total: benchPages(b)}
	w.conf = restore.Config{Source: target, Store: store, Keys: keys, Scratch: b.TempDir()}
	for pgno := range w.total {
		fill(w.pages, w.rnd, pgno+1)
	}
	return w
}

func (w *bench) ship(b *testing.B) chain.Result {
	before := processorTime()
	r, err := w.chain.Ship(b.Context(), w.pages, nil, data.Position{})
	if err != nil {
		b.Fatal(err)
	}
	w.processor += processorTime() - before
	return r
}

// processorTime is what this process has used, in seconds: unlike the time that
// passed it can be compared between a busy machine and an idle one.
func processorTime() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(u.Utime) + seconds(u.Stime)
}

func reportProcessor(b *testing.B, seconds float64) {
	b.ReportMetric(1000*seconds/float64(b.N), "cpu-ms/op")
}

// benchTargets runs a benchmark against memory, a folder and an S3 server on loopback.
func benchTargets(b *testing.B, fn func(b *testing.B, target func() backup.ObjectStore)) {
	b.Run("mem", func(b *testing.B) { fn(b, func() backup.ObjectStore { return objects.NewMemory() }) })
	b.Run("dir", func(b *testing.B) {
		fn(b, func() backup.ObjectStore { return mustOpen(b, "file://"+b.TempDir(), objects.Credentials{}) })
	})
	b.Run("s3", func(b *testing.B) {
		s, n := gateway.Start(b), 0
		fn(b, func() backup.ObjectStore { n++; return mustOpen(b, s.URL(fmt.Sprint("bench", n)), s.Credentials) })
	})
}

func mustOpen(b *testing.B, url string, c objects.Credentials) backup.ObjectStore {
	b.Helper()
	s, err := objects.Open(url, c)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkFirst ships a whole database.
func BenchmarkFirst(b *testing.B) {
	benchTargets(b, func(b *testing.B, target func() backup.ObjectStore) {
		var bytes int64
		var processor float64
		for range b.N {
			b.StopTimer()
			w := newBench(b, target())
			b.SetBytes(int64(w.total) * data.PageSize)
			b.StartTimer()
			bytes = w.ship(b).Bytes
			processor += w.processor
		}
		b.ReportMetric(float64(bytes), "shipped-B")
		reportProcessor(b, processor)
	})
}

// BenchmarkChanged ships after so many pages have changed.
func BenchmarkChanged(b *testing.B) {
	benchTargets(b, func(b *testing.B, target func() backup.ObjectStore) {
		w := newBench(b, target())
		w.ship(b)
		for _, n := range []int{1, 100, 10_000} {
			b.Run(fmt.Sprint(n), func(b *testing.B) { w.changed(b, n) })
		}
	})
}

func (w *bench) changed(b *testing.B, n int) {
	var bytes int64
	w.processor = 0
	for range b.N {
		b.StopTimer()
		for range n {
			fill(w.pages, w.rnd, 1+w.rnd.Uint32N(w.total))
		}
		b.StartTimer()
		bytes = w.ship(b).Bytes
	}
	b.ReportMetric(float64(bytes), "shipped-B")
	reportProcessor(b, w.processor)
}

// BenchmarkRestart ships one page when the source hands out all of them.
func BenchmarkRestart(b *testing.B) {
	w := newBench(b, objects.NewMemory())
	w.ship(b)
	w.processor = 0
	b.SetBytes(int64(w.total) * data.PageSize)
	for range b.N {
		b.StopTimer()
		fill(w.pages, w.rnd, 1+w.rnd.Uint32N(w.total))
		w.pages.MarkAll()
		b.StartTimer()
		w.ship(b)
	}
	reportProcessor(b, w.processor)
}

// BenchmarkRestore restores a whole database into nothing.
func BenchmarkRestore(b *testing.B) {
	benchTargets(b, func(b *testing.B, target func() backup.ObjectStore) {
		w := newBench(b, target())
		w.ship(b)
		b.SetBytes(int64(w.total) * data.PageSize)
		before := processorTime()
		for b.Loop() {
			if _, err := restore.Run(b.Context(), w.conf, nowhere{}); err != nil {
				b.Fatal(err)
			}
		}
		reportProcessor(b, processorTime()-before)
	})
}

// nowhere takes everything and keeps nothing.
type nowhere struct{}

func (nowhere) Pages(_ context.Context, total uint32, next func(uint32, []byte) error) error {
	page := make([]byte, data.PageSize)
	for pgno := uint32(1); pgno <= total; pgno++ {
		if err := next(pgno, page); err != nil {
			return err
		}
	}
	return nil
}

func (nowhere) File(_ context.Context, _ data.FileInfo, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
