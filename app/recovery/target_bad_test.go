package recovery

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/data"
)

// answering is an S3 server that refuses every write with one answer.
func answering(t *testing.T, status int, code string) (url string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>as S3 words it</Message><BucketName>bucket</BucketName></Error>`, code)
	}))
	t.Cleanup(s.Close)
	return "s3://bucket/p?endpoint=" + s.URL + "&region=us-east-1"
}

// TestTargetSaysWhatIsWrong: what keeps a bucket from being used is told by its test, in
// words that say what to do, and stays to be read.
func TestTargetSaysWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	for code, c := range map[string]struct {
		status int
		says   string
	}{
		"RequestTimeTooSkewed":  {403, "clock and this host's are too far apart: set this host's clock"},
		"NoSuchBucket":          {404, "the bucket or folder does not exist (bucket)"},
		"InvalidAccessKeyId":    {403, "refused the credentials (InvalidAccessKeyId)"},
		"SignatureDoesNotMatch": {403, "refused the credentials (SignatureDoesNotMatch)"},
		"AccessDenied":          {403, "refused the credentials (AccessDenied)"},
	} {
		name := strings.ToLower(code)
		w.call("POST", "/targets", fmt.Sprintf(`{"name":%q,"url":%q,"accessKey":"a","secretKey":"not-a-secret"}`, name, answering(t, c.status, code)), 201, nil)
		text := w.call("POST", "/targets/"+name+"/test", "", 502, nil)
		if !strings.Contains(text, c.says) || !strings.Contains(text, `"target-failed"`) || strings.Contains(text, "not-a-secret") {
			t.Errorf("%s: %s", code, text)
		}
		var shown struct{ Items []Target }
		w.call("GET", "/targets", "", 200, &shown)
		for _, target := range shown.Items {
			if target.Name == name && (target.Health != failed || !strings.Contains(target.Why, c.says)) {
				t.Errorf("%s: shown as %+v", code, target)
			}
		}
	}
}

// TestNewCredentialsAreInTheLog: either half of them.
func TestNewCredentialsAreInTheLog(t *testing.T) {
	w := newWorld(t)
	w.folder("local")
	for _, body := range []string{`{"accessKey":"A"}`, `{"secretKey":"b"}`} {
		w.call("PATCH", "/targets/local", body, 200, nil)
		if e := w.log.last(); e.Action != "target.update" || e.Detail["credentials"] != "replaced" {
			t.Errorf("%s: logged %+v", body, e)
		}
	}
	w.call("PATCH", "/targets/local", `{"place":"cellar"}`, 200, nil)
	if e := w.log.last(); e.Detail["credentials"] != "" {
		t.Errorf("logged %+v", e)
	}
}

// TestApprovalsAreForTheTargetAndStoreThemselves: what is added anew under a name is another.
func TestApprovalsAreForTheTargetAndStoreThemselves(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 1)
	w.folder("local")
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/", nil)
	for name, value := range map[string]string{"name": "local", "slug": "acme", "env": "prod"} {
		r.SetPathValue(name, value)
	}
	row, err := w.target(t.Context(), "local")
	w.must(err)
	target, err := w.meansTarget(r, nil)
	w.must(err)
	both, err := w.meansTakeover(r, []byte(`{"target":"local"}`))
	w.must(err)
	if target != row.ID || both != w.tenants["acme"].id.String()+" "+row.ID {
		t.Errorf("means %q and %q", target, both)
	}
	r.SetPathValue("slug", "nobody")
	if _, err = w.meansTakeover(r, []byte(`{"target":"local"}`)); !errors.Is(err, data.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}
