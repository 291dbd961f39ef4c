package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"holdfast/data"
)

// ErrPeer is a process of another user at the local socket.
var ErrPeer = errors.New("the local socket is for the user of the server and for root")

// ListenSocket makes the local socket, readable by its owner alone, and admits
// only processes of the same user or root. A file left by a server that died is
// replaced; that no other server lives is for the data folder's lock to say.
func ListenSocket(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", short)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the short path is not the file's
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &peerListener{l, path}, nil
}

// DialSocket connects to the local socket of a server.
func DialSocket(ctx context.Context, path string) (net.Conn, error) {
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", short)
}

// peerListener admits by the peer's user.
type peerListener struct {
	net.Listener
	path string
}

// peerConn is a connection whose peer's user is known.
type peerConn struct {
	net.Conn
	uid int
}

// Accept closes connections of other users without a word.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerOf(c)
		if err == nil && admitted(uid, os.Getuid()) {
			return &peerConn{c, uid}, nil
		}
		_ = c.Close() // it was never served
	}
}

func admitted(peer, own int) bool { return peer == own || peer == 0 }

// Close also removes the file.
func (l *peerListener) Close() error {
	err := l.Listener.Close()
	if removed := os.Remove(l.path); !errors.Is(removed, os.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}

func peerOf(c net.Conn) (int, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("peer of %T: %w", c, ErrPeer)
	}
	return peerUser(u)
}

// withPeer makes the peer's user the actor of the connection's requests.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if p, ok := c.(*peerConn); ok {
		return data.WithActor(ctx, data.Actor{Kind: data.Host, ID: strconv.Itoa(p.uid)})
	}
	return ctx
}
