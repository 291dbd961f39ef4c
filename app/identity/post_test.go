package identity

import (
	"context"
	"regexp"
	"sync"
	"testing"
	"time"

	"holdfast/data"
)

// letterbox is a post that keeps what is sent, or is not set up.
type letterbox struct {
	mu      sync.Mutex
	off     bool
	letters []Letter
	set     time.Time // when the server was set, if not long ago
	forgot  bool      // there is none any more
	by      string
}

func (b *letterbox) Changed(context.Context) (time.Time, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.forgot {
		return time.Time{}, "", nil
	}
	if b.set.IsZero() {
		return time.UnixMilli(1), "host:0", nil
	}
	return b.set, b.by, nil
}

func (b *letterbox) gone() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.off, b.forgot = true, true
}

// servedBy has somebody set the mail server now.
func (h *house) servedBy(box *letterbox, person string) {
	box.mu.Lock()
	defer box.mu.Unlock()
	box.set, box.by = h.now(), data.Actor{Kind: data.Person, ID: person}.String()
}

func (b *letterbox) Ready(context.Context) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.off, nil
}

func (b *letterbox) Send(_ context.Context, l Letter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.letters = append(b.letters, l)
	return nil
}

// of are the letters of a kind to an address.
func (b *letterbox) of(kind, to string) (found []Letter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.letters {
		if l.Kind == kind && l.To == to {
			found = append(found, l)
		}
	}
	return found
}

// withMail gives a house a post.
func withMail(h *house) *letterbox {
	box := &letterbox{}
	h.config.Post = box
	h.config.URL = func() string { return "https://console.example" }
	must(h.t, h.Service.Close())
	h.open()
	return box
}

var tokenInLink = regexp.MustCompile(`https?://[^\s#]+#token=([A-Za-z0-9_-]{43})`)

// tokenOf is the secret of a link in a text.
func tokenOf(t testing.TB, text string) string {
	t.Helper()
	found := tokenInLink.FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no link in %q", text)
	}
	return found[1]
}
