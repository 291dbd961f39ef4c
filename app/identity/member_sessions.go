package identity

import (
	"context"
	"encoding/hex"
	"net/http"
	"slices"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// A session is a person's, and the person may have roles in several tenants. So a tenant
// ends what concerns it: the person's access to the tenant through that session. Only
// where all of a person's roles are in the tenant does the whole session end. Whole
// sessions of others are for who manages operators (sessionRoutes).

// MemberSession is a member's session as the tenant sees it.
type MemberSession struct {
	ID      string    `json:"id"`
	Device  string    `json:"device"`
	Address string    `json:"address,omitempty" doc:"left out where the person has roles elsewhere, too: where they are then is not the tenant's business"`
	Method  Method    `json:"method,omitempty"`
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen" doc:"to the hour, for such a person"`
	Ends    time.Time `json:"ends" doc:"at the latest"`
	Whole   bool      `json:"whole" doc:"ending it signs the device out; else only this tenant is closed to it until the person signs in again"`
	Current bool      `json:"current" doc:"the one that asks"`
}

func (s *Service) memberSessionRoutes() []api.Route {
	const path = "/api/v1/tenants/{slug}/members/{id}/sessions"
	return []api.Route{
		{Method: http.MethodGet, Path: path, Permission: api.MemberManage, Scope: s.tenantScope, Paged: true, Response: api.Page[MemberSession]{},
			Summary: "A member's sessions that reach the tenant", Handler: s.serveMemberSessions},
		{Method: http.MethodDelete, Path: path, Permission: api.MemberManage, Scope: s.tenantScope,
			Summary: "End a member's access to the tenant in all sessions, but the one that asks", Handler: s.serveEndMemberSessions},
		{Method: http.MethodDelete, Path: path + "/{session}", Permission: api.MemberManage, Scope: s.tenantScope,
			Summary: "End a member's access to the tenant in one session", Handler: s.serveEndMemberSession},
	}
}

// memberHere is the path's tenant and person, and whether all of the person's roles are
// there. data.ErrNotFound for who has none.
func (s *Service) memberHere(r *http.Request) (tenant, person string, whole bool, err error) {
	if tenant, err = s.tenant(r); err != nil {
		return "", "", false, err
	}
	person = r.PathValue("id")
	st, err := s.standing(r.Context(), person)
	if err != nil {
		return "", "", false, err
	}
	scopes := st.scopes(s.now())
	if person == hostHolder || !slices.Contains(scopes, tenant) {
		return "", "", false, data.ErrNotFound
	}
	return tenant, person, len(scopes) == 1, nil
}

func (s *Service) serveMemberSessions(w http.ResponseWriter, r *http.Request) error {
	tenant, person, whole, err := s.memberHere(r)
	if err != nil {
		return err
	}
	page, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	all, err := s.sessions.of(r.Context(), person)
	if err != nil {
		return err
	}
	this, err := s.sessions.lookup(r.Context(), s.token(r))
	if err != nil && !isNotFound(err) { // the local socket has none
		return err
	}
	items := []MemberSession{}
	for _, found := range all {
		if slices.Contains(found.Barred, tenant) {
			continue
		}
		shown, err := s.shownSession(r, found, this.ID)
		if err != nil {
			return err
		}
		items = append(items, shown.toTenant(whole))
	}
	return api.Respond(w, http.StatusOK, api.Cut(items, page))
}

// toTenant leaves out what concerns others than the tenant.
func (s SessionShown) toTenant(whole bool) MemberSession {
	m := MemberSession{ID: s.ID, Device: s.Device, Address: s.Address, Method: s.Method, Created: s.Created, Seen: s.Seen, Ends: s.Ends, Whole: whole, Current: s.Current}
	if !whole {
		m.Address, m.Seen = "", s.Seen.Truncate(time.Hour)
		if m.Seen.Before(m.Created) {
			m.Seen = m.Created
		}
	}
	return m
}

func (s *Service) serveEndMemberSession(w http.ResponseWriter, r *http.Request) error {
	return s.endMember(w, r, r.PathValue("session"), func(ctx context.Context, tenant, person string, whole bool) error {
		if whole {
			return s.sessions.endByID(ctx, person, r.PathValue("session"))
		}
		return s.sessions.bar(ctx, person, tenant, func(id string) bool { return id == r.PathValue("session") })
	})
}

func (s *Service) serveEndMemberSessions(w http.ResponseWriter, r *http.Request) error {
	return s.endMember(w, r, "all", func(ctx context.Context, tenant, person string, whole bool) error {
		if whole {
			return s.sessions.endAll(ctx, person, s.token(r))
		}
		this := hashToken(s.token(r)).id()
		err := s.sessions.bar(ctx, person, tenant, func(id string) bool { return id != this })
		return orElse(ifTrue(!isNotFound(err), err), nil) // none is as good
	})
}

// endMember ends sessions of a member, of nobody who may more than the one who asks. It
// is recorded after the deed, as the other ends of sessions are.
func (s *Service) endMember(w http.ResponseWriter, r *http.Request, which string, end func(ctx context.Context, tenant, person string, whole bool) error) error {
	ctx := r.Context()
	tenant, person, whole, err := s.memberHere(r)
	if err != nil {
		return err
	}
	if err := s.mayChange(ctx, tenant, person); err != nil {
		return err
	}
	if err := end(ctx, tenant, person, whole); err != nil {
		return err
	}
	store := data.StoreID{Tenant: tenant, Environment: data.Prod}.String()
	if err := s.recordIn(ctx, store, "member.session.end", person, api.OK, map[string]string{"session": which}); err != nil {
		return err
	}
	return api.NoContent(w)
}

// id is how a session is called where its token is not.
func (d digest) id() string { return hex.EncodeToString(d[:8]) }

// bar closes a tenant to those of a person's sessions that are meant. data.ErrNotFound
// when there is none.
func (s *sessions) bar(ctx context.Context, person, tenant string, meant func(id string) bool) error {
	s.turn.Lock() // a renewal must not leave the bar behind
	defer s.turn.Unlock()
	digests, err := s.digests(ctx, person)
	if err != nil {
		return err
	}
	none := true
	for _, d := range digests {
		if !meant(d.id()) {
			continue
		}
		err := s.barOne(ctx, d, tenant)
		if err != nil && !isNotFound(err) {
			return err
		}
		none = none && err != nil
	}
	if none {
		return data.ErrNotFound
	}
	if s.ended != nil { // what is open in the stores does not ask again; elsewhere it opens anew
		return s.ended(ctx, person)
	}
	return nil
}

// barOne bars in memory first: from then on no request gets in, even if the disk fails.
func (s *sessions) barOne(ctx context.Context, d digest, tenant string) error {
	stored, err := s.load(ctx, d)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.live[d]
	if l == nil {
		l = &liveSession{session: stored, stored: stored.Seen}
		s.live[d] = l
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return data.ErrNotFound
	}
	if !slices.Contains(l.session.Barred, tenant) {
		l.session.Barred = append(slices.Clone(l.session.Barred), tenant) // others read the old one
	}
	return s.save(ctx, d, l.session)
}

// barredHere refuses a tenant's things to a session that one of its people ended there.
func barredHere(r *http.Request, session Session) error {
	if len(session.Barred) == 0 || !slices.Contains(session.Barred, api.ScopeFrom(r.Context()).Tenant) {
		return nil
	}
	return api.Errorf(http.StatusForbidden, "tenant-signed-out", "Somebody who manages this tenant's people signed this device out of it. Sign out, and in again.").Because(api.ErrForbidden)
}

var _ api.Narrower = (*Service)(nil)

type barredKey struct{}

// Narrow has lists leave out the tenants whose people ended the request's session there.
// A role of the appliance reaches all tenants' names, and goes on doing so.
func (s *Service) Narrow(r *http.Request, _ data.Actor) (context.Context, error) {
	session, err := s.sessions.lookup(r.Context(), s.token(r))
	if isNotFound(err) {
		err = api.ErrUnauthenticated
	}
	return context.WithValue(r.Context(), barredKey{}, session.Barred), err
}

// barredFrom says which tenants the request's session reaches no more.
func barredFrom(ctx context.Context) func(tenant string) bool {
	barred, _ := ctx.Value(barredKey{}).([]string)
	return func(tenant string) bool { return slices.Contains(barred, tenant) }
}
