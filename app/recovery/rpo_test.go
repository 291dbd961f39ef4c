package recovery

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/backup/objects/gateway"
	"holdfast/data/store"
)

var (
	rpoTime   = flag.Duration("holdfast.rpo", 0, "measure for so long how far targets lag behind writers")
	rpoStores = flag.Int("holdfast.rpo.stores", 50, "changing stores in the second run of the measurement")
	rpoWrites = flag.Int("holdfast.rpo.writes", 500, "writes a second, over all stores")
)

// TestRPO measures the lag of shipping against a real S3 server: from the oldest
// commit that a snapshot holds until the target has it whole. It prints a table.
//
//	go test ./app/recovery -run TestRPO -v -holdfast.rpo 10m -timeout 30m
func TestRPO(t *testing.T) {
	if *rpoTime == 0 {
		t.Skip("measures only with -holdfast.rpo TIME")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n| changing stores | writes a second | snapshots | lag p50 | p99 | longest |\n|---|---|---|---|---|---|\n")
	for _, n := range []int{1, *rpoStores} {
		lags, writes := measureRPO(t, n)
		slices.Sort(lags)
		at := func(p int) time.Duration { return lags[(len(lags)-1)*p/100].Round(time.Millisecond) }
		fmt.Fprintf(&b, "| %d | %.0f | %d | %v | %v | %v |\n", n, float64(writes)/rpoTime.Seconds(), len(lags), at(50), at(99), at(100))
	}
	t.Log(b.String())
}

// measureRPO gives the lags of stores that writers change evenly.
func measureRPO(t *testing.T, n int) (lags []time.Duration, writes int) {
	w := newWorld(t)
	server := gateway.Start(t)
	for i := range n {
		w.tenant(fmt.Sprintf("t%03d", i), 10)
	}
	w.begin()
	w.call("POST", "/targets", fmt.Sprintf(`{"name":"s3","url":%q,"accessKey":%q,"secretKey":%q}`,
		server.URL("rpo"), server.Credentials.AccessKey, server.Credentials.SecretKey), 201, nil)
	for i := range n {
		w.arrived(fmt.Sprintf("t%03d", i), "s3", 0)
	}
	var mu sync.Mutex
	w.ships.mu.Lock()
	w.ships.shipped = func(_ laneKey, lag time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		lags = append(lags, lag)
	}
	w.ships.mu.Unlock()
	var work sync.WaitGroup
	for i := range n {
		work.Go(func() {
			done := w.writeEvenly(fmt.Sprintf("t%03d", i), time.Duration(n)*time.Second/time.Duration(*rpoWrites))
			mu.Lock()
			defer mu.Unlock()
			writes += done
		})
	}
	work.Wait()
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(lags), writes
}

// writeEvenly writes one record after the other, each in a transaction of its own.
func (w *world) writeEvenly(slug string, every time.Duration) (n int) {
	w.with(slug, func(s *store.Store) {
		began := time.Now()
		for ; time.Since(began) < *rpoTime; n++ {
			time.Sleep(time.Until(began.Add(time.Duration(n) * every)))
			given := false
			_, err := s.Import(w.t.Context(), "notes", store.ImportOptions{}, func() (map[string]any, int, error) {
				if given {
					return nil, 0, io.EOF
				}
				given = true
				return map[string]any{"title": fmt.Sprint("write ", n)}, n, nil
			}, func(store.ImportProgress) {})
			if err != nil {
				w.t.Error(err)
				return
			}
		}
	})
	return n
}
