package gateway

import (
	"fmt"
	"syscall"
	"testing"
)

// Address is a free address of loopback, kept for a server that the test starts, and
// starts again, as long as the test lasts. The port is bound and nobody listens on it:
// so the system gives it to no other process, and still to a server that asks for it by
// its number, as every server in Go may.
func Address(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("keep an address: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	port, err := bind(fd)
	if err != nil {
		t.Fatalf("keep an address: %v", err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func bind(fd int) (port int, err error) {
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	return name.(*syscall.SockaddrInet4).Port, nil
}
