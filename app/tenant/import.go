package tenant

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
	"holdfast/data/system"
)

// Import is what an import is asked to do.
type Import struct {
	Collection string
	Format     Format
	Create     bool   // make the collection from the data where it is not there
	Strict     bool   // one bad row undoes the whole
	Key        string // field that names a record: a known value updates it
}

// Imported is the result of an import's operation.
type Imported struct {
	Collection string           `json:"collection"`
	Read       int              `json:"read"`
	Created    int              `json:"created"`
	Updated    int              `json:"updated"`
	Failed     int              `json:"failed"`
	Errors     []store.RowError `json:"errors" doc:"the first hundred"`
	Inferred   []store.Field    `json:"inferred" doc:"the fields of a collection made by this import"`
}

func (s *Service) importRoutes(collection string) []api.Route {
	return []api.Route{
		{
			Method: "POST", Path: collection + "/import", Permission: api.DataWrite, Consumes: "application/octet-stream",
			BodyLimit: api.NoLimit, Summary: "Import records", Response: api.Operation{}, Status: 202, Handler: s.serveImport,
			Query: []api.Param{
				{Name: "format", Summary: "csv, jsonl or json (an array)", Example: "jsonl"},
				{Name: "create", Summary: "make the collection, its fields inferred from the data", Example: true},
				{Name: "strict", Summary: "one bad row undoes the whole import", Example: true},
				{Name: "key", Summary: "field that names a record: rows with a known value update it"},
			},
		},
		{
			Method: "GET", Path: collection + "/export", Permission: api.DataExport, Status: 200, Produces: "application/jsonl",
			Summary: "Export a collection", Handler: s.serveExport,
			Query: []api.Param{{Name: "format", Summary: "csv, jsonl or json", Example: "jsonl"}},
		},
		{
			Method: "GET", Path: storePath + "/export", Permission: api.DataExport, Status: 200, Produces: "application/jsonl",
			Summary: "Export every collection as JSON lines, each with its @collection", Handler: s.serveExportAll,
		},
	}
}

// serveImport checks what can be checked first, takes the body into staging, and
// leaves the rest to an operation.
func (s *Service) serveImport(w http.ResponseWriter, r *http.Request) error {
	im, err := readImport(r)
	if err != nil {
		return err
	}
	ref, err := s.ref(r)
	if err != nil {
		return err
	}
	if err := ref.Err(); err != nil {
		return err
	}
	if err := s.mayImport(r.Context(), ref, im); err != nil {
		return err
	}
	staged, err := s.stage(r)
	if err != nil {
		return fmt.Errorf("stage an upload: %w", err)
	}
	op, err := s.startImport(r.Context(), ref, im, staged)
	if err != nil {
		return errors.Join(err, s.config.Staging.Delete(context.WithoutCancel(r.Context()), staged.Name))
	}
	return api.Respond(w, http.StatusAccepted, op)
}

// collectionPattern is what PocketBase takes for a collection's name or id.
var collectionPattern = regexp.MustCompile(`^\w{1,255}$`)

func readImport(r *http.Request) (im Import, err error) {
	q := r.URL.Query()
	im = Import{Collection: r.PathValue("collection"), Format: Format(q.Get("format")), Key: q.Get("key")}
	if !slices.Contains(formats, im.Format) {
		return im, api.InvalidField("format", "%q is none of csv, jsonl, json", q.Get("format"))
	}
	if !collectionPattern.MatchString(im.Collection) {
		return im, api.InvalidField("collection", "%q is no name of a collection", clip(im.Collection))
	}
	if im.Create, err = flag(r, "create"); err != nil {
		return im, err
	}
	im.Strict, err = flag(r, "strict")
	return im, err
}

// mayImport finds the collection before anything is uploaded in vain.
func (s *Service) mayImport(ctx context.Context, ref Ref, im Import) error {
	if im.Create {
		if err := s.config.Access.Authorize(ctx, data.ActorFrom(ctx), api.SchemaManage, api.StoreScope(ref.Store)); err != nil {
			return err
		}
	}
	return s.open(ctx, ref.Store, func(st *store.Store) error {
		c, err := collectionOf(ctx, st, im.Collection)
		if errors.Is(err, data.ErrNotFound) {
			if im.Create {
				return nil
			}
			return missing(err, "There is no collection %q (not found). An import makes it with create=1, or --create.", im.Collection)
		}
		if err != nil {
			return err
		}
		return im.fits(c)
	})
}

func (im Import) fits(c store.Collection) error {
	if c.Type == "view" {
		return api.Errorf(422, "view", "Collection %q is a view: it holds no records of its own.", c.Name)
	}
	if c.System {
		return api.Errorf(403, "system", "Collection %q is one of PocketBase's own.", c.Name).Because(api.ErrForbidden)
	}
	if im.Key != "" && !slices.ContainsFunc(c.Fields, func(f store.Field) bool { return f.Name == im.Key }) {
		return api.InvalidField("key", "collection %q has no field %q", c.Name, im.Key)
	}
	return nil
}

func collectionOf(ctx context.Context, st *store.Store, name string) (store.Collection, error) {
	all, err := st.Collections(ctx)
	if err != nil {
		return store.Collection{}, err
	}
	for _, c := range all {
		if c.Name == name || c.ID == name {
			return c, nil
		}
	}
	return store.Collection{}, missing(data.ErrNotFound, "There is no collection %q (not found).", name)
}

// stage seals the body into the staging folder: it may be larger than memory, and
// must not lie on a disk in clear.
func (s *Service) stage(r *http.Request) (data.FileInfo, error) {
	return s.config.Staging.Put(r.Context(), data.FileInfo{Name: "import/" + system.NewID()}, r.Body)
}

// dropStaged deletes the uploads of imports that the last process did not end.
func (s *Service) dropStaged(ctx context.Context) error {
	for {
		left, err := s.config.Staging.List(ctx, "", "", 100)
		if err != nil || len(left) == 0 {
			return err
		}
		for _, f := range left {
			if err := s.config.Staging.Delete(ctx, f.Name); err != nil {
				return err
			}
		}
	}
}

// startImport records the import, then runs it in the background. Its end is
// recorded too.
func (s *Service) startImport(ctx context.Context, ref Ref, im Import, staged data.FileInfo) (api.Operation, error) {
	event := api.Event{
		Action: "data.import", Target: im.Collection, Store: ref.Store.String(), Outcome: api.OK,
		Detail: map[string]string{"format": string(im.Format), "bytes": strconv.FormatInt(staged.Size, 10), "step": "begin"},
	}
	if err := s.config.Recorder.Record(ctx, event); err != nil {
		return api.Operation{}, err
	}
	target := ref.Slug + "/" + ref.Environment + "/" + im.Collection
	return s.config.Operations.Start(ctx, "import", target, ref.Store.String(), func(ctx context.Context, p *api.Progress) (any, error) {
		result, err := s.runImport(ctx, ref, im, staged, p)
		event.Detail = map[string]string{
			"step": "end", "operation": p.ID(), "read": strconv.Itoa(result.Read), "created": strconv.Itoa(result.Created),
			"updated": strconv.Itoa(result.Updated), "failed": strconv.Itoa(result.Failed),
		}
		if err != nil {
			event.Outcome = api.Failed
		}
		ctx = context.WithoutCancel(ctx)
		return result, errors.Join(err, s.config.Recorder.Record(ctx, event), s.config.Staging.Delete(ctx, staged.Name))
	})
}
