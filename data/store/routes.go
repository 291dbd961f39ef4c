package store

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/hook"
	"github.com/pocketbase/pocketbase/tools/router"

	"holdfast/data"
	"holdfast/data/store/users"
)

// routes is the allow-list: PocketBase's patterns that a store serves, each with
// the least scope that a key needs for it. Anything else, whatever a newer
// PocketBase may add, is not found: /api/sql, /api/backups, /api/crons, /api/logs,
// impersonation, the dry run of a view (raw SQL by another name), test and generator
// endpoints of the settings.
var routes = map[string]Scope{
	"GET /api/health":                                           Public,
	"GET /api/realtime":                                         Public,
	"POST /api/realtime":                                        Read,
	"GET /api/collections/{collection}/records":                 Read,
	"GET /api/collections/{collection}/records/{id}":            Read,
	"GET /api/files/{collection}/{recordId}/{filename}":         Read,
	"POST /api/files/token":                                     noKey,
	"POST /api/collections/{collection}/records":                Write,
	"PATCH /api/collections/{collection}/records/{id}":          Write,
	"DELETE /api/collections/{collection}/records/{id}":         Write,
	"POST /api/batch":                                           Write,
	"GET /api/collections/{collection}/auth-methods":            Read,
	"POST /api/collections/{collection}/auth-refresh":           Write,
	"POST /api/collections/{collection}/auth-with-password":     Write,
	"POST /api/collections/{collection}/auth-with-oauth2":       Write,
	"POST /api/collections/{collection}/request-otp":            Write,
	"POST /api/collections/{collection}/auth-with-otp":          Write,
	"POST /api/collections/{collection}/request-password-reset": Write,
	"POST /api/collections/{collection}/confirm-password-reset": Write,
	"POST /api/collections/{collection}/request-verification":   Write,
	"POST /api/collections/{collection}/confirm-verification":   Write,
	"POST /api/collections/{collection}/request-email-change":   Write,
	"POST /api/collections/{collection}/confirm-email-change":   Write,
	"GET /api/oauth2-redirect":                                  Public,
	"POST /api/oauth2-redirect":                                 Public,
	"GET /api/collections":                                      Admin,
	"POST /api/collections":                                     Admin,
	"GET /api/collections/{collection}":                         Admin,
	"PATCH /api/collections/{collection}":                       Admin,
	"DELETE /api/collections/{collection}":                      Admin,
	"DELETE /api/collections/{collection}/truncate":             Admin,
	"PUT /api/collections/import":                               Admin,
	"GET /api/collections/meta/scaffolds":                       Admin,
	"GET /api/collections/meta/oauth2-providers":                Admin,
	"GET /api/settings":                                         Admin,
	"POST /api/settings/test/email":                             Admin,
	"PATCH /api/settings":                                       Admin,
}

// noKey marks a route that keys have no use for.
const noKey Scope = -1

// superuserRoutes are those of the above that _superusers may be named in: the
// studio refreshes (and thereby checks) its own short token.
var superuserRoutes = map[string]bool{
	"POST /api/collections/{collection}/auth-refresh": true,
	"GET /api/collections/{collection}/auth-methods":  true,
	"GET /api/collections/{collection}/records":       true,
	"GET /api/collections/{collection}/records/{id}":  true,
	"GET /api/collections/{collection}":               true,
}

// firstPriority is before every middleware of PocketBase's, CORS excepted.
const firstPriority = apis.DefaultActivityLoggerMiddlewarePriority - 1000

// newMux builds PocketBase's router with our gate before it.
func (s *Store) newMux() (http.Handler, error) {
	r, err := apis.NewRouter(s.app)
	if err != nil {
		return nil, err
	}
	r.Unbind(apis.DefaultActivityLoggerMiddlewareId)
	r.Bind(apis.CORS(apis.CORSConfig{
		AllowOriginFunc: func(origin string) (bool, error) { return s.pool.config.AllowOrigin(s.id, origin), nil },
		AllowMethods:    apis.DefaultCORSConfig.AllowMethods,
	}))
	r.Bind(&hook.Handler[*core.RequestEvent]{
		Id: "hfSuperuser", Func: s.checkSuperuser, Priority: apis.DefaultLoadAuthTokenMiddlewarePriority + 1,
	})
	s.bindAnswers(func(h *hook.Handler[*core.RequestEvent]) { r.Bind(h) })
	r.Bind(&hook.Handler[*core.RequestEvent]{Id: "hfGate", Func: s.gate, Priority: firstPriority})
	s.addUserRoutes(r)
	var mux http.Handler
	event := &core.ServeEvent{App: s.app, Router: r, Server: &http.Server{}}
	err = s.app.OnServe().Trigger(event, func(e *core.ServeEvent) error {
		mux, err = e.Router.BuildMux()
		return err
	})
	return mux, err
}

