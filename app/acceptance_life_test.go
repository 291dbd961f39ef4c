package app_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSetup uses the setup link: once, and into a session whose cookie no other
// host can read or set.
func TestSetup(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, token, ok := strings.Cut(s.setupURL(), "#token=")
	if !ok {
		t.Fatalf("the link's token is not in its fragment: %s", s.setupURL())
	}
	first := map[string]string{"token": token, "email": "first@example.com", "name": "First", "password": password}
	status := get[struct{ SetupNeeded bool }](s.guest(), "/api/v1/status")
	if !status.SetupNeeded {
		t.Error("a new server needs no setup")
	}
	weak := map[string]string{"token": token, "email": "first@example.com", "name": "First", "password": "short"}
	s.guest().want(422, "POST", "/api/v1/setup", weak)

	owner := s.guest()
	made := owner.want(201, "POST", "/api/v1/setup", first)
	cookie := made.header.Get("Set-Cookie")
	for _, want := range []string{"__Host-holdfast=", "Path=/", "HttpOnly", "Secure", "SameSite=Strict"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie lacks %s: %s", want, cookie)
		}
	}
	me := get[struct{ Person struct{ Email string } }](owner, "/api/v1/session")
	if me.Person.Email != "first@example.com" {
		t.Errorf("signed in as %+v", me)
	}
	first["email"] = "second@example.com"
	s.guest().want(403, "POST", "/api/v1/setup", first)
	owner.want(204, "DELETE", "/api/v1/session", nil)
	owner.want(401, "GET", "/api/v1/session", nil)
	s.stop()
	s.out = newOutput(t)
	s.start()
	if s.cli("tenant", "list"); strings.Contains(s.out.String(), "#token=") {
		t.Error("a later start prints a setup link although there is an owner")
	}
	t.Logf("a later start: ready in %d ms", s.ready.Milliseconds())
}

// TestSessionEnds holds that a session survives a restart and dies with its sign-out.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	owner := s.operator("owner@example.com")
	stolen := *owner
	s.stop()
	s.start()
	owner.want(200, "GET", "/api/v1/session", nil)
	owner.want(204, "DELETE", "/api/v1/session", nil)
	stolen.want(401, "GET", "/api/v1/session", nil)
}

// TestDrain sends SIGTERM while an upload is half done: it is still answered,
// kept, and the server ends with 0.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("tenant", "create", "acme")
	admin := s.tenant("acme", s.newKey("acme", "admin"))
	makePapers(admin)
	body, half := slowUpload("slow", noise("slow"))
	answered := make(chan reply, 1)
	go func() {
		r, err := admin.send("POST", "/api/collections/papers/records", body, "Content-Type", "multipart/form-data; boundary=end")
		if err != nil {
			r.body = []byte(err.Error())
		}
		answered <- r
	}()
	<-half.reached
	for range 5 { // by then it has taken the upload in hand, too: what it has not looked at yet it may drop
		if err := s.awaitStatus("/healthz"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.refusesNew()
	close(half.goOn)
	r := <-answered
	<-s.exited
	if r.status != 200 || s.cmd.ProcessState.ExitCode() != 0 {
		t.Fatalf("the upload is answered %v; exit code %d", r, s.cmd.ProcessState.ExitCode())
	}
	s.start()
	kept := decoded[paper](admin, r)
	if got := admin.want(200, "GET", kept.path(), nil); !bytes.Equal(got.body, noise("slow")) {
		t.Error("the file is not what was uploaded")
	}
}

// refusesNew waits until no new connection is taken, or requests are turned away.
func (s *server) refusesNew() {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if status, err := plainGet(s.url() + "/readyz"); err != nil || status != http.StatusOK {
			return
		}
	}
	s.t.Error("new requests are taken on after SIGTERM")
}

// gate holds a body in its middle.
type gate struct{ reached, goOn chan struct{} }

func (g gate) Read([]byte) (int, error) {
	close(g.reached)
	<-g.goOn
	return 0, io.EOF
}

func slowUpload(title string, content []byte) (io.Reader, gate) {
	g := gate{make(chan struct{}), make(chan struct{})}
	head := "--end\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\n" + title +
		"\r\n--end\r\nContent-Disposition: form-data; name=\"file\"; filename=\"slow.bin\"\r\n\r\n"
	half := len(content) / 2
	return io.MultiReader(strings.NewReader(head), bytes.NewReader(content[:half]), g,
		bytes.NewReader(content[half:]), strings.NewReader("\r\n--end--\r\n")), g
}

// TestFullDisk fills the disk under the data folder. Writes fail and say why;
// with room again everything acknowledged is there and writes succeed.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	if err := os.Mkdir(s.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=96m,mode=0700", "tmpfs", s.data()).CombinedOutput(); err != nil {
		t.Skipf("a small disk needs the right to mount: %v %s", err, out)
	}
	t.Cleanup(func() { s.kill(); _ = exec.Command("umount", s.data()).Run() })
	s.start()
	admin := s.filled("acme", 100)
	ballast := filepath.Join(s.data(), "ballast")
	fillDisk(t, ballast, 2<<20)

	file := filepath.Join(t.TempDir(), "items.jsonl")
	writeItems(t, file, 20_000)
	d := s.cli("import", "acme", "items", file)
	if d.code == 0 {
		t.Fatal("twenty thousand rows fitted into two megabytes")
	}
	if said := strings.ToLower(d.stderr); !strings.Contains(said, "full") && !strings.Contains(said, "no space") {
		t.Errorf("the error does not say that the disk is full: %s", d.stderr)
	}
	refusal := admin.createUntilRefused(t)
	if refusal.status < 500 || !strings.Contains(strings.ToLower(string(refusal.body)), "full") {
		t.Errorf("a record on a full disk is answered %v", refusal)
	}
	before := get[page](admin, records("items", "perPage", "1")).TotalItems
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	admin.want(200, "POST", "/api/collections/items/records", map[string]any{"name": "after"})
	s.kill()
	s.settle("acme")
	if got := get[page](admin, records("items", "perPage", "1")).TotalItems; got != before+1 {
		t.Errorf("%d records, want %d", got, before+1)
	}
}

// createUntilRefused writes large records until one is refused.
func (c *rest) createUntilRefused(t *testing.T) reply {
	t.Helper()
	large := strings.Repeat("words ", 800)
	for range 5000 {
		if r := c.call("POST", "/api/collections/items/records", map[string]any{"name": "large", "text": large}); r.status != http.StatusOK {
			return r
		}
	}
	t.Fatal("five thousand large records fitted into two megabytes")
	return reply{}
}

// fillDisk leaves so many bytes free.
func fillDisk(t *testing.T, path string, leave uint64) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(path), &st); err != nil {
		t.Fatal(err)
	}
	free := st.Bavail * uint64(st.Bsize)
	if free < leave {
		t.Fatalf("only %d bytes free", free)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, zeros{}, int64(free-leave)); err != nil {
		t.Fatal(fmt.Errorf("fill the disk: %w", err))
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
