package edge

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func viaSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return DialSocket(ctx, path) }}}
}

func TestSocketKnowsItsPeer(t *testing.T) {
	for name, dir := range map[string]string{
		"short": "s", "longer than an address": strings.Repeat("long-name-", 12),
	} {
		path := filepath.Join(t.TempDir(), dir, "holdfast.sock")
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, nil, 0o644)) // left by a server that died
		r := start(t, Config{Handlers: handlers(), Socket: path})
		info, err := os.Stat(path)
		must(t, err)
		equal(t, name+" mode", info.Mode().Perm(), 0o600)
		resp, err := viaSocket(path).Get("http://holdfast/api/v1/session")
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		_ = resp.Body.Close()
		equal(t, name, string(body), fmt.Sprintf("api host:%d /api/v1/session", os.Getuid()))
		must(t, r.stop())
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: the socket is still there: %v", name, err)
		}
	}
}

func TestWhoIsAdmitted(t *testing.T) {
	for _, c := range []struct {
		peer, own int
		want      bool
	}{{1000, 1000, true}, {0, 1000, true}, {1001, 1000, false}, {1000, 0, false}, {0, 0, true}} {
		equal(t, fmt.Sprint(c.peer, " at ", c.own), admitted(c.peer, c.own), c.want)
	}
}

func TestOnlyTheSocketMakesHostActors(t *testing.T) {
	r := start(t, Config{Handlers: handlers()})
	_, body, _ := r.get(t, "http://127.0.0.1/api/v1/session")
	equal(t, "over TCP", body, "api system /api/v1/session")
}
