package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Key is an API key as it is shown. Key holds the secret in the one answer to its
// creation, and nothing ever after.
type Key struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Scope       Scope      `json:"scope" enum:"read,write,admin,snapshot,control"`
	Collections []string   `json:"collections" doc:"names when the key was made; empty: all"`
	Addresses   []string   `json:"addresses" doc:"addresses and networks that it is valid from; empty: any"`
	Created     time.Time  `json:"created"`
	CreatedBy   string     `json:"createdBy"`
	Expires     time.Time  `json:"expires"`
	Warning     int        `json:"warning,omitempty" doc:"it ends within so many days, and nothing follows it"`
	LastUsed    *time.Time `json:"lastUsed"`
	LastAddress string     `json:"lastAddress,omitempty" doc:"where it was last used from"`
	State       string     `json:"state" enum:"active,expired,revoked,disabled"`
	Rate        int        `json:"rate" doc:"requests a minute"`
	Hint        string     `json:"hint" doc:"how the key begins"`
	Predecessor string     `json:"predecessor,omitempty" doc:"id of the key that this one follows"`
	Successor   string     `json:"successor,omitempty" doc:"id of the key that follows; this one goes on until it expires"`
	Key         string     `json:"key,omitempty" doc:"the whole key, only when it was just made"`

	Permissions []api.Permission `json:"permissions,omitempty" doc:"of a key of the control plane"`
}

// KeyRequest asks for a key.
type KeyRequest struct {
	Name        string   `json:"name"`
	Scope       Scope    `json:"scope" enum:"read,write,admin,snapshot"`
	Collections []string `json:"collections,omitempty" doc:"ids or names; left out: all"`
	Addresses   []string `json:"addresses,omitempty" doc:"addresses or networks that it is valid from; left out: any"`
	Expires     string   `json:"expires,omitempty" doc:"from now: 90d, 12h; 90d when left out"`
	Rate        int      `json:"rate,omitempty" doc:"requests a minute; 600000 when left out"`
}

func (s *Service) keyRoutes() []api.Route {
	const path = "/api/v1/stores/{slug}/{env}/keys"
	route := api.Route{Permission: api.KeyManage, Scope: s.storeScope}
	list, create, revoke, rotate, enable := route, route, route, route, route
	list.Method, list.Path, list.Summary, list.Paged = http.MethodGet, path, "List a store's API keys", true
	list.Response, list.Handler = api.Page[Key]{}, s.ofStore(s.serveKeys)
	create.Method, create.Path, create.Summary = http.MethodPost, path, "Make an API key; it is shown only in this answer"
	create.Request, create.Response, create.Status, create.Handler = KeyRequest{}, Key{}, http.StatusCreated, s.serveNewKey
	revoke.Method, revoke.Path, revoke.Summary = http.MethodDelete, path+"/{id}", "Revoke an API key at once"
	create.Assurance = api.Fresh
	revoke.Handler = s.ofStore(s.serveRevokeKey)
	rotate.Method, rotate.Path, rotate.Summary, rotate.Assurance = http.MethodPost, path+"/{id}/rotate", "Make a key that follows this one, which goes on for the overlap; shown only in this answer", api.Fresh
	rotate.Request, rotate.Response, rotate.Status, rotate.Handler = Rotation{}, Key{}, http.StatusCreated, s.ofStore(s.serveRotateKey)
	enable.Method, enable.Path, enable.Summary, enable.Assurance = http.MethodPost, path+"/{id}/enable", "Bring back a key that was disabled", api.Fresh
	enable.Handler = s.ofStore(s.serveEnableKey)
	return append([]api.Route{list, create, revoke, rotate, enable}, s.controlKeyRoutes()...)
}

// controlKeyRoutes are those of the control plane's keys.
func (s *Service) controlKeyRoutes() []api.Route {
	const path = "/api/v1/api-keys"
	return []api.Route{
		{Method: http.MethodGet, Path: path, Permission: api.OperatorRead, Paged: true, Summary: "List the control plane's API keys",
			Response: api.Page[Key]{}, Handler: ofControl(s.serveKeys)},
		{Method: http.MethodPost, Path: path, Permission: api.OperatorManage, Assurance: api.Fresh, Summary: "Make an API key for automation; it is shown only in this answer",
			Request: ControlKeyRequest{}, Response: Key{}, Status: http.StatusCreated, Handler: s.serveNewControlKey},
		{Method: http.MethodDelete, Path: path + "/{id}", Permission: api.OperatorManage, Summary: "Revoke a key of the control plane at once", Handler: ofControl(s.serveRevokeKey)},
		{Method: http.MethodPost, Path: path + "/{id}/rotate", Permission: api.OperatorManage, Assurance: api.Fresh, Summary: "Make a key of the control plane that follows this one, which goes on for the overlap",
			Request: Rotation{}, Response: Key{}, Status: http.StatusCreated, Handler: ofControl(s.serveRotateKey)},
		{Method: http.MethodPost, Path: path + "/{id}/enable", Permission: api.OperatorManage, Assurance: api.Fresh, Summary: "Bring back a key of the control plane that was disabled", Handler: ofControl(s.serveEnableKey)},
	}
}

