package studio

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strings"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
)

// openCSP lets the opening page run its one script and talk to its own origin.
const openCSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// maxCode bounds the body that brings a code.
const maxCode = 1 << 10

// Origin serves the studio's own host for one store: the opening page, the
// dashboard's files, and PocketBase's API under the dashboard's token.
func (s *Service) Origin(id data.StoreID) http.Handler {
	assets, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /open", func(w http.ResponseWriter, r *http.Request) { servePage(w, r, assets, "open.html") })
	mux.HandleFunc("GET /open.js", func(w http.ResponseWriter, r *http.Request) { servePage(w, r, assets, "open.js") })
	mux.HandleFunc("GET /open.css", func(w http.ResponseWriter, r *http.Request) { servePage(w, r, assets, "open.css") })
	mux.HandleFunc("POST /open", problems(func(w http.ResponseWriter, r *http.Request) error { return s.exchange(w, r, id) }))
	mux.HandleFunc("/api/", problems(func(w http.ResponseWriter, r *http.Request) error { return s.pass(w, r, id, (*store.Store).ServeHTTP) }))
	mux.HandleFunc("GET /_/", problems(func(w http.ResponseWriter, r *http.Request) error { return s.pass(w, r, id, dashboard) }))
	mux.Handle("GET /{$}", http.RedirectHandler("/_/", http.StatusSeeOther))
	return http.NewCrossOriginProtection().Handler(mux)
}

func servePage(w http.ResponseWriter, r *http.Request, assets fs.FS, name string) {
	w.Header().Set("Content-Security-Policy", openCSP)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Cache-Control", "no-store")
	http.ServeFileFS(w, r, assets, name)
}

func problems(fn func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := fn(w, r); err != nil {
			api.WriteProblem(w, err)
		}
	}
}

func dashboard(st *store.Store, w http.ResponseWriter, r *http.Request) { st.Studio().ServeHTTP(w, r) }

// pass holds the store open while one request runs.
func (s *Service) pass(w http.ResponseWriter, r *http.Request, id data.StoreID, serve func(*store.Store, http.ResponseWriter, *http.Request)) error {
	if actor, ok := s.config.Pool.StudioActor(r, id); ok {
		if err := s.still(r.Context(), actor, id); err != nil {
			return err
		}
	}
	if data.ActorFrom(r.Context()).Kind == data.System { // no actor in a context counts as the system
		r = r.WithContext(data.WithActor(r.Context(), data.Actor{Kind: data.Guest}))
	}
	st, err := s.config.Pool.Acquire(r.Context(), id)
	if err != nil {
		return err
	}
	defer st.Release()
	serve(st, w, r)
	return nil
}

// still asks whether somebody may yet: what was given may have ended since. The answer
// is a 401, with which the dashboard signs out.
func (s *Service) still(ctx context.Context, actor data.Actor, id data.StoreID) error {
	err := s.config.Access.Authorize(ctx, actor, api.StudioOpen, api.StoreScope(id))
	if errors.Is(err, api.ErrForbidden) {
		return api.Errorf(http.StatusUnauthorized, "ended", "You may not open this store's studio any more.").Because(err)
	}
	return err
}

// token is what the opening page gets for its code.
type token struct {
	Token string `json:"token"`
}

func (s *Service) exchange(w http.ResponseWriter, r *http.Request, id data.StoreID) error {
	var in struct {
		Code string `json:"code"`
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxCode)
	if err := api.Read(r, &in); err != nil {
		return err
	}
	l, ok := s.redeem(strings.TrimSpace(in.Code), id)
	if !ok {
		return api.Errorf(http.StatusForbidden, "link-used", "This link was used already or is older than a minute. Open the studio from the console again.")
	}
	st, err := s.config.Pool.Acquire(r.Context(), id)
	if err != nil {
		return err
	}
	defer st.Release()
	ctx := store.WithWarrant(data.WithActor(r.Context(), l.actor), l.warrant)
	if err := s.still(ctx, l.actor, id); err != nil {
		return err
	}
	t, err := st.StudioToken(ctx, l.actor)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return api.Respond(w, http.StatusCreated, token{Token: t})
}
