package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Edge listens and serves.
type Edge struct {
	config  Config
	streams *streams
	stall   time.Duration
	tls     *certificates // nil without domains

	main, redirect, socket net.Listener
	servers                []*http.Server
}

// New checks the configuration. Nothing listens yet. ErrInsecure.
func New(c Config) (*Edge, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	e := &Edge{config: c, streams: newStreams(), stall: stall}
	if len(c.Domains) > 0 {
		var err error
		if e.tls, err = newCertificates(c, e.mayHaveCertificate); err != nil {
			return nil, fmt.Errorf("new edge: %w", err)
		}
	}
	return e, nil
}

// Listen takes all addresses, or none. An address in use is an error that names it.
func (e *Edge) Listen(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, e.release())
		}
	}()
	var lc net.ListenConfig
	if e.main, err = lc.Listen(ctx, "tcp", e.config.Addr); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if e.config.RedirectAddr != "-" {
		if e.redirect, err = lc.Listen(ctx, "tcp", e.config.RedirectAddr); err != nil {
			return fmt.Errorf("listen for redirects: %w", err)
		}
	}
	if e.config.Socket != "" {
		if e.socket, err = ListenSocket(ctx, e.config.Socket); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
	}
	return nil
}

func (e *Edge) release() error {
	var all []error
	for _, l := range []net.Listener{e.main, e.redirect, e.socket} {
		if l != nil {
			all = append(all, l.Close())
		}
	}
	return errors.Join(all...)
}

// Addr is where the main listener is, nil before Listen.
func (e *Edge) Addr() net.Addr {
	if e.main == nil {
		return nil
	}
	return e.main.Addr()
}

// address is the address as a browser on this host would write it.
func (e *Edge) address() string {
	addr := e.config.Addr
	if e.main != nil {
		addr = e.main.Addr().String()
	}
	ap, err := netip.ParseAddrPort(addr)
	if err == nil && ap.Addr().IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", fmt.Sprint(ap.Port()))
	}
	return addr
}

// port is the main listener's as part of a URL, "" when it is the scheme's own.
func (e *Edge) port(own string) string {
	_, port, err := net.SplitHostPort(e.address())
	if err != nil || port == own {
		return ""
	}
	return ":" + port
}

// Serve serves what Listen took until the context ends, then drains: no new
// connections, event streams ended, other requests finished within Config.Drain.
func (e *Edge) Serve(ctx context.Context) error {
	if e.main == nil {
		return errors.New("serve: not listening")
	}
	failed := make(chan error, 3)
	var running sync.WaitGroup
	for s, l := range e.assemble() {
		e.servers = append(e.servers, s)
		running.Go(func() {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
		})
	}
	if e.tls != nil {
		e.tls.start(ctx, e.config)
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	err = errors.Join(err, e.drain())
	running.Wait()
	if e.tls != nil {
		e.tls.close()
	}
	return err
}

// assemble pairs each listener with its server.
func (e *Edge) assemble() map[*http.Server]net.Listener {
	all := map[*http.Server]net.Listener{}
	main := e.server(e.Handler())
	if e.tls != nil {
		main.TLSConfig = e.tls.config()
		all[main] = tls.NewListener(limitCrowd(e.main, perAddress), main.TLSConfig)
	} else {
		all[main] = limitCrowd(e.main, perAddress)
	}
	if e.redirect != nil {
		all[e.server(e.redirectHandler())] = limitCrowd(e.redirect, perAddress)
	}
	if e.socket != nil {
		s := e.server(e.SocketHandler())
		s.ConnContext = withPeer
		all[s] = e.socket
	}
	return all
}

// server has the limits on what comes before a handler runs: a header must be
// there in time and is bounded; see pace for what follows.
func (e *Edge) server(h http.Handler) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(e.config.Logger.Handler(), slog.LevelDebug),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100, SendPingTimeout: time.Minute, PingTimeout: 15 * time.Second},
	}
	s.RegisterOnShutdown(e.streams.end) // after its listener closed: a client that comes back at once must find nobody
	return s
}

// drain lets requests finish, then closes what is left.
func (e *Edge) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), e.config.Drain)
	defer cancel()
	var all sync.WaitGroup
	for _, s := range e.servers {
		all.Go(func() {
			if err := s.Shutdown(ctx); err != nil {
				e.config.Logger.Warn("requests were cut off at the end of the drain", "error", err)
				_ = s.Close() // what it says is that connections were open
			}
		})
	}
	all.Wait()
	return nil
}
