package edge

import (
	"net"
	"testing"
)

// scripted hands out connections from given addresses.
type scripted struct {
	net.Listener
	from   []string
	closed int
}

type scriptedConn struct {
	net.Conn
	from net.Addr
	l    *scripted
}

func (c scriptedConn) RemoteAddr() net.Addr { return c.from }
func (c scriptedConn) Close() error         { c.l.closed++; return nil }

func (l *scripted) Accept() (net.Conn, error) {
	if len(l.from) == 0 {
		return nil, net.ErrClosed
	}
	addr, err := net.ResolveTCPAddr("tcp", l.from[0])
	l.from = l.from[1:]
	return scriptedConn{from: addr, l: l}, err
}

func TestOneAddressCannotTakeAllConnections(t *testing.T) {
	l := &scripted{from: []string{
		"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", // the third is one too many
		"192.0.2.2:1", "[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1", // as is the last of this network
		"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "[::1]:1",
	}}
	limited := limitCrowd(l, 2)
	var got []net.Conn
	for {
		c, err := limited.Accept()
		if err != nil {
			break
		}
		got = append(got, c)
	}
	equal(t, "accepted", len(got), 9)
	equal(t, "turned away", l.closed, 2)
	must(t, got[0].Close())
	must(t, got[0].Close()) // closed twice counts once
	l.from = []string{"192.0.2.1:4", "192.0.2.1:5"}
	if _, err := limited.Accept(); err != nil {
		t.Fatal("no room after one left")
	}
	if _, err := limited.Accept(); err == nil {
		t.Fatal("room for two after one left")
	}
}
