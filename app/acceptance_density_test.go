package app_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/cryptfs"
	"holdfast/data/keys"
	"holdfast/data/system"
)

var (
	tenants  = flag.Int("holdfast.tenants", 120, "this many tenants in the density test, each a store of 1 MiB")
	opened   = flag.Int("holdfast.open", 0, "open this many of them; a twentieth where it is 0")
	watched  = flag.Duration("holdfast.watch", 0, "see what the idle server's processor time is over so long")
	budgeted = flag.Int64("holdfast.budget", 1<<30, "the memory budget of open stores in bytes")
)

// TestDensity has many tenants on one host, each a real store with three collections
// and 1 MiB: finding them, opening some in random order, memory, descriptors, and
// what the server does when nobody asks for anything. The figures of a release:
//
//	go test ./app -run TestDensity -v -timeout 2h -holdfast.tenants 10000 -holdfast.open 500 -holdfast.watch 1m
func TestDensity(t *testing.T) {
	sequential(t)
	if testing.Short() {
		t.Skip("takes seconds")
	}
	n, open := *tenants, *opened
	if open == 0 {
		open = max(n/20, 10)
	}
	s := startServer(t)
	began := time.Now()
	s.manyTenants(n)
	t.Logf("%d tenants made in %s", n, time.Since(began).Round(time.Second))
	s.args = append(s.args, "--memory-budget", strconv.FormatInt(*budgeted, 10))
	s.start()
	t.Logf("start: ready in %d ms", s.ready.Milliseconds())
	s.looksForTenants(n)
	s.idles("no store open")
	before := s.rss(t)
	took := s.opensStores(rand.Perm(n)[:open])
	after := s.rss(t)
	t.Logf("cold open of %d, first answer: p50 %s, p99 %s, worst %s; RSS %d MiB before, %d MiB after (%d KiB each); %d descriptors",
		open, took.of(50), took.of(99), took.of(100), before>>20, after>>20, (after-before)/int64(open)>>10, s.descriptors())
	if after-before > *budgeted {
		t.Errorf("%d bytes for open stores, budget %d", after-before, *budgeted)
	}
	s.idles(fmt.Sprint(open, " stores open"))
	s.idles(fmt.Sprint(open, " stores open, connections at rest"))
	if *watched > 0 {
		t.Logf("RSS %d MiB, %d descriptors", s.rss(t)>>20, s.descriptors())
	}
	// Those that were opened first answer still, whether or not they were closed.
	s.opensStores(rand.Perm(n)[:10])
}

func slugOf(i int) string { return fmt.Sprintf("customer-%05d", i) }

// manyTenants makes a tenant in the usual way and seals its databases anew for each
// of the others, with their keys and rows; the server is stopped then.
func (s *server) manyTenants(n int) {
	seed := s.seedTenant()
	id := data.StoreID{Tenant: answer[struct{ ID string }](s, "tenant", "show", seed).ID, Environment: data.Prod}
	s.stop()
	ring := s.ring()
	image := map[string][][]byte{}
	for _, name := range []string{"data.db", "auxiliary.db"} {
		image[name] = s.pagesOf(ring, id, name)
	}
	s.t.Logf("data.db has %d KiB", len(image["data.db"])*4)
	ids := make([]data.StoreID, n)
	for i := range ids {
		ids[i] = data.StoreID{Tenant: system.NewID(), Environment: data.Prod}
	}
	s.register(ring, ids)
	work := make(chan data.StoreID)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for id := range work {
				if err := s.sealAs(ring, id, image); err != nil {
					s.t.Error(err)
				}
			}
		})
	}
	var owners []keys.Owner
	for _, id := range ids {
		owners = append(owners, keys.Owner(id.String()))
	}
	if err := ring.AddMany(owners, keys.Pages, keys.Files, keys.Segments, keys.Personal, keys.Fields); err != nil {
		s.t.Fatal(err)
	}
	for _, id := range ids {
		work <- id
	}
	close(work)
	wg.Wait()
}

// seedTenant has three collections that anybody may list, 1 MiB with the feed.
func (s *server) seedTenant() (slug string) {
	slug = "seed"
	s.must("tenant", "create", slug)
	file := filepath.Join(s.t.TempDir(), "rows.jsonl")
	writeItems(s.t, file, 750)
	admin := s.tenant(slug, s.newKey(slug, "admin"))
	for _, name := range []string{"items", "orders", "notes"} {
		s.must("import", slug, name, file, "--create")
		admin.want(200, "PATCH", "/api/collections/"+name, map[string]any{"listRule": ""})
	}
	return slug
}

