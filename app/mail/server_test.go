package mail

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// smtpServer is a mail server in this process, which keeps what it is given.
type smtpServer struct {
	t        testing.TB
	listener net.Listener
	secure   *tls.Config // STARTTLS is offered with one
	roots    string
	direct   bool // TLS from the first byte

	mu     sync.Mutex
	answer string // to DATA's end; "": it is taken
	got    []string
	clear  int // letters that came in clear
}

func startSMTP(t testing.TB, withTLS bool) *smtpServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &smtpServer{t: t, listener: l}
	if withTLS {
		s.secure, s.roots = certificate(t)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return s
}

func (s *smtpServer) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

func (s *smtpServer) letters() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.got...)
}

// inClear is how many came without TLS.
func (s *smtpServer) inClear() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clear
}

// fromTheStart has it speak TLS from the first byte.
func (s *smtpServer) fromTheStart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.direct = true
}

func (s *smtpServer) answers(with string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = with
}

// serve speaks just enough SMTP.
func (s *smtpServer) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	s.mu.Lock()
	direct := s.direct
	s.mu.Unlock()
	if direct {
		c = tls.Server(c, s.secure)
	}
	r, secured := bufio.NewReader(c), direct
	say := func(line string) { _, _ = c.Write([]byte(line + "\r\n")) }
	say("220 test")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " "); verb {
		case "EHLO", "HELO":
			if s.secure != nil && !secured {
				say("250-test\r\n250 STARTTLS")
			} else {
				say("250-test\r\n250 AUTH PLAIN")
			}
		case "STARTTLS":
			say("220 go on")
			c = tls.Server(c, s.secure)
			r, secured = bufio.NewReader(c), true
		case "AUTH":
			say("235 welcome")
		case "DATA":
			say("354 go on")
			s.take(r, secured, say)
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (s *smtpServer) take(r *bufio.Reader, secured bool, say func(string)) {
	var text strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(line)
	}
	s.mu.Lock()
	answer := s.answer
	if answer == "" {
		s.got = append(s.got, text.String())
		if !secured {
			s.clear++
		}
		answer = "250 taken"
	}
	s.mu.Unlock()
	say(answer)
}

func certificate(t testing.TB) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	from := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, from, from, &key.PublicKey, key)
	must(t, err)
	roots := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, roots
}