// keyHandler serves keys of one store, "" being the control plane.
type keyHandler func(w http.ResponseWriter, r *http.Request, store string) error

// ofStore serves the keys of the path's store.
func (s *Service) ofStore(serve keyHandler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := s.store(r)
		if err != nil {
			return err
		}
		return serve(w, r, id.String())
	}
}

func ofControl(serve keyHandler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error { return serve(w, r, "") }
}

func (s *Service) store(r *http.Request) (data.StoreID, error) {
	return s.config.Tenants.Store(r.Context(), r.PathValue("slug"), r.PathValue("env"))
}

// storeScope is the store of the path; one that is not there counts as the
// appliance, so that only who may see all learns so.
func (s *Service) storeScope(r *http.Request) api.Scope {
	id, err := s.store(r)
	if err != nil {
		return api.Scope{Missing: err}
	}
	return api.StoreScope(id)
}

func (s *Service) serveNewKey(w http.ResponseWriter, r *http.Request) error {
	store, err := s.store(r)
	if err != nil {
		return err
	}
	var in KeyRequest
	if err := api.Read(r, &in); err != nil {
		return err
	}
	n, err := in.check()
	if err != nil {
		return err
	}
	made, err := s.CreateKey(r.Context(), store, n)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, made)
}

func (in KeyRequest) check() (NewKey, error) {
	var wrong []api.FieldError
	add := func(field, message string) { wrong = append(wrong, api.FieldError{Field: field, Message: message}) }
	n := NewKey{Name: strings.TrimSpace(in.Name), Scope: in.Scope, Collections: in.Collections, Addresses: in.Addresses, Rate: in.Rate}
	if n.Name == "" || utf8.RuneCountInString(n.Name) > 100 {
		add("name", "1 to 100 characters")
	}
	switch {
	case n.Scope == ScopePredict:
		add("scope", "predict is for predictions, of which this version has none: such a key would open nothing")
	case !slices.Contains([]Scope{ScopeRead, ScopeWrite, ScopeAdmin, ScopeSnapshot}, n.Scope):
		add("scope", "want read, write, admin or snapshot")
	}
	if n.Scope == ScopeSnapshot && len(in.Collections) > 0 {
		add("collections", "a snapshot has all of them; leave it out")
	}
	if in.Rate < 0 || in.Rate > MaxKeyRate {
		add("rate", fmt.Sprintf("1 to %d requests a minute", MaxKeyRate))
	}
	if message := checkCollections(in.Collections); message != "" {
		add("collections", message)
	}
	if in.Addresses != nil && len(in.Addresses) == 0 {
		add("addresses", "is empty; leave it out for any address")
	}
	life, err := parseLife(in.Expires)
	if err != nil {
		add("expires", err.Error())
	}
	n.Life = life
	if len(wrong) > 0 {
		return NewKey{}, api.Invalid(wrong...)
	}
	return n, nil
}

// checkCollections refuses an empty list: whoever sends one means "none", and
// it would be kept as "all".
func checkCollections(list []string) string {
	if list != nil && len(list) == 0 {
		return "is empty; leave it out for all collections"
	}
	if len(list) > 200 {
		return "at most 200"
	}
	for _, c := range list {
		if c == "" || len(c) > 255 {
			return "holds what is not a collection's name or id"
		}
	}
	return ""
}

// parseLife reads "90d", "12h", "30m"; "" is the default.
func parseLife(s string) (time.Duration, error) {
	if s == "" {
		return DefaultKeyLife, nil
	}
	units := map[string]time.Duration{"d": 24 * time.Hour, "h": time.Hour, "m": time.Minute}
	unit := units[s[len(s)-1:]]
	n, err := strconv.Atoi(s[:len(s)-1])
	if err != nil || unit == 0 || n < 1 {
		return 0, errors.New("want a number of days, hours or minutes: 90d, 12h, 30m")
	}
	if most := int(MaxKeyLife / unit); n > most {
		return 0, fmt.Errorf("at most %dd", int(MaxKeyLife/(24*time.Hour)))
	}
	return time.Duration(n) * unit, nil
}

func (s *Service) serveRevokeKey(w http.ResponseWriter, r *http.Request, store string) error {
	if err := s.revokeKey(r.Context(), store, r.PathValue("id")); err != nil {
		return err
	}
	return api.NoContent(w)
}

