package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"holdfast/app/edge"
)

// client speaks the REST API: over the socket when a server runs, else to an
// appliance opened in this process. Commands cannot tell the difference.
type client struct {
	http  *http.Client
	close func() error
}

// problem is a refusal as the API words it (RFC 9457).
type problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Field   string `json:"field"`
		Message string `json:"message"`
	} `json:"errors"`
}

func (p *problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	for _, e := range p.Errors {
		if line := e.Field + ": " + e.Message; !strings.Contains(text, line) {
			text += "; " + line
		}
	}
	return text
}

// connect finds the running server, else opens the data folder itself.
func (c *cli) connect(ctx context.Context) (*client, error) {
	if err := c.config.validate(); err != nil {
		return nil, err
	}
	if cl, err := c.dialServer(ctx); err == nil {
		return cl, nil
	}
	// A folder whose keys are gone is one all the same: opening it tells what to restore.
	if !exists(filepath.Join(c.config.Data, "keys", "root.slots")) && !exists(filepath.Join(c.config.Data, "system.db")) {
		return nil, fmt.Errorf("there is no data folder at %s; start one with 'holdfast serve', or name it with --data", c.config.Data)
	}
	return c.connectInProcess(ctx)
}

// dialServer is a client of the server that runs on the data folder.
func (c *cli) dialServer(ctx context.Context) (*client, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return edge.DialSocket(ctx, socketPath(c.config.Data))
	}
	conn, err := dial(ctx, "", "")
	if err != nil {
		return nil, err
	}
	conn.Close()
	t := &http.Transport{DialContext: dial}
	return &client{http: &http.Client{Transport: t}, close: func() error { t.CloseIdleConnections(); return nil }}, nil
}

func (c *cli) connectInProcess(ctx context.Context) (*client, error) {
	a, err := OpenAppliance(ctx, c.config, quietLogger(c.stderr))
	if err != nil {
		return nil, err
	}
	if a.Sealed() {
		return nil, errors.Join(a.errSealed(), a.Close())
	}
	return &client{http: &http.Client{Transport: inProcess{a.HostHandler()}}, close: a.Close}, nil
}

// errSealed is why a command cannot use the folder itself, and what to do.
func (a *Appliance) errSealed() error {
	return fmt.Errorf("the data folder is sealed: %w; run 'holdfast serve' and unseal it: holdfast unseal --recovery-key-stdin", a.sealedWhy())
}

// with runs fn with a client and closes it.
func (c *cli) with(ctx context.Context, fn func(*client) error) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	return errors.Join(fn(cl), cl.close())
}

// do sends one request; the caller closes the body of a success.
func (c *client) do(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://holdfast"+path, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readProblem(resp)
}

func readProblem(resp *http.Response) error {
	p := &problem{Status: resp.StatusCode, Title: resp.Status}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if json.Unmarshal(b, p) != nil && len(b) > 0 {
		p.Detail = strings.TrimSpace(string(b))
	}
	p.Status = resp.StatusCode
	return p
}

// call sends in (if any) and reads the answer into out (if any).
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	contentType := ""
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body, contentType = bytes.NewReader(b), "application/json"
	}
	resp, err := c.do(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	return decode(resp, out)
}

func decode(resp *http.Response, out any) error {
	defer resp.Body.Close()
	if out == nil || resp.StatusCode == http.StatusNoContent {
		_, err := io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// list is one page of a paged list.
type list[T any] struct {
	Items []T `json:"items"`
	Total int `json:"totalItems"`
}

// all walks every page of a list.
func all[T any](ctx context.Context, c *client, path string) ([]T, error) {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	var items []T
	for page := 1; ; page++ {
		var l list[T]
		if err := c.call(ctx, "GET", fmt.Sprintf("%s%spage=%d&perPage=200", path, sep, page), nil, &l); err != nil {
			return nil, err
		}
		items = append(items, l.Items...)
		if len(l.Items) == 0 || len(items) >= l.Total {
			return items, nil
		}
	}
}

// operationState is what the command line reads of an operation.
type operationState struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"`
	Target   string   `json:"target"`
	State    string   `json:"state"`
	Created  string   `json:"created"`
	Error    *problem `json:"error,omitempty"`
	Progress struct {
		Done  int64  `json:"done"`
		Total int64  `json:"total"`
		Unit  string `json:"unit"`
		Text  string `json:"text"`
	} `json:"progress"`
	Result json.RawMessage `json:"result"`
}

// await polls an operation until it has ended and decodes its result. seen is
// called with each state on the way; it may be nil.
func (c *client) await(ctx context.Context, op operationState, seen func(operationState), result any) error {
	wait := 20 * time.Millisecond
	for op.State == "running" {
		select {
		case <-ctx.Done():
			return fmt.Errorf("operation %s goes on without this command: %w", op.ID, ctx.Err())
		case <-time.After(wait):
		}
		wait = min(wait*3/2, time.Second)
		if err := c.call(ctx, "GET", "/api/v1/operations/"+op.ID, nil, &op); err != nil {
			return err
		}
		if seen != nil {
			seen(op)
		}
	}
	switch {
	case op.Error != nil:
		return fmt.Errorf("operation %s %s: %w", op.ID, op.State, op.Error)
	case op.State != "done":
		return fmt.Errorf("operation %s was %s", op.ID, op.State)
	}
	return json.Unmarshal(op.Result, result)
}

// inProcess answers requests from a handler in this process, streaming.
type inProcess struct{ handler http.Handler }

func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	pr, pw := io.Pipe()
	w := &pipedResponse{header: http.Header{}, body: pw, ready: make(chan struct{})}
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	in.RequestURI = in.URL.RequestURI()
	go func() {
		t.handler.ServeHTTP(w, in)
		w.WriteHeader(http.StatusOK)
		pw.Close()
	}()
	<-w.ready
	return &http.Response{StatusCode: w.status, Status: http.StatusText(w.status), Proto: "HTTP/1.1", ProtoMajor: 1,
		ProtoMinor: 1, Header: w.sent, Body: pr, ContentLength: -1, Request: r}, nil
}

// pipedResponse hands the body on while the handler still writes it.
type pipedResponse struct {
	header, sent http.Header
	body         *io.PipeWriter
	status       int
	ready        chan struct{}
}

func (w *pipedResponse) Header() http.Header { return w.header }

func (w *pipedResponse) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
		close(w.ready)
	}
}

func (w *pipedResponse) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Flush satisfies http.Flusher: a pipe holds nothing back.
func (w *pipedResponse) Flush() { w.WriteHeader(http.StatusOK) }
