package tenant

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
)

// readPause is how long a person's reading of one collection is one entry.
const readPause = time.Minute

// RecordPage is PocketBase's own shape of a list.
type RecordPage struct {
	Page       int              `json:"page"`
	PerPage    int              `json:"perPage"`
	TotalItems int              `json:"totalItems"`
	TotalPages int              `json:"totalPages"`
	Items      []map[string]any `json:"items"`
}

// sorted narrows and orders collections: by name, records or type; PocketBase's
// own last where nothing is asked for.
func sorted(all []store.Collection, p api.Paging) []store.Collection {
	text := strings.ToLower(strings.TrimSpace(p.Filter))
	all = slices.DeleteFunc(all, func(c store.Collection) bool { return !strings.Contains(strings.ToLower(c.Name), text) })
	name, descending := strings.CutPrefix(p.Sort, "-")
	slices.SortStableFunc(all, func(a, b store.Collection) int {
		n := compareCollections(a, b, name)
		if descending {
			return -n
		}
		return n
	})
	return all
}

func compareCollections(a, b store.Collection, by string) int {
	switch by {
	case "name":
		return strings.Compare(a.Name, b.Name)
	case "type":
		return strings.Compare(a.Type, b.Type)
	case "records":
		return cmp.Compare(a.Records, b.Records)
	}
	if a.System != b.System {
		return cmp.Compare(strconv.FormatBool(a.System), strconv.FormatBool(b.System))
	}
	return strings.Compare(a.Name, b.Name)
}

// serveRecords asks the store's own API with the reach of a reader. Nothing of the
// request but paging, sort and filter goes along: no cookie, no header.
func (s *Service) serveRecords(w http.ResponseWriter, r *http.Request) error {
	if _, err := api.ReadPage(r); err != nil {
		return err
	}
	if name := r.PathValue("collection"); !collectionPattern.MatchString(name) {
		return missing(data.ErrNotFound, "There is no collection %q (not found).", clip(name))
	}
	return s.withStore(r, func(ref Ref, st *store.Store) error {
		answer := &answer{header: http.Header{}}
		st.ServeHTTP(answer, inner(r))
		if answer.status < http.StatusBadRequest {
			if err := s.recordRead(r.Context(), ref.Store, r.PathValue("collection")); err != nil {
				return err
			}
		}
		return answer.pass(w)
	})
}

// recordRead comes before the first byte is shown. Paging through a collection is one
// entry a minute.
func (s *Service) recordRead(ctx context.Context, id data.StoreID, collection string) error {
	name := data.ActorFrom(ctx).String() + " " + id.String() + " " + strings.ToLower(collection)
	return s.reads.Do(name, func(held int) error {
		e := api.Event{Action: "data.read", Target: collection, Store: id.String(), Outcome: api.OK}
		if held > 0 {
			e.Detail = map[string]string{"repeated": strconv.Itoa(held)}
		}
		return s.config.Recorder.Record(context.WithoutCancel(ctx), e)
	})
}

func inner(r *http.Request) *http.Request {
	q := url.Values{}
	for _, name := range []string{"page", "perPage", "sort", "filter", "fields"} {
		if v := r.URL.Query().Get(name); v != "" {
			q.Set(name, v)
		}
	}
	ctx := store.WithReach(r.Context(), store.Reach{Scope: store.Read})
	in := (&http.Request{Method: http.MethodGet, Header: http.Header{}, Body: http.NoBody, RemoteAddr: r.RemoteAddr, Host: r.Host, Proto: r.Proto, ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	path := "/api/collections/" + r.PathValue("collection") + "/records"
	in.URL = &url.URL{Path: path, RawQuery: q.Encode()}
	in.RequestURI = in.URL.RequestURI()
	return in
}

// answer holds what the store's API says, so that its errors become problems.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// pass hands a good answer on and makes a problem of a bad one.
func (a *answer) pass(w http.ResponseWriter) error {
	if a.status >= http.StatusBadRequest {
		return a.problem()
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // a client that is gone needs no answer
	return nil
}

func (a *answer) problem() error {
	var said struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(a.body.Bytes(), &said) // without a message the status must do
	if said.Message == "" {
		said.Message = http.StatusText(a.status)
	}
	return api.Errorf(a.status, "store", "%s", said.Message)
}