func (s *Service) serveRotateKey(w http.ResponseWriter, r *http.Request, store string) error {
	var in Rotation
	if err := api.Read(r, &in); err != nil {
		return err
	}
	overlap, life, err := in.check()
	if err != nil {
		return err
	}
	made, err := s.RotateKey(r.Context(), store, r.PathValue("id"), overlap, life)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, made)
}

func (s *Service) serveEnableKey(w http.ResponseWriter, r *http.Request, store string) error {
	if err := s.EnableKey(r.Context(), store, r.PathValue("id")); err != nil {
		return err
	}
	return api.NoContent(w)
}

func (s *Service) serveKeys(w http.ResponseWriter, r *http.Request, store string) error {
	page, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	list, err := s.listKeys(r.Context(), store, page)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, list)
}

// ControlKeyRequest asks for a key of the control plane.
type ControlKeyRequest struct {
	Name        string           `json:"name"`
	Permissions []api.Permission `json:"permissions" doc:"none that reaches records, that says who may what, or that the maker does not have"`
	Addresses   []string         `json:"addresses,omitempty" doc:"addresses or networks that it is valid from; left out: any"`
	Expires     string           `json:"expires,omitempty" doc:"from now: 90d, 12h; 90d when left out"`
	Rate        int              `json:"rate,omitempty" doc:"requests a minute; 600000 when left out"`
}

func (s *Service) serveNewControlKey(w http.ResponseWriter, r *http.Request) error {
	var in ControlKeyRequest
	if err := api.Read(r, &in); err != nil {
		return err
	}
	n, err := KeyRequest{Name: in.Name, Scope: ScopeSnapshot, Addresses: in.Addresses, Expires: in.Expires, Rate: in.Rate}.check()
	if err != nil {
		return err
	}
	n.Permissions = in.Permissions
	made, err := s.CreateControlKey(r.Context(), n)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, made)
}

// keyOrder maps what a list may be sorted by to the column.
var keyOrder = map[string]string{
	"": "created DESC, id", "name": "name", "scope": "scope", "created": "created", "expires": "expires", "lastUsed": "last_used",
}

func (s *Service) listKeys(ctx context.Context, store string, page api.Paging) (api.Page[Key], error) {
	order, err := orderBy(keyOrder, page.Sort)
	if err != nil {
		return api.Page[Key]{}, err
	}
	const where = ` FROM api_keys WHERE store = ? AND instr(lower(name), lower(?)) > 0`
	var rows []keyRow
	var total int
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*)`+where, store, page.Filter); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT `+keyColumns+where+order+` LIMIT ? OFFSET ?`,
			store, page.Filter, page.PerPage, page.Offset())
	})
	if err != nil {
		return api.Page[Key]{}, fmt.Errorf("list keys: %w", err)
	}
	items := make([]Key, len(rows))
	for i, row := range rows {
		if items[i], err = s.shown(row); err != nil {
			return api.Page[Key]{}, err
		}
	}
	return api.NewPage(items, page, total), nil
}

// shown is a key with its last use, which may not be in the table yet.
func (s *Service) shown(row keyRow) (Key, error) {
	if m, ok := s.keys.meters.Load(row.ID); ok {
		if at, address := m.(*meter).last(); at > row.LastUsed {
			row.LastUsed, row.LastAddress = at, address
		}
	}
	return row.key(s.now())
}

func (r keyRow) key(now time.Time) (Key, error) {
	list, err := r.shownCollections()
	addresses, e := stringList(r.Addresses)
	if addresses == nil {
		addresses = []string{}
	}
	allowed, e2 := r.permissionList()
	return Key{
		Addresses: addresses, Permissions: allowed, Rate: r.rate(), CreatedBy: r.CreatedBy,
		ID: r.ID, Name: r.Name, Scope: Scope(r.Scope), Collections: list, Hint: r.Hint, State: r.state(now),
		Created: fromMillis(r.Created), Expires: fromMillis(r.Expires), Warning: r.warning(now), LastUsed: moment(r.LastUsed), LastAddress: r.LastAddress,
		Predecessor: r.Predecessor, Successor: r.Successor,
	}, errors.Join(err, e, e2)
}

func (r keyRow) rate() int {
	if r.Rate == 0 {
		return DefaultKeyRate
	}
	return r.Rate
}

const keyDisabled = "disabled"

func (r keyRow) state(now time.Time) string {
	switch {
	case r.Revoked != 0:
		return "revoked"
	case millis(now) >= r.Expires:
		return "expired"
	case r.Disabled != 0:
		return keyDisabled
	}
	return active
}
