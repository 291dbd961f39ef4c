package objects_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"holdfast/backup/objects"
)

// Whatever request meets it first: an answer that S3 gives to what cannot be used is told
// as what it is.
func TestS3AnswersAreTold(t *testing.T) {
	for code, c := range map[string]struct {
		status int
		want   error
	}{
		"RequestTimeTooSkewed":  {403, objects.ErrSkew},
		"NoSuchBucket":          {404, objects.ErrNoBucket},
		"InvalidAccessKeyId":    {403, objects.ErrRefused},
		"SignatureDoesNotMatch": {403, objects.ErrRefused},
		"AccessDenied":          {403, objects.ErrRefused},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(c.status)
			fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>as S3 words it</Message></Error>`, code)
		}))
		s := open(t, "s3://bucket/p?endpoint="+server.URL, objects.Credentials{AccessKey: "a", SecretKey: "b"})
		if err := objects.Probe(t.Context(), s); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", code, err)
		}
		if _, err := s.List(t.Context(), "", "", 1); !errors.Is(err, c.want) {
			t.Errorf("%s: list: %v", code, err)
		}
		server.Close()
	}
}
