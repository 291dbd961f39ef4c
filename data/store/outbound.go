package store

import (
	"context"
	"crypto/hmac"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"code.dny.dev/ssrf"

	"holdfast/data"
)

// PocketBase sends everything through http.DefaultClient: its S3 calls, and what
// a tenant's settings make it fetch (OAuth2, avatars). The client belongs to the
// process, so this is the package's one piece of process-wide state: a transport
// that answers the stores' own file hosts itself and lets the rest go to public
// addresses only.
var outbound = &dispatcher{pools: map[string]*Pool{}, public: publicTransport()}

// dispatcher is the transport of http.DefaultClient.
type dispatcher struct {
	public http.RoundTripper

	mu    sync.RWMutex
	next  int
	pools map[string]*Pool
}

// join registers a pool and gives it the label of its file hosts.
func (d *dispatcher) join(p *Pool) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	label := strconv.Itoa(d.next)
	d.pools[label] = p
	return label
}

func (d *dispatcher) leave(label string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.pools, label)
}

// RoundTrip answers <pass>.<environment>.<tenant>.<pool>.files.internal from the
// store's sealed files.
func (d *dispatcher) RoundTrip(r *http.Request) (*http.Response, error) {
	name, ok := strings.CutSuffix(r.URL.Host, filesDomain)
	if !ok {
		return d.fetch(r)
	}
	pass, rest, _ := strings.Cut(name, ".")
	environment, rest, _ := strings.Cut(rest, ".")
	tenant, label, _ := strings.Cut(rest, ".")
	d.mu.RLock()
	p := d.pools[label]
	d.mu.RUnlock()
	if r.Body != nil {
		defer r.Body.Close()
	}
	if p == nil {
		return nil, fmt.Errorf("files of a store: %w", ErrClosed)
	}
	id := data.StoreID{Tenant: tenant, Environment: environment}
	if !hmac.Equal([]byte(pass), []byte(p.filesPass(id))) {
		return nil, fmt.Errorf("files of a store: %w", ErrReach)
	}
	files, err := p.treeOf(id)
	if err != nil {
		return nil, err
	}
	return files.answer(r), nil
}

// What a tenant's settings make PocketBase fetch is read into memory whole: sign-in
// answers of a few KiB, an avatar of some hundred.
const (
	maxFetched = 5 << 20
	fetchTime  = 30 * time.Second
)

// errFetched ends an answer that is too long.
var errFetched = fmt.Errorf("the answer is longer than %d bytes", maxFetched)

// fetch bounds an answer from outside in size and time, its body included.
func (d *dispatcher) fetch(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), fetchTime)
	res, err := d.public.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	res.Body = &fetched{ReadCloser: res.Body, left: maxFetched, cancel: cancel}
	return res, nil
}

type fetched struct {
	io.ReadCloser
	left   int64
	cancel context.CancelFunc
}

func (f *fetched) Read(p []byte) (int, error) {
	if f.left <= 0 {
		return 0, errFetched
	}
	n, err := f.ReadCloser.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	return n, err
}

func (f *fetched) Close() error {
	f.cancel()
	return f.ReadCloser.Close()
}

// publicTransport dials public addresses on the web's ports only; the address is
// looked at after the name was resolved. No proxy: it would dial for us.
func publicTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: ssrf.New().Safe}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, fmt.Errorf("http.DefaultClient serves the stores and reaches public addresses only: %w", err)
			}
			return conn, nil
		},
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          20,
		IdleConnTimeout:       30 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
	}
}