// pagesOf reads a database of a store that is not open.
func (s *server) pagesOf(ring *keys.Ring, id data.StoreID, name string) (pages [][]byte) {
	fs, err := cryptfs.Mount(s.sealing(ring, id))
	if err != nil {
		s.t.Fatal(err)
	}
	defer fs.Close()
	tap, err := fs.OpenTap(context.Background(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	defer tap.Close()
	tap.MarkAll()
	_, err = tap.Snapshot(context.Background(), func(_ uint32, page []byte) error {
		pages = append(pages, slices.Clone(page))
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return pages
}

func (s *server) sealing(ring *keys.Ring, id data.StoreID) cryptfs.Config {
	return cryptfs.Config{
		Dir:      filepath.Join(s.data(), "stores", id.Tenant, id.Environment),
		Identity: id.String(), Keys: ring.Source(keys.Owner(id.String()), keys.Pages),
	}
}

func (s *server) sealAs(ring *keys.Ring, id data.StoreID, image map[string][][]byte) error {
	for name, pages := range image {
		err := cryptfs.WriteDatabase(context.Background(), s.sealing(ring, id), name, uint32(len(pages)), func(n uint32, page []byte) error {
			copy(page, pages[n-1])
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// register writes the tenants' rows.
func (s *server) register(ring *keys.Ring, ids []data.StoreID) {
	db, err := system.Open(context.Background(), system.Config{Dir: s.data(), Keys: ring.Source(keys.System, keys.Pages)})
	if err != nil {
		s.t.Fatal(err)
	}
	err = db.Update(context.Background(), func(tx *sqlx.Tx) error {
		var errs []error
		for i, id := range ids {
			at := time.Now().UnixMilli()
			_, err := tx.Exec(`INSERT INTO tenants (id, slug, name, state, settled, created, created_by, changed) VALUES (?, ?, ?, 'live', 1, ?, 'host:0', ?)`,
				id.Tenant, slugOf(i), fmt.Sprintf("Customer no. %d of the density test", i), at, at)
			_, err2 := tx.Exec(`INSERT INTO environments (tenant, name, state, created) VALUES (?, ?, 'live', ?)`, id.Tenant, id.Environment, at)
			errs = append(errs, err, err2)
		}
		return errors.Join(errs...)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		s.t.Fatal(err)
	}
	s.must("accept-loss", "system", "--yes") // it was changed past the appliance
}

// times are how long each of many requests took.
type times []time.Duration

func (l times) of(percent int) time.Duration {
	slices.Sort(l)
	return l[min(len(l)-1, len(l)*percent/100)].Round(10 * time.Microsecond)
}

// measure makes requests one after the other, after one that warms up.
func (c *rest) measure(n int, path func(i int) string) (took times) {
	c.t.Helper()
	for i := range n + 1 {
		began := time.Now()
		if r := c.call("GET", path(i), nil); r.status != 200 {
			c.t.Fatal(path(i), r)
		}
		took = append(took, time.Since(began))
	}
	return took[1:]
}

// looksForTenants pages through the tenants, searches and asks for single ones.
func (s *server) looksForTenants(n int) {
	c := s.operator("density@example.org")
	for what, path := range map[string]func(int) string{
		"a page of 50":           func(i int) string { return fmt.Sprintf("/api/v1/tenants?perPage=50&page=%d", 1+i%max(1, n/50)) },
		"a page by name, back":   func(i int) string { return fmt.Sprintf("/api/v1/tenants?perPage=50&sort=-name&page=%d", 1+i%3) },
		"a search for one":       func(i int) string { return fmt.Sprintf("/api/v1/tenants?filter=customer-%05d", i*7%n) },
		"a search in names":      func(i int) string { return fmt.Sprintf("/api/v1/tenants?filter=no.+%d+of", i*7%n) },
		"a search for nothing":   func(i int) string { return fmt.Sprintf("/api/v1/tenants?filter=nobody%d", i) },
		"one tenant by its slug": func(i int) string { return "/api/v1/tenants/" + slugOf(i*13%n) },
	} {
		took := c.measure(60, path)
		s.t.Logf("%s: p50 %s, p99 %s", what, took.of(50), took.of(99))
	}
}

// opensStores asks stores for a list, each for the first time since the start.
func (s *server) opensStores(which []int) (took times) {
	c := s.guest()
	for _, i := range which {
		began := time.Now()
		r := c.call("GET", "/t/"+slugOf(i)+"/api/collections/items/records?perPage=5", nil)
		took = append(took, time.Since(began))
		if r.status != 200 || !strings.Contains(string(r.body), `"totalItems":750`) {
			s.t.Fatal(slugOf(i), r)
		}
	}
	return took
}

// idles reads what processor time a minute without requests takes.
func (s *server) idles(when string) {
	if *watched == 0 {
		return
	}
	before := s.processorTime()
	<-time.After(*watched)
	used := s.processorTime() - before
	s.t.Logf("idle, %s: %s of processor time in %s (%.2f %%)", when, used, *watched, 100*used.Seconds()/watched.Seconds())
}

// processorTime is what the server has used so far, by the kernel's ticks of 10 ms.
func (s *server) processorTime() time.Duration {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	kernel, _ := strconv.Atoi(fields[12])
	return time.Duration(user+kernel) * 10 * time.Millisecond
}

func (s *server) descriptors() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(entries)
}
