package app_test

import (
	"bufio"
	"io"
	"mime/quotedprintable"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// mailbox is a mail server on loopback that keeps what it is given.
type mailbox struct {
	t        testing.TB
	listener net.Listener

	mu      sync.Mutex
	letters []string
}

func startMailbox(t testing.TB) *mailbox {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mailbox{t: t, listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { m.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return m
}

func (m *mailbox) port() string {
	_, port, _ := net.SplitHostPort(m.listener.Addr().String())
	return port
}

// serve speaks just enough SMTP.
func (m *mailbox) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	say := func(line string) { _, _ = c.Write([]byte(line + "\r\n")) }
	say("220 mailbox")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " "); verb {
		case "DATA":
			say("354 go on")
			if !m.take(r) {
				return
			}
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (m *mailbox) take(r *bufio.Reader) bool {
	var text strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(line)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.letters = append(m.letters, readable(text.String()))
	return true
}

// readable is a letter with its text as it is read.
func readable(letter string) string {
	head, body, _ := strings.Cut(letter, "\r\n\r\n")
	if !strings.Contains(strings.ToLower(head), "quoted-printable") {
		return letter
	}
	text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
	if err != nil {
		return letter
	}
	return head + "\r\n\r\n" + string(text)
}

// await waits for the newest letter to an address that has the words.
func (m *mailbox) await(to, words string) string {
	m.t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if letter := m.newest(to, words); letter != "" {
			return letter
		}
	}
	m.t.Fatalf("no letter to %s says %q; there are %q", to, words, m.all())
	return ""
}

func (m *mailbox) newest(to, words string) string {
	all := m.all()
	for i := len(all) - 1; i >= 0; i-- {
		if strings.Contains(all[i], "To: <"+to+">") && strings.Contains(all[i], words) {
			return all[i]
		}
	}
	return ""
}

func (m *mailbox) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string{}, m.letters...)
}
