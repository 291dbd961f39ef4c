package gateway_test

import (
	"net"
	"testing"

	"holdfast/backup/objects/gateway"
)

// A server gets the address that is kept for it, again and again; nobody else does.
func TestAddressIsKept(t *testing.T) {
	addr := gateway.Address(t)
	for range 3 {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := net.Listen("tcp", addr); err == nil {
			_ = second.Close()
			t.Error("two servers listen on one address")
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() //nolint:errcheck // it was only held
		if l.Addr().String() == addr {
			t.Fatal("the address was given away")
		}
	}
}
