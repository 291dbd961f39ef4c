package chain_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/backup/backuptest"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/backup/objects/gateway"
	"holdfast/backup/restore"
	"holdfast/data"
)

// TestMain runs as the child that is killed where the test asks for it.
func TestMain(m *testing.M) {
	if os.Getenv("HOLDFAST_SHIP_URL") != "" {
		fmt.Println("failed", shipForever())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const killPages = 4200 // two parts for the base, so that kills fall between objects

// live is a database whose every page follows from its age, so that what is
// restored tells how old it is and whether it is of one moment.
func live(age int) (*backuptest.Pages, *backuptest.Files) {
	pages, files := backuptest.NewPages(), backuptest.NewFiles()
	for pgno := range uint32(killPages) {
		pages.Write(pgno+1, killPage(pgno+1, age))
	}
	pages.Write(1, killPage(1, age))
	for i := max(0, age-3); i <= age; i++ {
		files.Set(fmt.Sprintf("f/%d", i), fmt.Sprint("content of ", i))
	}
	return pages, files
}

// killPage changes a page every few ages, page 1 at each.
func killPage(pgno uint32, age int) []byte {
	if pgno > 1 {
		age -= age % (2 + int(pgno)%7)
	}
	return fmt.Appendf(nil, "%d page %d", age, pgno)
}

// shipForever ages and ships until it is killed. The age before each ship is in
// a file: the database survives the process, as a real one does, and whole.
func shipForever() error {
	c, err := openKilled()
	if err != nil {
		return err
	}
	age, _ := strconv.Atoi(string(readAge()))
	for {
		age++
		if err := writeAge(age); err != nil {
			return err
		}
		pages, files := live(age)
		if _, err := c.Ship(context.Background(), pages, files, data.Position{Incarnation: "i", Sequence: int64(age)}); err != nil {
			return err
		}
		fmt.Println("shipped", age)
	}
}

// writeAge renames: a kill between truncating and writing would leave no age,
// and a database does not go back to its beginning either.
func writeAge(age int) error {
	path := os.Getenv("HOLDFAST_SHIP_AGE")
	if err := os.WriteFile(path+".new", []byte(strconv.Itoa(age)), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func readAge() []byte {
	b, _ := os.ReadFile(os.Getenv("HOLDFAST_SHIP_AGE"))
	return b
}

func openKilled() (*chain.Chain, error) {
	target, err := objects.Open(os.Getenv("HOLDFAST_SHIP_URL"), objects.Credentials{
		AccessKey: os.Getenv("HOLDFAST_SHIP_ACCESS"), SecretKey: os.Getenv("HOLDFAST_SHIP_SECRET"),
	})
	if err != nil {
		return nil, err
	}
	return chain.New(chain.Config{Target: target, Store: store, Keys: backuptest.NewKeys("seed"), Staging: os.Getenv("HOLDFAST_SHIP_DIR")})
}

// TestKill kills a shipping process at any moment. Every snapshot that it
// reported can be restored, the chain is whole, and the next process goes on.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many processes")
	}
	t.Run("dir", func(t *testing.T) { killed(t, 20, "file://"+t.TempDir(), objects.Credentials{}) })
	t.Run("s3", func(t *testing.T) {
		s := gateway.Start(t)
		killed(t, 6, s.URL("kill"), s.Credentials)
	})
}

func killed(t *testing.T, times int, url string, c objects.Credentials) {
	env := append(os.Environ(), "HOLDFAST_SHIP_URL="+url, "HOLDFAST_SHIP_ACCESS="+c.AccessKey, "HOLDFAST_SHIP_SECRET="+c.SecretKey,
		"HOLDFAST_SHIP_DIR="+t.TempDir(), "HOLDFAST_SHIP_AGE="+t.TempDir()+"/age")
	target := openTarget(t, url, c)
	last := 0
	// A slow machine may kill them all before the first report: then go on a while.
	for i := 0; i < times || last == 0 && i < 10*times; i++ {
		last = max(last, killOnce(t, env, 1+i/times))
		cfg := restore.Config{Source: target, Store: store, Keys: backuptest.NewKeys("seed"), Scratch: t.TempDir()}
		if last == 0 {
			continue // killed before the first one
		}
		sink := backuptest.NewCopied()
		if _, err := restore.Run(t.Context(), cfg, sink); err != nil {
			t.Fatal(err)
		}
		age, _ := strconv.Atoi(strings.Fields(string(sink.Image[0]))[0])
		if age < last {
			t.Fatalf("snapshot %d was reported, %d is restored", last, age)
		}
		pages, files := live(age)
		compare(t, sink, pages.Copy(), files.Copy())
	}
	rep, err := restore.Verify(t.Context(), restore.Config{Source: target, Store: store, Keys: backuptest.NewKeys("seed")})
	if err != nil || !rep.OK || rep.Epochs != 1 {
		t.Fatalf("verify: %+v, %v", rep, err)
	}
	t.Logf("%d snapshots, reported up to age %d, %d objects left over", rep.Snapshots, last, len(rep.Leftover))
}

// killOnce runs a child for a while, the longer the slower, and returns the last age
// that it reported.
func killOnce(t *testing.T, env []string, slower int) (last int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = env
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Duration(slower*(40+rand.IntN(500)))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		if word != "shipped" {
			t.Errorf("the child says: %s", lines.Text())
		}
		last, _ = strconv.Atoi(rest)
	}
	_ = cmd.Wait()
	return last
}
