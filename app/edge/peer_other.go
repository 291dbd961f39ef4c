//go:build !linux && !darwin

package edge

import "net"

// peerUser admits nobody where the kernel cannot tell who is there.
func peerUser(*net.UnixConn) (int, error) { return 0, ErrPeer }

func shortPath(path string) (short string, done func(), err error) { return path, func() {}, nil }
