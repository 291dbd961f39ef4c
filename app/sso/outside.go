package sso

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"code.dny.dev/ssrf"
)

// Bounds of what is asked of a provider. Its answers are a few KiB.
const (
	askTime   = 10 * time.Second
	maxAnswer = 1 << 20
)

var (
	// ErrNotSecure refuses to speak to a provider in clear.
	ErrNotSecure = errors.New("providers are spoken to over https only")
	errTooLong   = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
)

// outside is the two ways to providers: an operator's may be in the own network, a
// tenant's must be at a public address, so that no tenant's admin asks about hosts
// behind the appliance.
type outside struct {
	loopback bool
	own      *http.Transport
	public   *http.Transport
}

func newOutside(loopback bool) outside {
	plain := &net.Dialer{Timeout: askTime}
	guarded := &net.Dialer{Timeout: askTime, Control: ssrf.New().Safe}
	return outside{loopback: loopback, own: transport(plain.DialContext),
		public: transport(func(ctx context.Context, network, address string) (net.Conn, error) {
			if host, _, err := net.SplitHostPort(address); err == nil && loopback && isLoopback(host) {
				return plain.DialContext(ctx, network, address)
			}
			return guarded.DialContext(ctx, network, address)
		})}
}

func transport(dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
	return &http.Transport{DialContext: dial, ForceAttemptHTTP2: true, MaxIdleConns: 10, IdleConnTimeout: 30 * time.Second,
		TLSHandshakeTimeout: askTime, ResponseHeaderTimeout: askTime, MaxResponseHeaderBytes: 64 << 10}
}

func (o outside) close() {
	o.own.CloseIdleConnections()
	o.public.CloseIdleConnections()
}

// client speaks to the providers of a scope. It follows no redirect: an issuer is
// where it says it is.
func (o outside) client(scope string) *http.Client {
	t := o.public
	if scope == Appliance {
		t = o.own
	}
	return &http.Client{Timeout: askTime, Transport: bounded{t, o.loopback},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// bounded refuses http and cuts answers that do not end.
type bounded struct {
	inner    http.RoundTripper
	loopback bool
}

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if !secure(r.URL.Scheme, r.URL.Hostname(), b.loopback) {
		return nil, ErrNotSecure
	}
	resp, err := b.inner.RoundTrip(r)
	if err == nil {
		resp.Body = &short{resp.Body, maxAnswer}
	}
	return resp, err
}

// secure says whether a provider may be at an address.
func secure(scheme, host string, loopback bool) bool {
	return scheme == "https" || scheme == "http" && loopback && isLoopback(host)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// short is a body that ends.
type short struct {
	io.ReadCloser
	left int
}

func (s *short) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, errTooLong
	}
	n, err := s.ReadCloser.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}
