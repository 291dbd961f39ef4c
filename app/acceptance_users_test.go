package app_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// TestSDKUsers signs users with second factors in by PocketBase's JavaScript SDK.
func TestSDKUsers(t *testing.T) {
	t.Parallel()
	node := program(t, "node", "the SDK runs on Node 20 or newer")
	folder := sdk(t)
	copyFile(t, filepath.Join("testdata/sdk", "users.mjs"), filepath.Join(folder, "users.mjs"))
	s := startServer(t)
	s.must("tenant", "create", "acme")
	key := answer[struct{ Key string }](s, "key", "create", "acme", "--name", "sdk", "--scope", "admin").Key
	for _, args := range [][]string{{s.tenantURL("acme"), key}, {s.url() + "/t/acme", key, "by-path"}} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, node, append([]string{"users.mjs"}, args...)...)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\nthe server:\n%s", err, out, s.out.tail(2000))
		}
		t.Logf("%s", out)
	}
}

// TestUsersFactorsLast: factors are there after a kill, and in another tenant that is
// restored from a snapshot; the store's log tells of the sign-ins.
func TestUsersFactorsLast(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("tenant", "create", "acme")
	s.must("users", "policy", "acme", "users", "--totp", "on")
	guest := s.tenant("acme", "")
	const users, own = "/api/collections/users/", "/api/v1/collections/users/"
	word := "correct horse battery"
	guest.want(200, "POST", users+"records", map[string]any{"email": "ada@example.com", "password": word, "passwordConfirm": word})
	password := map[string]any{"identity": "ada@example.com", "password": word}
	in := decoded[struct {
		Token  string
		Record struct{ ID string }
	}](guest, guest.want(200, "POST", users+"auth-with-password", password))
	ada := s.tenant("acme", in.Token)
	made := decoded[struct{ Secret string }](ada, ada.want(200, "POST", own+"totp", map[string]any{}))
	code, err := totp.GenerateCode(made.Secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	confirmed := decoded[struct {
		Meta struct{ RecoveryCodes []string }
	}](ada, ada.want(200, "POST", own+"totp/confirm", map[string]any{"code": code}))
	s.must("target", "add", "near", "file://"+t.TempDir())
	s.must("snapshot", "now", "acme")
	s.kill()
	s.start()
	s.must("restore", "acme", "--as", "copy")
	signIn := func(slug, code, with string) int {
		guest := s.tenant(slug, "")
		first := decoded[struct{ MfaID string }](guest, guest.want(401, "POST", users+"auth-with-password", password))
		return guest.call("POST", users+"auth-with-"+with, map[string]any{"mfaId": first.MfaID, "code": code}).status
	}
	for _, slug := range []string{"acme", "copy"} { // each has the codes of the moment when they parted
		if got := signIn(slug, confirmed.Meta.RecoveryCodes[0], "recovery-code"); got != 200 {
			t.Errorf("%s: a recovery code: %d", slug, got)
		}
		if got := signIn(slug, confirmed.Meta.RecoveryCodes[0], "recovery-code"); got != 400 {
			t.Errorf("%s: a used recovery code: %d", slug, got)
		}
	}
	s.must("users", "reset-factors", "acme", "users", in.Record.ID)
	s.tenant("acme", "").want(200, "POST", users+"auth-with-password", password)
	log := s.must("audit", "list", "--tenant", "acme")
	for _, action := range []string{"user.policy.set", "user.factor.add", "user.sign-in", "user.factors.reset"} {
		if !strings.Contains(log, action) {
			t.Errorf("the log does not tell of %s:\n%s", action, log)
		}
	}
}
