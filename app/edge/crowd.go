package edge

import (
	"net"
	"net/netip"
	"sync"
)

// perAddress is how many connections one address may have open at once: far more
// than any browser or office needs, far fewer than there are descriptors.
const perAddress = 512

// crowdListener closes connections of an address that has too many open. This
// host's own addresses are exempt: a proxy may stand there.
type crowdListener struct {
	net.Listener
	most int
	mu   sync.Mutex
	open map[netip.Prefix]int
}

func limitCrowd(l net.Listener, most int) net.Listener {
	return &crowdListener{Listener: l, most: most, open: map[netip.Prefix]int{}}
}

// Accept gives the next connection of an address that is not crowding.
func (l *crowdListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from, counted := origin(c.RemoteAddr())
		if !counted {
			return c, nil
		}
		if l.enter(from) {
			return &crowdConn{Conn: c, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		_ = c.Close() // it was never served
	}
}

// origin is whom a connection counts as: an IPv6 host owns its whole /64.
func origin(a net.Addr) (p netip.Prefix, counted bool) {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil || ap.Addr().Unmap().IsLoopback() {
		return p, false
	}
	addr, bits := ap.Addr().Unmap().WithZone(""), 64
	if addr.Is4() {
		bits = 32
	}
	p, err = addr.Prefix(bits)
	return p, err == nil
}

func (l *crowdListener) enter(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from] >= l.most {
		return false
	}
	l.open[from]++
	return true
}

func (l *crowdListener) leave(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from]--; l.open[from] <= 0 {
		delete(l.open, from)
	}
}

// crowdConn counts until it is closed.
type crowdConn struct {
	net.Conn
	leave func()
}

func (c *crowdConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
