package cryptfs

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/data"
)

// The test binary runs itself as the process that is killed.
const (
	childDir  = "HOLDFAST_TEST_KILL_DIR"
	killCount = "HOLDFAST_TEST_KILLS" // how often, 3 if not set
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := writeUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if dir := os.Getenv(rekeyDir); dir != "" {
		if err := rekeyUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeUntilKilled prints the number of each row, and the name of each file,
// that was acknowledged.
func writeUntilKilled(dir string) error {
	ctx, keys := context.Background(), newRing("a")
	fs, err := Mount(Config{Dir: dir, Identity: "acme/prod", Keys: keys})
	if err != nil {
		return err
	}
	if _, err := fs.OpenTap(ctx, "data.db"); err != nil {
		return err
	}
	c, err := fs.connect(ctx, "data.db")
	if err != nil {
		return err
	}
	files, err := OpenFiles(filepath.Join(dir, "files"), "acme/prod", keys)
	if err != nil {
		return err
	}
	if err := c.Exec("PRAGMA cache_size=8; PRAGMA wal_autocheckpoint=60; CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x, n INTEGER DEFAULT 0)"); err != nil {
		return err
	}
	for i := 0; ; i++ {
		spilled := "UPDATE t SET n=n+1 WHERE id>(SELECT max(id)-200 FROM t);"
		if err := c.Exec("BEGIN IMMEDIATE; INSERT INTO t(x) VALUES(hex(randomblob(300)));" + spilled + spilled + "COMMIT"); err != nil {
			return err
		}
		fmt.Println("row", c.LastInsertRowID())
		if i%5 == 0 {
			name := fmt.Sprintf("c/r/%d", c.LastInsertRowID())
			if _, err := files.Put(ctx, data.FileInfo{Name: name}, strings.NewReader(strings.Repeat(name, 10000))); err != nil {
				return err
			}
			fmt.Println("file", name)
		}
		if i%7 == 0 {
			name := fmt.Sprintf("c/parts/%d", c.LastInsertRowID())
			if err := uploadInParts(ctx, files, name, strings.Repeat(name, 10000)); err != nil {
				return err
			}
			fmt.Println("file", name)
		}
	}
}

func uploadInParts(ctx context.Context, files *Files, name, content string) error {
	id, err := files.CreateUpload(ctx, data.FileInfo{Name: name})
	if err != nil {
		return err
	}
	var parts []int
	for len(content) > 0 {
		n := min(len(content), chunkSize+7)
		parts = append(parts, len(parts)+1)
		if _, err := files.PutPart(ctx, id, len(parts), strings.NewReader(content[:n])); err != nil {
			return err
		}
		content = content[n:]
	}
	_, err = files.Complete(ctx, id, parts)
	return err
}

func TestKill(t *testing.T) {
	kills := 3
	if n, err := strconv.Atoi(os.Getenv(killCount)); err == nil {
		kills = n
	}
	dir := t.TempDir()
	for range kills {
		row, files := killOnce(t, dir, 5+rand.IntN(60))
		checkAfterKill(t, dir, row, files)
	}
}

// killOnce runs the child until it has printed so many lines.
func killOnce(t *testing.T, dir string, lines int) (row string, files []string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		switch kind, what, _ := strings.Cut(scanner.Text(), " "); kind {
		case "row":
			row = what
		case "file":
			files = append(files, what)
		}
		if n == lines { // lines that were written meanwhile are read, too
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // killed
	if row == "" {
		t.Fatal("the child wrote nothing")
	}
	return row, files
}

func checkAfterKill(t *testing.T, dir, row string, names []string) {
	t.Helper()
	keys := newRing("a")
	fs := mount(t, dir, keys)
	c := connect(t, fs, "data.db")
	want(t, c, "PRAGMA integrity_check", "ok")
	want(t, c, "SELECT count(*) >= "+row+" FROM t", "1")
	want(t, c, "SELECT count(*) FROM t WHERE id <= "+row, row)
	sum := content(t, c)
	c.Close()
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	ship(t, copied, tap)
	if content(t, copied.open(t)) != sum {
		t.Fatal("the replica differs")
	}
	tap.Close()
	authenticate(t, fs, "data.db")
	if fs.Fault() != nil {
		t.Fatal(fs.Fault())
	}
	files := openFiles(t, filepath.Join(dir, "files"), keys)
	for _, name := range names {
		if got, err := read(files, name); err != nil || string(got) != strings.Repeat(name, 10000) {
			t.Fatalf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	checkLeftovers(t, files)
}

// checkLeftovers sees that what the kill cut short goes: no half file is listed, and
// uploads that nobody goes on with are swept.
func checkLeftovers(t *testing.T, files *Files) {
	t.Helper()
	all, err := files.List(context.Background(), "", "", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range all {
		if got, err := read(files, info.Name); err != nil || string(got) != strings.Repeat(info.Name, 10000) {
			t.Fatalf("%s is half a file: %d bytes, %v", info.Name, len(got), err)
		}
	}
	if n, err := files.SweepUploads(context.Background(), time.Now().Add(time.Hour)); n > 1 || err != nil {
		t.Fatalf("%d uploads were left, %v", n, err)
	}
	for _, dir := range []string{tempDir, uploadDir} {
		if left, err := os.ReadDir(filepath.Join(files.dir, dir)); len(left) > 0 || err != nil {
			t.Fatalf("%s: %v %v", dir, left, err)
		}
	}
}
