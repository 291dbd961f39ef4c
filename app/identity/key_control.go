package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"holdfast/app/api"
	"holdfast/data"
)

// Keys of the control plane are for operators' automation. A key may what it was
// made for as long as its maker may it, too, and never: see or change records, say
// who may what, or do what a person is asked a fresh factor for.

// automatable are the permissions that a key of the control plane can hold: a list
// of what is allowed, so that a new permission is not until somebody thinks of it.
var automatable = permissions{
	api.TenantCreate: true, api.TenantRead: true, api.EnvironmentCreate: true, api.OperatorRead: true, api.MemberRead: true,
	api.SnapshotRead: true, api.SnapshotCreate: true, api.DrillRun: true, api.TargetRead: true, api.TargetManage: true,
	api.AuditRead: true, api.OperationRead: true, api.OperationCancel: true, api.DisposalRead: true, api.CustodyRead: true, api.DoctorRead: true, api.ReviewRead: true,
}

// CreateControlKey makes a key of the control plane and gives it in clear, once. Only
// a person or the host can make one, with no permission that they do not have.
func (s *Service) CreateControlKey(ctx context.Context, n NewKey) (Key, error) {
	if by := data.ActorFrom(ctx).Kind; by != data.Person && by != data.Host {
		return Key{}, api.Errorf(http.StatusForbidden, "no-person", "Only people make keys of the control plane.").Because(api.ErrForbidden)
	}
	if len(n.Permissions) == 0 {
		return Key{}, api.InvalidField("permissions", "name at least one")
	}
	for _, p := range n.Permissions {
		if !automatable[p] {
			return Key{}, api.InvalidField("permissions", "%.40q is no permission that a key can hold; it can hold %s", p, automatableNames())
		}
	}
	slices.Sort(n.Permissions)
	n.Permissions = slices.Compact(n.Permissions)
	if err := s.mayHandOut(ctx, Appliance, n.Permissions); err != nil {
		return Key{}, err
	}
	addresses, err := cleanAddresses(n.Addresses)
	if err != nil {
		return Key{}, err
	}
	n.Scope = ScopeControl
	raw, row := s.newRow(ctx, appliancePrefix, "", n)
	row.Addresses = addresses
	return s.keepKey(ctx, raw, row)
}

func automatableNames() string {
	var names []string
	for _, p := range list(automatable) {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

func prefixOf(store string) string {
	if store == "" {
		return appliancePrefix
	}
	return keyPrefix
}

func (r keyRow) permissionList() (out []api.Permission, err error) {
	if err := json.Unmarshal([]byte(r.Permissions), &out); err != nil {
		return nil, fmt.Errorf("read the key's permissions: %w", err)
	}
	return out, nil
}

func (r keyRow) permissionSet() (permissions, error) {
	out, err := r.permissionList()
	return setOf(out), err
}

// controlKey finds a key that may something on the control plane.
// api.ErrUnauthenticated for any other, and for one that has ended.
func (s *Service) controlKey(ctx context.Context, id string) (cachedKey, error) {
	k, err := s.keyByID(ctx, id)
	if errors.Is(err, data.ErrNotFound) {
		return k, api.ErrUnauthenticated
	}
	if err == nil {
		err = k.row.ended(s.now())
	}
	if err == nil && len(k.permissions) == 0 {
		err = api.ErrUnauthenticated
	}
	return k, err
}

// authorizeKey decides for a key: one of the control plane holds its permissions
// where its maker does, one of a store only in that very store.
func (s *Service) authorizeKey(ctx context.Context, id string, p api.Permission, scope api.Scope) error {
	k, err := s.controlKey(ctx, id)
	if err != nil {
		return err
	}
	if !k.permissions[p] {
		return api.ErrForbidden
	}
	if k.row.Store != "" {
		return orForbidden(scope.Store == k.row.Store)
	}
	return s.Authorize(ctx, data.ParseActor(k.row.CreatedBy), p, scope)
}

// reachOfKey is Reach for a key.
func (s *Service) reachOfKey(ctx context.Context, id string, p api.Permission) (api.Reach, error) {
	k, err := s.controlKey(ctx, id)
	if err != nil || k.row.Store != "" || !k.permissions[p] {
		return api.Reach{}, err
	}
	return s.Reach(ctx, data.ParseActor(k.row.CreatedBy), p)
}

type hereKey struct{}

// hereFound is what a request's key turned out to be.
type hereFound struct {
	actor data.Actor
	err   error
}

// Keyed goes before the control plane's router: it finds out who a request's key is,
// counts the request, and tells on the answer how much of the key's rate is left.
func (s *Service) Keyed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw := KeyFromRequest(r)
		if raw == "" {
			next.ServeHTTP(w, r)
			return
		}
		k, err := s.resolveHere(r.Context(), raw, r.RemoteAddr)
		if err == nil {
			k.Headers(w.Header())
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), hereKey{}, hereFound{k.Actor(), err})))
	})
}

// keyHere is the actor of a request's key on the base host.
func (s *Service) keyHere(r *http.Request, raw string) (data.Actor, error) {
	found, ok := r.Context().Value(hereKey{}).(hereFound)
	if !ok {
		k, err := s.resolveHere(r.Context(), raw, r.RemoteAddr)
		found = hereFound{k.Actor(), err}
	}
	if found.err != nil {
		return data.Actor{Kind: data.Guest}, found.err
	}
	return found.actor, nil
}

// resolveHere tells who a key is on the base host: one of the control plane, or one
// of a store that may something here. Any other is answered in one way.
func (s *Service) resolveHere(ctx context.Context, raw, from string) (KeyIdentity, error) {
	if id, _, err := parseAs(appliancePrefix, raw); err == nil {
		return s.resolve(ctx, id, raw, from, func(r keyRow) bool { return r.Store == "" })
	}
	id, _, err := parseKey(raw)
	if err != nil {
		return KeyIdentity{}, errKeyHere
	}
	k, err := s.resolve(ctx, id, raw, from, func(r keyRow) bool { return Scope(r.Scope) == ScopeSnapshot })
	if errors.Is(err, errKeyUnknown) {
		err = errKeyHere
	}
	return k, err
}

// Automatable says whether a key of the control plane can hold the permission.
func Automatable(p api.Permission) bool { return automatable[p] }
