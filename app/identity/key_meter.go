package identity

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
)

// Bounds of a key's rate, in requests a minute. The default is far beyond what a
// program needs that behaves: it stops one that runs away.
const (
	DefaultKeyRate = 600_000
	MaxKeyRate     = 6_000_000
	rateWindow     = time.Minute
)

// ExpiresHeader tells on each answer to a key when it ends (RFC 3339).
const ExpiresHeader = "Holdfast-Key-Expires"

// Quota is what is left of a key's rate.
type Quota struct {
	Limit int           // requests in a window of a minute
	Left  int           // in the running one
	Reset time.Duration // until the next one
}

func (q Quota) seconds() int { return int((q.Reset + time.Second - 1) / time.Second) }

// headers are those of draft-ietf-httpapi-ratelimit-headers.
func (q Quota) headers() (policy, left string) {
	policy = `"minute";q=` + strconv.Itoa(q.Limit) + ";w=60"
	return policy, `"minute";r=` + strconv.Itoa(q.Left) + ";t=" + strconv.Itoa(q.seconds())
}

// Headers tell a key's program how much of its rate is left, and when the key ends.
func (k KeyIdentity) Headers(h http.Header) {
	policy, left := k.Quota.headers()
	h.Set("RateLimit-Policy", policy)
	h.Set("RateLimit", left)
	h.Set(ExpiresHeader, k.Expires.Format(time.RFC3339))
}

// errRate is a 429 that says when to come again.
func errRate(q Quota) error {
	policy, left := q.headers()
	seconds := strconv.Itoa(q.seconds())
	return api.Errorf(http.StatusTooManyRequests, "key-rate", "The API key may send %d requests a minute. Try again in %s seconds.", q.Limit, seconds).
		WithHeader("Retry-After", seconds).WithHeader("RateLimit-Policy", policy).WithHeader("RateLimit", left)
}

// meter is what is counted of one key, in memory: its requests in the running
// minute, and its last use.
type meter struct {
	mu      sync.Mutex
	began   time.Time
	spent   int
	used    int64 // milliseconds
	address string
	unsaved bool
}

// meter finds a key's, or makes it.
func (c *keyCache) meter(id string) *meter {
	if m, ok := c.meters.Load(id); ok {
		return m.(*meter)
	}
	m, _ := c.meters.LoadOrStore(id, &meter{})
	return m.(*meter)
}

// take counts one request. A 429 when there is none left in this minute; that
// counts as a use of the key all the same.
func (m *meter) take(now time.Time, limit int, from string) (Quota, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if age := now.Sub(m.began); age < 0 || age >= rateWindow { // the clock may have been set back
		m.began, m.spent = now, 0
	}
	m.used, m.unsaved = millis(now), true
	if m.address != from {
		m.address = from
	}
	q := Quota{Limit: limit, Left: max(0, limit-m.spent-1), Reset: m.began.Add(rateWindow).Sub(now)}
	if m.spent >= limit {
		return q, errRate(q)
	}
	m.spent++
	return q, nil
}

// last is when and from where the key was last used; 0 if not since the start.
func (m *meter) last() (used int64, address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used, hostOf(m.address)
}

// hostOf leaves the port out.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// saved says that the table has the use, and whether the meter is at rest.
func (m *meter) saved(used int64, now time.Time) (rests bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used == used {
		m.unsaved = false
	}
	return !m.unsaved && now.Sub(m.began) >= rateWindow
}

// use is one key's last use.
type use struct {
	id      string
	at      int64
	address string
}

// uses are the last ones of all keys that have a meter.
func (c *keyCache) uses() (all []use) {
	c.meters.Range(func(id, m any) bool {
		at, address := m.(*meter).last()
		all = append(all, use{id.(string), at, address})
		return true
	})
	return all
}

// saveLastUsed writes down when keys were last used, and forgets meters at rest.
func (s *Service) saveLastUsed(ctx context.Context) error {
	uses := s.keys.uses()
	if len(uses) == 0 {
		return nil
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		for _, u := range uses {
			if _, err := tx.ExecContext(ctx, `UPDATE api_keys SET last_used = ?, last_address = ? WHERE id = ? AND last_used < ?`, u.at, u.address, u.id, u.at); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store last use of keys: %w", err)
	}
	for _, u := range uses {
		if s.keys.meter(u.id).saved(u.at, s.now()) {
			s.keys.meters.Delete(u.id)
		}
	}
	return nil
}