// gate is the first step of each request: the allow-list, the scope, then an app
// of its own that carries the actor and, for a key, its reach.
func (s *Store) gate(e *core.RequestEvent) error {
	s.noteEpoch(e)
	need, ok := scopeOf(e.Request.Pattern)
	if !ok && e.Request.Method != http.MethodOptions {
		return router.NewNotFoundError("", nil)
	}
	reach := reachFrom(e.Request.Context())
	if err := admit(reach, need); err != nil {
		return err
	}
	if err := s.warranted(e, max(need, reach.Scope)); err != nil {
		return err
	}
	if err := s.guardSuperusers(e); err != nil {
		return err
	}
	if q := e.Request.URL.Query(); reach.Scope != Public && (asksSecret(q.Get("filter")) || asksSecret(q.Get("sort"))) {
		return router.NewForbiddenError("A key cannot ask for passwords and token keys, not even by a filter.", ErrReach)
	}
	finish, err := s.keepBody(e)
	if err != nil {
		return err
	}
	defer finish()
	ctx := e.Request.Context()
	app, done := s.borrow(s.requestActor(ctx, e))
	defer done()
	e.App = app
	if reach.Scope != Public {
		s.actAsKey(e, app, reach)
	}
	return explain(e, e.Next())
}

// admit compares a key's reach with what the route needs. Schema and settings
// speak of all collections, so a key limited to some of them is not admitted.
func admit(reach Reach, need Scope) error {
	if reach.Scope == Public {
		return nil
	}
	if need == noKey {
		return router.NewForbiddenError("An API key needs no file token: it downloads files by its own header.", ErrReach)
	}
	if reach.Scope < need || need == Admin && reach.Collections != nil {
		return router.NewForbiddenError("The API key's scope does not cover this request.", ErrReach)
	}
	return nil
}

// warranted asks those for their warrant who are neither a tenant's user nor a guest
// under the API's rules.
func (s *Store) warranted(e *core.RequestEvent, need Scope) error {
	ctx := e.Request.Context()
	byRules := reachFrom(ctx).Scope == Public
	if kind := data.ActorFrom(ctx).Kind; byRules && (kind == data.Guest || kind == data.User) {
		return nil
	}
	q := e.Request.URL.Query()
	asked := url.Values{}
	for _, name := range []string{"filter", "sort"} {
		if q.Get(name) != "" {
			asked.Set(name, q.Get(name))
		}
	}
	err := s.admitted(ctx, levelOf(need), Use{What: e.Request.Pattern, Name: e.Request.PathValue("collection"), Query: asked.Encode()})
	if errors.Is(err, ErrWarrant) {
		return router.NewForbiddenError("Nobody has given you the records of this store.", err)
	}
	return err
}

// guardSuperusers shuts the ways into _superusers: its records are shadows of
// persons who sign in to Holdfast.
func (s *Store) guardSuperusers(e *core.RequestEvent) error {
	name := e.Request.PathValue("collection")
	if name == "" || superuserRoutes[e.Request.Pattern] {
		return nil
	}
	c, err := s.app.FindCachedCollectionByNameOrId(name)
	if err == nil && c.Name == core.CollectionNameSuperusers {
		return router.NewForbiddenError("Superusers are managed by Holdfast.", nil)
	}
	return nil
}

// actAsKey gives the event the standing of a superuser within the reach.
func (s *Store) actAsKey(e *core.RequestEvent, app *core.BaseApp, reach Reach) {
	self, err := s.keyRecord(e.Request.Context())
	if err != nil {
		return // no superusers collection: the request stays a guest's
	}
	e.Auth = self
	e.App = &reachApp{app, reach, self}
}

// Patterns are the routes that a store serves: all that a matrix of who may what has
// to know.
func Patterns() []string {
	all := slices.Collect(maps.Keys(routes))
	for _, r := range users.Routes() {
		all = append(all, r.Pattern)
	}
	slices.Sort(all)
	return all
}
