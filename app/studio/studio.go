// Package studio opens PocketBase's dashboard for a signed-in person without a
// second password: the console asks for a one-use link, the studio's own origin
// trades it for a token of fifteen minutes.
package studio

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"errors"
	"net/http"
	"sync"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
)

// linkLife is how long a link waits to be opened.
const linkLife = time.Minute

// maxLinks bounds the links that wait; each lives a minute.
const maxLinks = 1000

//go:embed page
var page embed.FS

// Tenants resolves what a route names.
type Tenants interface {
	// Store gives the id of a tenant's environment; data.ErrNotFound.
	Store(ctx context.Context, slug, environment string) (data.StoreID, error)
}

// Config is what a Service needs; every field is required.
type Config struct {
	Tenants  Tenants
	Pool     *store.Pool
	Recorder api.Recorder
	Clock    func() time.Time
	Access   api.Authorizer // asked at each request of an open studio
	// URL of the studio of a tenant's environment, without a trailing slash.
	URL func(slug, environment string) string
}

// Service is the capability. It is safe for concurrent use.
type Service struct {
	config Config
	mu     sync.Mutex
	links  map[[32]byte]link // by the hash of their code
}

// link is a promise that whoever brings its code may act as the actor.
type link struct {
	store   data.StoreID
	actor   data.Actor
	warrant store.Warrant // of who asked for it
	until   time.Time
}

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Tenants == nil || c.Pool == nil || c.Recorder == nil || c.Clock == nil || c.Access == nil || c.URL == nil {
		return nil, errors.New("new studio: every field of its configuration is required")
	}
	return &Service{config: c, links: map[[32]byte]link{}}, nil
}

// Link is the answer of the route that opens a studio.
type Link struct {
	URL string `json:"url" doc:"opens the studio once, within a minute"`
}

// Routes are those of the control plane.
func (s *Service) Routes() []api.Route {
	return []api.Route{{
		Method: http.MethodPost, Path: "/api/v1/stores/{slug}/{env}/studio", Permission: api.StudioOpen, Scope: s.scope,
		Summary: "Open the data studio of a store", Response: Link{}, Status: http.StatusCreated, Handler: s.open,
	}}
}

func (s *Service) scope(r *http.Request) api.Scope {
	id, err := s.config.Tenants.Store(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return api.Scope{Missing: err}
	}
	return api.StoreScope(id)
}

func (s *Service) open(w http.ResponseWriter, r *http.Request) error {
	ctx, slug, env := r.Context(), r.PathValue("slug"), r.PathValue("env")
	id, err := s.config.Tenants.Store(ctx, slug, env)
	if err != nil {
		return err
	}
	event := api.Event{Action: "studio.open", Target: slug + "/" + env, Store: id.String(), Outcome: api.OK}
	if err := s.config.Recorder.Record(ctx, event); err != nil {
		return err
	}
	code, err := s.issue(link{store: id, actor: data.ActorFrom(ctx), warrant: store.WarrantFrom(ctx)})
	if err != nil {
		return err
	}
	// The fragment stays in the browser: no log and no Referer holds the code.
	return api.Respond(w, http.StatusCreated, Link{URL: s.config.URL(slug, env) + "/open#" + code})
}

// issue remembers a link under the hash of a fresh code.
func (s *Service) issue(l link) (code string, err error) {
	now := s.config.Clock()
	code, l.until = rand.Text(), now.Add(linkLife)
	s.mu.Lock()
	defer s.mu.Unlock()
	for hash, old := range s.links {
		if now.After(old.until) {
			delete(s.links, hash)
		}
	}
	if len(s.links) >= maxLinks {
		return "", api.Errorf(http.StatusTooManyRequests, "too-many", "Too many studio links wait to be opened; try again in a minute.")
	}
	s.links[sha256.Sum256([]byte(code))] = l
	return code, nil
}

// redeem takes a link away: it works once.
func (s *Service) redeem(code string, id data.StoreID) (link, bool) {
	hash := sha256.Sum256([]byte(code))
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.links[hash]
	delete(s.links, hash)
	if !ok || l.store != id || s.config.Clock().After(l.until) {
		return link{}, false
	}
	return l, true
}
