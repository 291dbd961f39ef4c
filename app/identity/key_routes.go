package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
	Scope       Scope      `json:"scope" enum:"read,write,admin"`
	Collections []string   `json:"collections" doc:"names when the key was made; empty: all"`
	Addresses   []string   `json:"addresses" doc:"addresses and networks that it is valid from; empty: any"`
	Created     time.Time  `json:"created"`
	Expires     time.Time  `json:"expires"`
	LastUsed    *time.Time `json:"lastUsed"`
	State       string     `json:"state" enum:"active,expired,revoked"`
	Hint        string     `json:"hint" doc:"how the key begins"`
	Key         string     `json:"key,omitempty" doc:"the whole key, only when it was just made"`
}

// KeyRequest asks for a key.
type KeyRequest struct {
	Name        string   `json:"name"`
	Scope       Scope    `json:"scope" enum:"read,write,admin"`
	Collections []string `json:"collections,omitempty" doc:"ids or names; left out: all"`
	Addresses   []string `json:"addresses,omitempty" doc:"addresses or networks that it is valid from; left out: any"`
	Expires     string   `json:"expires,omitempty" doc:"from now: 90d, 12h; 90d when left out"`
}

func (s *Service) keyRoutes() []api.Route {
	const path = "/api/v1/stores/{slug}/{env}/keys"
	route := api.Route{Permission: api.KeyManage, Scope: s.storeScope}
	list, create, revoke := route, route, route
	list.Method, list.Path, list.Summary, list.Paged = http.MethodGet, path, "List a store's API keys", true
	list.Response, list.Handler = api.Page[Key]{}, s.serveKeys
	create.Method, create.Path, create.Summary = http.MethodPost, path, "Make an API key; it is shown only in this answer"
	create.Request, create.Response, create.Status, create.Handler = KeyRequest{}, Key{}, http.StatusCreated, s.serveNewKey
	revoke.Method, revoke.Path, revoke.Summary = http.MethodDelete, path+"/{id}", "Revoke an API key at once"
	create.Assurance = api.Fresh
	revoke.Handler = s.serveRevokeKey
	return []api.Route{list, create, revoke}
}

func (s *Service) store(r *http.Request) (data.StoreID, error) {
	return s.config.Tenants.Store(r.Context(), r.PathValue("slug"), r.PathValue("env"))
}

// storeScope is the store of the path; one that is not there counts as the
// appliance, so that only who may see all learns so.
func (s *Service) storeScope(r *http.Request) api.Scope {
	id, err := s.store(r)
	if err != nil {
		return api.Scope{}
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
	n := NewKey{Name: strings.TrimSpace(in.Name), Scope: in.Scope, Collections: in.Collections, Addresses: in.Addresses}
	if n.Name == "" || utf8.RuneCountInString(n.Name) > 100 {
		add("name", "1 to 100 characters")
	}
	if n.Scope != ScopeRead && n.Scope != ScopeWrite && n.Scope != ScopeAdmin {
		add("scope", "want read, write or admin")
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

func (s *Service) serveRevokeKey(w http.ResponseWriter, r *http.Request) error {
	store, err := s.store(r)
	if err != nil {
		return err
	}
	if err := s.RevokeKey(r.Context(), store, r.PathValue("id")); err != nil {
		return err
	}
	return api.NoContent(w)
}

func (s *Service) serveKeys(w http.ResponseWriter, r *http.Request) error {
	store, err := s.store(r)
	if err != nil {
		return err
	}
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

// keyOrder maps what a list may be sorted by to the column.
var keyOrder = map[string]string{
	"": "created DESC, id", "name": "name", "scope": "scope", "created": "created", "expires": "expires", "lastUsed": "last_used",
}

func (s *Service) listKeys(ctx context.Context, store data.StoreID, page api.Paging) (api.Page[Key], error) {
	order, err := orderBy(keyOrder, page.Sort)
	if err != nil {
		return api.Page[Key]{}, err
	}
	const where = ` FROM api_keys WHERE store = ? AND instr(lower(name), lower(?)) > 0`
	var rows []keyRow
	var total int
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*)`+where, store.String(), page.Filter); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT `+keyColumns+where+order+` LIMIT ? OFFSET ?`,
			store.String(), page.Filter, page.PerPage, page.Offset())
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
	if at, ok := s.keys.used.Load(row.ID); ok {
		row.LastUsed = max(row.LastUsed, at.(int64))
	}
	return row.key(s.now())
}

func (r keyRow) key(now time.Time) (Key, error) {
	list, err := r.shownCollections()
	addresses, e := stringList(r.Addresses)
	if addresses == nil {
		addresses = []string{}
	}
	return Key{
		Addresses: addresses,
		ID:        r.ID, Name: r.Name, Scope: Scope(r.Scope), Collections: list, Hint: r.Hint, State: r.state(now),
		Created: fromMillis(r.Created), Expires: fromMillis(r.Expires), LastUsed: moment(r.LastUsed),
	}, errors.Join(err, e)
}

func (r keyRow) state(now time.Time) string {
	switch {
	case r.Revoked != 0:
		return "revoked"
	case millis(now) >= r.Expires:
		return "expired"
	}
	return active
}
