package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/backup/objects/gateway"
)

// server is one holdfast on a free port. Everything it may write lies in dir.
type server struct {
	t    testing.TB
	dir  string
	addr string
	args []string // further arguments of serve
	env  []string // further environment
	bin  *binary

	cmd    *exec.Cmd
	exited chan struct{}
	out    *output
	ready  time.Duration // from exec to the first 200 of /readyz, of the last start
}

// newServer prepares the folders; start runs it.
func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), addr: gateway.Address(t), out: newOutput(t), bin: usual}
	for _, dir := range []string{"home", "config", "tmp", "work"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(s.cleanUp)
	return s
}

// startServer is a running server on fresh folders.
func startServer(t testing.TB) *server {
	t.Helper()
	s := newServer(t)
	s.start()
	return s
}

// startMoved is a running server whose clock the test sets: pass lets time go by.
func startMoved(t testing.TB) *server {
	t.Helper()
	s := newServer(t)
	s.bin = moved
	s.env = append(s.env, "HOLDFAST_CLOCK="+s.clock())
	s.start()
	return s
}

func (s *server) clock() string { return filepath.Join(s.dir, "clock") }

// pass sets the server's clock this far ahead of its real one.
func (s *server) pass(ahead time.Duration) {
	s.t.Helper()
	next := s.clock() + ".new" // renamed, so that it is never read half written
	err := os.WriteFile(next, []byte(ahead.String()), 0o600)
	if err := errors.Join(err, os.Rename(next, s.clock())); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) cleanUp() {
	s.kill()
	if s.t.Failed() {
		s.t.Logf("output of the server:\n%s", s.out.tail(6000))
	}
}

func (s *server) data() string    { return filepath.Join(s.dir, "data") }
func (s *server) keyFile() string { return filepath.Join(s.dir, "config", "holdfast", "root.key") }
func (s *server) url() string     { return "http://" + s.addr }
func (s *server) port() string    { return s.addr[strings.LastIndex(s.addr, ":")+1:] }

// tenantURL is the tenant's own host; see dialLoopback.
func (s *server) tenantURL(slug string) string {
	return "http://" + slug + ".localhost:" + s.port()
}

func (s *server) environ() []string {
	in := func(name string) string { return filepath.Join(s.dir, name) }
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + in("home"), "XDG_CONFIG_HOME=" + in("config"), "TMPDIR=" + in("tmp"),
		"HOLDFAST_DATA=" + s.data(),
	}, s.env...)
}

func (s *server) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := tied(exec.CommandContext(ctx, s.bin.get(s.t), args...))
	cmd.Env = s.environ()
	cmd.Dir = filepath.Join(s.dir, "work")
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// start runs the server and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	s.launch()
	if err := s.awaitReady(); err != nil {
		s.t.Fatalf("%v; it said:\n%s", err, s.out.tail(4000))
	}
}

func (s *server) launch() {
	s.t.Helper()
	s.cmd = s.command(context.Background(), append([]string{"serve", "--addr", s.addr}, s.args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.out.file, s.out.file
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
}

func (s *server) awaitReady() error { return s.awaitStatus("/readyz") }

// awaitStatus waits until a path answers 200.
func (s *server) awaitStatus(path string) error {
	began := time.Now()
	for limit := time.After(3 * time.Minute); ; {
		if status, _ := plainGet(s.url() + path); status == http.StatusOK {
			s.ready = time.Since(began)
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended: %v", s.cmd.ProcessState)
		case <-limit:
			return errors.New("the server is not ready after three minutes")
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// direct is for loopback: http.DefaultClient belongs to the stores once a test has
// opened an appliance in this process, and reaches public addresses only.
var direct = &http.Client{Transport: &http.Transport{}}

func plainGet(url string) (status int, err error) {
	resp, err := direct.Get(url)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// kill ends the server without warning; it may have ended before.
func (s *server) kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		<-s.exited
	}
}

// stop asks it to end (SIGTERM) and returns its exit code.
func (s *server) stop() int {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(2 * time.Minute):
		s.t.Fatal("the server did not end two minutes after SIGTERM")
	}
	return s.cmd.ProcessState.ExitCode()
}

// done is how one command ended.
type done struct {
	code           int
	stdout, stderr string
}

// cli runs one command of the command line against this server's folders.
func (s *server) cli(args ...string) done { return s.cliInput("", args...) }

func (s *server) cliInput(stdin string, args ...string) done {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := s.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("holdfast %s: %v", strings.Join(args, " "), err)
	}
	return done{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs a command that has to succeed and returns what it printed.
func (s *server) must(args ...string) string {
	s.t.Helper()
	d := s.cli(args...)
	if d.code != 0 {
		s.t.Fatalf("holdfast %s: exit code %d\n%s%s", strings.Join(args, " "), d.code, d.stdout, d.stderr)
	}
	return d.stdout
}

// answer runs a command with --json that has to succeed and decodes its object.
func answer[T any](s *server, args ...string) T {
	s.t.Helper()
	out := s.must(append(args, "--json")...)
	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		s.t.Fatalf("holdfast %s --json: %v in %q", strings.Join(args, " "), err, out)
	}
	return v
}

var setupLink = regexp.MustCompile(`https?://\S*/setup#\S+\n`)

// setupURL is the link that the first start prints when it serves.
func (s *server) setupURL() string {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if link := setupLink.FindString(s.out.String()); link != "" {
			return strings.TrimSpace(link)
		}
	}
	s.t.Fatalf("no setup link in:\n%s", s.out.tail(2000))
	return ""
}

// output is what a process prints: a file, so that it is there at once. Through a pipe
// it would come some time after what the process did next.
type output struct {
	t    testing.TB
	file *os.File
}

func newOutput(t testing.TB) *output {
	t.Helper()
	path := filepath.Join(t.TempDir(), "output")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &output{t: t, file: file}
}

func (o *output) String() string {
	o.t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(o.file, 0, math.MaxInt64))
	if err != nil {
		o.t.Fatal(err)
	}
	return string(b)
}

func (o *output) tail(n int) string {
	s := o.String()
	return s[max(0, len(s)-n):]
}
