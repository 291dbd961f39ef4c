package app_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/backup/objects/gateway"
)

// TestScripts runs testdata/script: what each command does, prints and refuses.
// Beside testscript's own, a script has the commands
//
//	serve [ARG]...       start a server on this script's folders
//	serve-sealed         start one that cannot open its root key
//	shutdown, crash      end it with SIGTERM, or without warning
//	exits CODE ARG...    holdfast ARG... has to end with CODE
//	eventually ARG...    holdfast ARG... has to succeed some time
//	said REGEXP          the server's output has to match
//	keep NAME FIELD      put a field of the JSON just printed into $NAME
//	recovery-key FILE    write the recovery key that the first start printed
func TestScripts(t *testing.T) {
	t.Parallel()
	sequential(t)
	bin := filepath.Dir(holdfast(t))
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Setup:               func(env *testscript.Env) error { return setUpScript(env, bin) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": scriptServe, "serve-sealed": scriptServeSealed, "shutdown": scriptStop, "crash": scriptKill,
			"exits": scriptExits, "eventually": scriptEventually, "said": scriptSaid, "keep": scriptKeep, "recovery-key": scriptRecoveryKey,
		},
	})
}

type scriptServer struct{}

// setUpScript gives a script folders of its own and a server that is not started.
func setUpScript(env *testscript.Env, bin string) error {
	t := env.T().(testing.TB)
	s := &server{t: t, dir: env.WorkDir, addr: gateway.Address(t), out: newOutput(t), bin: usual}
	for _, dir := range []string{"home", "config", "tmp", "work"} {
		if err := os.Mkdir(filepath.Join(env.WorkDir, dir), 0o700); err != nil {
			return err
		}
	}
	env.Defer(s.kill)
	env.Values[scriptServer{}] = s
	env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
	for _, v := range s.environ()[1:] {
		name, value, _ := strings.Cut(v, "=")
		env.Setenv(name, value)
	}
	env.Setenv("DATA", s.data())
	env.Setenv("ADDR", s.addr)
	env.Setenv("URL", s.url())
	return nil
}

func serverOf(ts *testscript.TestScript) *server { return ts.Value(scriptServer{}).(*server) }

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	s := serverOf(ts)
	s.args = args
	s.launch()
	err := s.awaitReady()
	if neg != (err != nil) {
		ts.Fatalf("serve: %v; it said:\n%s", err, s.out.tail(2000))
	}
}

func scriptServeSealed(ts *testscript.TestScript, _ bool, _ []string) {
	s := serverOf(ts)
	s.launch()
	if err := s.awaitStatus("/healthz"); err != nil {
		ts.Fatalf("%v; it said:\n%s", err, s.out.tail(2000))
	}
}

func scriptRecoveryKey(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(`(?s)Recovery key.*?\n\s+([A-Z0-9-]{20,}(?:\s?[A-Z0-9-]+)*)\n`).FindStringSubmatch(serverOf(ts).out.String())
	if len(args) != 1 || found == nil {
		ts.Fatalf("no recovery key in %s", serverOf(ts).out.tail(2000))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(found[1]+"\n"), 0o600))
}

func scriptStop(ts *testscript.TestScript, _ bool, _ []string) {
	if code := serverOf(ts).stop(); code != 0 {
		ts.Fatalf("exit code %d after SIGTERM: %s", code, serverOf(ts).out.tail(2000))
	}
}

func scriptKill(ts *testscript.TestScript, _ bool, _ []string) { serverOf(ts).kill() }

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec("holdfast", args[1:]...); err != nil {
		got = exitCodeOf(err)
	}
	if got != want {
		ts.Fatalf("holdfast %s: exit code %d, want %d; stderr: %s", strings.Join(args[1:], " "), got, want, ts.ReadFile("stderr"))
	}
}

// scriptEventually is for what a backoff delays. The command reads the file code.
func scriptEventually(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		cmd := serverOf(ts).command(context.Background(), args...)
		cmd.Stdin = strings.NewReader(ts.ReadFile("code"))
		out, err := cmd.CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("holdfast %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
}

func scriptSaid(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: said REGEXP")
	}
	if matches(args[0], serverOf(ts).out.String()) == neg {
		ts.Fatalf("said %s: %s", args[0], serverOf(ts).out.tail(2000))
	}
}

func scriptKeep(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: keep NAME FIELD")
	}
	ts.Setenv(args[0], fieldOf(ts, ts.ReadFile("stdout"), args[1]))
}
