package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// rest is one caller of the REST API: with a key, with a cookie, or a guest.
type rest struct {
	t    testing.TB
	base string
	key  string
	http *http.Client

	session *http.Cookie // a Secure cookie, which Go's jar would not send over plain HTTP
}

// dialLoopback resolves *.localhost as browsers do.
func dialLoopback(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && strings.HasSuffix(host, ".localhost") {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

func newREST(t testing.TB, base, key string) *rest {
	transport := &http.Transport{DialContext: dialLoopback, MaxIdleConnsPerHost: 32}
	t.Cleanup(transport.CloseIdleConnections)
	return &rest{t: t, base: base, key: key, http: &http.Client{Transport: transport, Timeout: 2 * time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// guest calls without a credential, tenant with a key on the path form.
func (s *server) guest() *rest                { return newREST(s.t, s.url(), "") }
func (s *server) tenant(slug, k string) *rest { return newREST(s.t, s.url()+"/t/"+slug, k) }

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) String() string { return fmt.Sprintf("%d %.600s", r.status, r.body) }

// send makes one request; body may be nil, an io.Reader, or a value for JSON.
func (c *rest) send(method, path string, body any, headers ...string) (reply, error) {
	reader, contentType, err := encode(body)
	if err != nil {
		return reply{}, err
	}
	req, err := http.NewRequest(method, c.base+path, reader)
	if err != nil {
		return reply{}, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if c.session != nil {
		req.AddCookie(c.session)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	c.keepSession(resp)
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, b}, err
}

// keepSession takes the session that an answer begins or ends.
func (c *rest) keepSession(resp *http.Response) {
	for _, cookie := range resp.Cookies() {
		if cookie.Name != "__Host-holdfast" {
			continue
		}
		c.session = cookie
		if cookie.MaxAge < 0 {
			c.session = nil
		}
	}
}

func encode(body any) (io.Reader, string, error) {
	switch b := body.(type) {
	case nil:
		return nil, "", nil
	case io.Reader:
		return b, "application/octet-stream", nil
	case json.RawMessage: // as it is, be it JSON or not
		return bytes.NewReader(b), "application/json", nil
	}
	b, err := json.Marshal(body)
	return bytes.NewReader(b), "application/json", err
}

// call makes a request that has to be answered.
func (c *rest) call(method, path string, body any, headers ...string) reply {
	c.t.Helper()
	r, err := c.send(method, path, body, headers...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// want makes a request that has to be answered with this status.
func (c *rest) want(status int, method, path string, body any, headers ...string) reply {
	c.t.Helper()
	r := c.call(method, path, body, headers...)
	if r.status != status {
		c.t.Fatalf("%s %s: want %d, got %v", method, path, status, r)
	}
	return r
}

// get decodes the JSON answer of a GET.
func get[T any](c *rest, path string) T {
	c.t.Helper()
	return decoded[T](c, c.want(http.StatusOK, "GET", path, nil))
}

func decoded[T any](c *rest, r reply) T {
	c.t.Helper()
	var v T
	if err := json.Unmarshal(r.body, &v); err != nil {
		c.t.Fatalf("decode: %v in %v", err, r)
	}
	return v
}

// page is a list as PocketBase and Holdfast answer it.
type page struct {
	Page, PerPage int
	TotalItems    int
	Items         []map[string]any
}

// records is the path of a collection's records with a query.
func records(collection string, query ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	return "/api/collections/" + collection + "/records?" + q.Encode()
}

// upload creates a record with a file. It is for goroutines: it never fails the test.
func (c *rest) upload(collection string, fields map[string]string, field, name string, content []byte) (reply, error) {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for k, v := range fields {
		if err := w.WriteField(k, v); err != nil {
			return reply{}, err
		}
	}
	part, err := w.CreateFormFile(field, name)
	if err != nil {
		return reply{}, err
	}
	if _, err := part.Write(content); err != nil {
		return reply{}, err
	}
	if err := w.Close(); err != nil {
		return reply{}, err
	}
	return c.send("POST", "/api/collections/"+collection+"/records", &body, "Content-Type", w.FormDataContentType())
}
