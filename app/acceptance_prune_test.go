package app_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// locked makes a bucket whose objects can be locked, and gives the URL of a target in it.
func (b *bucket) locked(t testing.TB) string {
	t.Helper()
	b.name = "vaulted"
	client, err := minio.New(b.addr, &minio.Options{Creds: credentials.NewStaticV4(b.access, b.secret, ""), Region: "us-east-1"})
	if err == nil {
		err = client.MakeBucket(t.Context(), b.name, minio.MakeBucketOptions{ObjectLocking: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.url() + "&versions=true"
}

// objects lists what the bucket has of one kind of a store.
func (b bucket) objects(t testing.TB, store, kind string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(b.dir, "root", b.name, "holdfast", "t", store, kind, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// prunedStore is a tenant whose snapshots of each day are known.
type prunedStore struct {
	slug, id string
	admin    *rest
	seqs     []int64 // one of each day, each with one record more
}

const (
	prunedKept = 2
	pruned     = `"every_seconds":0,"drill_every_days":0,"retention":{"all_hours":0,"last":0,"hourly":0,"daily":2,"weekly":0,"monthly":0,"yearly":0}`
)

// TestPruneAndLocks lets days of snapshots go by in a real bucket with object lock: after
// a drill what the policy does not keep goes, everything kept still restores, what is
// locked stays and is told, and so does a lock that outlives the promise of erasure.
func TestPruneAndLocks(t *testing.T) {
	t.Parallel()
	sequential(t)
	s3 := startS3(t)
	s := newServer(t)
	s.bin = moved
	s.env = append(append(s.env, "HOLDFAST_CLOCK="+s.clock()), s3.env()...)
	s.start()
	free, held := s.prunable("free", `{`+pruned+`}`), s.prunable("held", `{`+pruned+`,"erasure_horizon_days":7,"lock":{"mode":"compliance","days":30}}`)
	s.must("target", "add", "far", s3.locked(t)) // with the policies set: before, nothing would be locked
	both := []*prunedStore{free, held}
	const day = 24 * time.Hour
	for _, ahead := range []time.Duration{0, day, 9 * day, 10 * day} { // an image is made after a week
		s.pass(ahead)
		for _, p := range both {
			s.shipDay(p)
		}
	}
	for _, p := range both {
		s3.awaitImage(t, p.id)
		s.must("drill", p.slug)
		s.must("snapshot", "prune", p.slug)
		if len(s3.objects(t, p.id, "prune")) == 0 {
			t.Errorf("%s: nothing is condemned", p.slug)
		}
		if len(s3.firstPages(t, p.id)) == 0 {
			t.Errorf("%s: its base went before the grace was over", p.slug)
		}
	}
	s.pass(11*day + time.Hour)
	for _, p := range both {
		s.must("snapshot", "prune", p.slug) // unless the clock was faster
		s.keptPointsRestore(p)
	}
	if left := s3.firstPages(t, free.id); len(left) > 0 {
		t.Errorf("the first base is still there: %v", left)
	}
	if len(s3.firstPages(t, held.id)) == 0 {
		t.Error("locked objects are gone")
	}
	if n := s.swept("free", "locked"); n != 0 {
		t.Errorf("%d objects without a lock are told as locked", n)
	}
	if swept, locked := s.swept("free", "swept"), s.swept("held", "locked"); swept == 0 || locked == 0 {
		t.Errorf("the log tells of %d deleted and %d locked objects", swept, locked)
	}
	if d := s.cli("doctor"); !strings.Contains(d.stdout, "locked for 30 days, but the policy promises that erased data is gone after 7") {
		t.Errorf("the doctor does not tell of the lock beyond the horizon:\n%s", d.stdout)
	}
}

func (s *server) prunable(slug, policy string) *prunedStore {
	s.t.Helper()
	p := &prunedStore{slug: slug, admin: s.filled(slug, 50)}
	p.id = answer[struct{ ID string }](s, "tenant", "show", slug).ID + "/prod"
	s.ok(policy, "snapshot", "policy", slug, "--stdin")
	return p
}

func (s *server) shipDay(p *prunedStore) {
	s.t.Helper()
	p.admin.want(200, "POST", records("items"), map[string]any{"name": "daily", "n": len(p.seqs)})
	p.seqs = append(p.seqs, answer[struct{ Seq int64 }](s, "snapshot", "now", p.slug).Seq)
}

// keptPointsRestore restores what the policy keeps, and not what it does not.
func (s *server) keptPointsRestore(p *prunedStore) {
	s.t.Helper()
	for i := len(p.seqs) - prunedKept; i < len(p.seqs); i++ {
		as := fmt.Sprintf("%s-%d", p.slug, i)
		got := answer[struct{ Records int }](s, "restore", p.slug, "--as", as, "--sequence", fmt.Sprint(p.seqs[i]))
		if got.Records != 50+i+1 {
			s.t.Errorf("%s as of snapshot %d has %d records, want %d", p.slug, p.seqs[i], got.Records, 50+i+1)
		}
	}
	if d := s.cli("restore", p.slug, "--as", "nothing", "--sequence", fmt.Sprint(p.seqs[0])); d.code == 0 || !strings.Contains(d.stderr, "pruned") {
		s.t.Errorf("%s: a point that was given up: %d %s", p.slug, d.code, d.stderr)
	}
	if out := answer[struct{ OK bool }](s, "snapshot", "verify", p.slug); !out.OK {
		s.t.Errorf("%s: %s", p.slug, s.must("snapshot", "verify", p.slug))
	}
}

// swept adds up what the prunes in a tenant's log tell.
func (s *server) swept(slug, what string) (sum int) {
	s.t.Helper()
	for line := range strings.SplitSeq(s.must("audit", "list", "--tenant", slug, "--last", "200", "--json"), "\n") {
		var e struct{ Detail map[string]string }
		if !strings.Contains(line, "snapshot.prune") {
			continue
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.t.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscan(e.Detail[what], &n); err == nil {
			sum += n
		}
	}
	return sum
}

// firstPages are the pages of the chain's first snapshot.
func (b bucket) firstPages(t testing.TB, store string) []string {
	t.Helper()
	var first []string
	for _, name := range b.objects(t, store, "pages") {
		if strings.HasPrefix(filepath.Base(name), "0000000000000001-") {
			first = append(first, name)
		}
	}
	return first
}

// awaitImage waits until the keeper has made an image of the chain.
func (b bucket) awaitImage(t testing.TB, store string) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, name := range b.objects(t, store, "merged") {
			if parts := strings.Split(filepath.Base(name), "-"); len(parts) == 4 && parts[2] == "3" {
				return
			}
		}
	}
	t.Fatalf("no image of %s: %v", store, b.objects(t, store, "merged"))
}
