package app

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"holdfast/app/edge"
)

func TestBadAddress(t *testing.T) {
	for _, addr := range []string{"nonsense", "127.0.0.1:none", "127.0.0.1:123456"} {
		var out, said bytes.Buffer
		dir := t.TempDir()
		code := Main(t.Context(), []string{"serve", "--addr", addr, "--data", dir + "/data", "--key-file", dir + "/key"}, strings.NewReader(""), &out, &said)
		if code != exitUsage || !strings.Contains(said.String(), "want HOST:PORT") {
			t.Errorf("%s: exit %d, %s", addr, code, said.String())
		}
	}
}

// TestPlainHTTPIsAgainstPolicy opens no appliance: its stores would take this
// process's HTTP client, which then reaches no loopback, away from the tests after it.
func TestPlainHTTPIsAgainstPolicy(t *testing.T) {
	if got := exitCode(fmt.Errorf("serve: %w", edge.ErrInsecure)); got != exitRefused {
		t.Errorf("got %d", got)
	}
}

func TestProblemIsSaidOnce(t *testing.T) {
	p := &problem{Detail: "name: is empty"}
	p.Errors = append(p.Errors, struct {
		Field   string `json:"field"`
		Message string `json:"message"`
	}{"name", "is empty"})
	if got := p.Error(); got != "name: is empty" {
		t.Errorf("got %q", got)
	}
	p.Detail = "It is wrong."
	if got := p.Error(); got != "It is wrong.; name: is empty" {
		t.Errorf("got %q", got)
	}
}
