package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// shownRequest is a request as the context's actor sees it.
func (s *Service) shownRequest(ctx context.Context, r requestRow) (AccessRequest, error) {
	list, err := s.shownRequests(ctx, []requestRow{r})
	if err != nil {
		return AccessRequest{}, err
	}
	return list[0], nil
}

func (s *Service) shownRequests(ctx context.Context, rows []requestRow) ([]AccessRequest, error) {
	people := map[string]Person{hostHolder: {ID: hostHolder, Name: "Command line of the host"}}
	slugs, out := map[string]string{}, make([]AccessRequest, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = s.oneShown(ctx, r, people, slugs); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Service) oneShown(ctx context.Context, r requestRow, people map[string]Person, slugs map[string]string) (a AccessRequest, err error) {
	me, _ := holderOf(data.ActorFrom(ctx))
	a = AccessRequest{
		ID: r.ID, Role: r.Role, Glass: r.Glass, Emergency: r.Emergency, Lasts: spell(time.Duration(r.Seconds) * time.Second), Why: r.Why,
		Asked: fromMillis(r.Asked), Expires: fromMillis(r.Expires), State: r.state(s.now()), Decided: moment(r.Decided), Note: r.Note,
		Until: moment(r.Until), Mine: me == r.Requester, DecidedBy: []Person{},
	}
	if a.Tenant, err = s.slugOf(ctx, r.Tenant, slugs); err != nil {
		return a, err
	}
	if a.Requester, err = s.knownPerson(ctx, r.Requester, people); err != nil {
		return a, err
	}
	by := strings.FieldsFunc(r.DecidedBy, func(c rune) bool { return c == ',' })
	if a.State == requestOpen {
		if by, err = s.approvalsOf(ctx, r); err != nil {
			return a, err
		}
		if a.MayDecide, err = s.howToDecide(ctx, r, me, by); err != nil {
			return a, err
		}
	}
	for _, id := range by {
		p, err := s.knownPerson(ctx, id, people)
		if err != nil {
			return a, err
		}
		a.DecidedBy = append(a.DecidedBy, p)
	}
	return a, nil
}

func (s *Service) slugOf(ctx context.Context, tenant string, known map[string]string) (string, error) {
	if slug, ok := known[tenant]; ok {
		return slug, nil
	}
	slug, err := s.config.Tenants.Slug(ctx, tenant)
	if err != nil && !errors.Is(err, data.ErrNotFound) {
		return "", err
	}
	known[tenant] = slug
	return slug, nil
}

// knownPerson is who an id stands for; one that is gone has its id alone.
func (s *Service) knownPerson(ctx context.Context, id string, known map[string]Person) (Person, error) {
	if p, ok := known[id]; ok {
		return p, nil
	}
	row, err := s.personByID(ctx, id)
	if err != nil && !errors.Is(err, data.ErrNotFound) {
		return Person{}, err
	}
	p := row.person()
	p.ID = id
	known[id] = p
	return p, nil
}

func (s *Service) approvalsOf(ctx context.Context, r requestRow) (by []string, err error) {
	if !r.Emergency {
		return nil, nil
	}
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &by, `SELECT person FROM access_approvals WHERE request = ? ORDER BY at, person`, r.ID)
	})
	return by, err
}

// howToDecide tells how the holder may approve a request; nobody approves their own.
func (s *Service) howToDecide(ctx context.Context, r requestRow, holder string, by []string) (AccessDecide, error) {
	if holder == "" || holder == r.Requester {
		return NotDecide, nil
	}
	st, err := s.standing(ctx, holder)
	if err != nil {
		return NotDecide, err
	}
	now := s.now()
	if ok, _ := st.allows(api.MemberManage, r.Tenant, now); ok {
		return AsOwner, nil
	}
	if ok, _ := st.allows(api.AccessDecide, Appliance, now); ok && r.Emergency && holder != hostHolder && !slices.Contains(by, holder) {
		return AsOperators, nil
	}
	return NotDecide, nil
}

// requestsOf is a page of a tenant's requests, newest first.
func (s *Service) requestsOf(ctx context.Context, tenant string, only string, page api.Paging) (api.Page[AccessRequest], error) {
	return s.requestPage(ctx, page, only, `tenant = ?`, tenant)
}

// requestsFor is a page of what concerns the context's actor: requests of its own, and
// those that it may decide.
func (s *Service) requestsFor(ctx context.Context, only string, others bool, page api.Paging) (api.Page[AccessRequest], error) {
	actor := data.ActorFrom(ctx)
	me, _ := holderOf(actor)
	manages, err := s.Reach(ctx, actor, api.MemberManage)
	if err != nil {
		return api.Page[AccessRequest]{}, err
	}
	decides, err := s.Reach(ctx, actor, api.AccessDecide)
	if err != nil {
		return api.Page[AccessRequest]{}, err
	}
	tenants, _ := json.Marshal(append([]string{}, manages.Tenants...)) // strings always marshal
	const mine, theirs = `requester = ?`, `requester <> ? AND (tenant IN (SELECT value FROM json_each(?))
		OR emergency = 1 AND ? AND NOT EXISTS (SELECT 1 FROM access_approvals a WHERE a.request = access_requests.id AND a.person = ?))`
	operator := decides.All && me != hostHolder
	if others {
		return s.requestPage(ctx, page, only, theirs, me, string(tenants), operator, me)
	}
	return s.requestPage(ctx, page, only, `(`+mine+` OR `+theirs+`)`, me, me, string(tenants), operator, me)
}

func (s *Service) requestPage(ctx context.Context, page api.Paging, only, where string, args ...any) (api.Page[AccessRequest], error) {
	state, stateArgs, err := s.stateIs(only)
	if err != nil {
		return api.Page[AccessRequest]{}, err
	}
	where, args = ` FROM access_requests WHERE `+where+state, append(args, stateArgs...)
	var rows []requestRow
	var total int
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*)`+where, args...); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT `+requestColumns+where+` ORDER BY asked DESC, id LIMIT ? OFFSET ?`, append(args, page.PerPage, page.Offset())...)
	})
	if err != nil {
		return api.Page[AccessRequest]{}, fmt.Errorf("list access requests: %w", err)
	}
	items, err := s.shownRequests(ctx, rows)
	return api.NewPage(items, page, total), err
}

// stateIs narrows a list to a state as the clock has it.
func (s *Service) stateIs(state string) (string, []any, error) {
	now := millis(s.now())
	switch state {
	case "":
		return "", nil, nil
	case requestOpen:
		return ` AND state = 'open' AND expires > ?`, []any{now}, nil
	case requestApproved:
		return ` AND state = 'approved' AND valid_until > ?`, []any{now}, nil
	case "past":
		return ` AND NOT (state = 'open' AND expires > ? OR state = 'approved' AND valid_until > ?)`, []any{now, now}, nil
	}
	return "", nil, api.InvalidField("state", "want open, approved or past")
}
