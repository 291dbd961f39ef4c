package tenant

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"holdfast/data/store"
	"holdfast/data/system"
)

// ask calls the store's own API as an administrator of its schema.
func (r *importRun) ask(ctx context.Context, method string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx = store.WithReach(ctx, store.Reach{Scope: store.Admin})
	in := (&http.Request{
		Method: method, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(text)),
		ContentLength: int64(len(text)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "127.0.0.1:0",
	}).WithContext(ctx)
	in.URL = &url.URL{Path: "/api/collections/" + r.Collection}
	in.RequestURI = in.URL.Path
	answer := &answer{header: http.Header{}}
	r.store.ServeHTTP(answer, in)
	if answer.status >= http.StatusBadRequest {
		return answer.problem()
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer.body.Bytes(), into)
}

// unmake takes back the collection that a strict import made in vain.
func (r *importRun) unmake(ctx context.Context) error {
	if err := r.ask(context.WithoutCancel(ctx), http.MethodDelete, nil, nil); err != nil {
		return fmt.Errorf("take the collection back: %w", err)
	}
	return nil
}

// indexKey makes an index on the key's field where there is none: every row asks
// for its key, and without one each would look through the whole collection.
func (r *importRun) indexKey(ctx context.Context) error {
	if r.Key == "" || r.Key == "id" {
		return nil
	}
	var c struct {
		Name    string   `json:"name"`
		Indexes []string `json:"indexes"`
	}
	if err := r.ask(ctx, http.MethodGet, nil, &c); err != nil {
		return fmt.Errorf("find the indexes: %w", err)
	}
	for _, index := range c.Indexes {
		if leads(index, r.Key) {
			return nil
		}
	}
	c.Indexes = append(c.Indexes, fmt.Sprintf("CREATE INDEX `idx_%s` ON `%s` (`%s`)", system.NewID(), c.Name, r.Key))
	if err := r.ask(ctx, http.MethodPatch, map[string]any{"indexes": c.Indexes}, nil); err != nil {
		return fmt.Errorf("make an index on %s: %w", r.Key, err)
	}
	return nil
}

var firstColumn = regexp.MustCompile("(?is)^[^(]*\\(\\s*[`\"\\[]?(\\w+)[`\"\\]]?\\s*[,)]")

// leads says that an index serves a search for one value of the field.
func leads(index, field string) bool {
	m := firstColumn.FindStringSubmatch(index)
	return m != nil && strings.EqualFold(m[1], field) && !strings.Contains(strings.ToUpper(index), " WHERE ")
}
