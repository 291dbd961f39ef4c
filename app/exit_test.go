package app

import (
	"bytes"
	"strings"
	"testing"
)

// TestBadAddress: wrong words are wrong use, plain HTTP that others reach is against policy.
func TestBadAddress(t *testing.T) {
	for addr, want := range map[string]struct {
		code int
		says string
	}{
		"nonsense":         {exitUsage, "want HOST:PORT"},
		"127.0.0.1:none":   {exitUsage, "want HOST:PORT"},
		"127.0.0.1:123456": {exitUsage, "want HOST:PORT"},
		"0.0.0.0:0":        {exitRefused, "plain HTTP"},
	} {
		var out, said bytes.Buffer
		dir := t.TempDir()
		code := Main(t.Context(), []string{"serve", "--addr", addr, "--data", dir + "/data", "--key-file", dir + "/key"}, strings.NewReader(""), &out, &said)
		if code != want.code || !strings.Contains(said.String(), want.says) {
			t.Errorf("%s: exit %d, %s", addr, code, said.String())
		}
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
