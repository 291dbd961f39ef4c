package app_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestSDK runs PocketBase's JavaScript SDK against a tenant, by the tenant's
// own host and by its path.
func TestSDK(t *testing.T) {
	t.Parallel()
	sequential(t)
	node := program(t, "node", "the SDK runs on Node 20 or newer")
	folder := sdk(t)
	s := startServer(t)
	s.must("tenant", "create", "acme")
	key := answer[struct{ Key string }](s, "key", "create", "acme", "--name", "sdk", "--scope", "admin").Key
	for name, base := range map[string]string{"host": s.tenantURL("acme"), "path": s.url() + "/t/acme"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, node, "sdk.mjs", base, key)
			cmd.Dir = folder
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s\nthe server:\n%s", err, out, s.out.tail(2000))
			}
			t.Logf("%s", out)
		})
	}
}

// theSDK is installed by the first test that asks: several do at once.
var theSDK struct {
	once sync.Once
	dir  string
}

// sdk is a folder with the SDK installed and the script in it.
func sdk(t testing.TB) string {
	t.Helper()
	theSDK.once.Do(func() { theSDK.dir = installed(t, "sdk", "sdk.mjs", "pocketbase", "eventsource") })
	if theSDK.dir == "" {
		missing(t, "the SDK is not installed")
	}
	return theSDK.dir
}

// installed is a folder with the npm packages of one below testdata and its script. It
// is kept in the cache under the hash of its lock file.
func installed(t testing.TB, name, script string, packages ...string) string {
	t.Helper()
	npm := program(t, "npm", "it comes with Node")
	from := filepath.Join("testdata", name)
	lock, err := os.ReadFile(filepath.Join(from, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	dir := filepath.Join(testCache(t), name+"-"+hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"package.json", "package-lock.json", script} {
		copyFile(t, filepath.Join(from, file), filepath.Join(dir, file))
	}
	there := func(pkg string) bool { return isFile(filepath.Join(dir, "node_modules", pkg, "package.json")) }
	if !slices.ContainsFunc(packages, func(pkg string) bool { return !there(pkg) }) {
		return dir
	}
	install := exec.Command(npm, "ci", "--no-audit", "--no-fund")
	install.Dir = dir
	if err := install.Run(); err != nil {
		missing(t, "npm ci: %v", err) // its output names the registry
	}
	return dir
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
