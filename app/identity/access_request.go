package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// How long requests wait and what comes of them lasts at most.
const (
	RequestWaits  = 72 * time.Hour
	MaxGlass      = 8 * time.Hour
	MaxMembership = 90 * 24 * time.Hour
)

// Roles of what is given by breaking glass. Nobody can be given them otherwise.
const (
	GlassRead   = "glass"
	GlassExport = "glass-export"
)

// States of a request.
const (
	requestOpen      = "open"
	requestApproved  = "approved"
	requestRefused   = "refused"
	requestWithdrawn = "withdrawn"
	requestExpired   = "expired"
	requestEnded     = "ended"
)

// maxOpenRequests bounds those of one person.
const maxOpenRequests = 20

// AccessRequest is somebody's wish to be let into a tenant for a while.
type AccessRequest struct {
	ID        string       `json:"id"`
	Tenant    string       `json:"tenant" doc:"slug"`
	Requester Person       `json:"requester" doc:"id is host for the local socket's actor"`
	Role      string       `json:"role" doc:"of the tenant; glass: records may be read, glass-export: and taken out"`
	Glass     bool         `json:"glass" doc:"reading only; each use is recorded and shown to the tenant"`
	Emergency bool         `json:"emergency" doc:"two operators may approve it, if the tenant's policy allows that"`
	Lasts     string       `json:"lasts" doc:"from the approval: 2h, 30d"`
	Why       string       `json:"why"`
	Asked     time.Time    `json:"asked"`
	Expires   time.Time    `json:"expires" doc:"unanswered until then it counts no more"`
	State     string       `json:"state" enum:"open,approved,refused,withdrawn,expired,ended"`
	Decided   *time.Time   `json:"decided"`
	DecidedBy []Person     `json:"decidedBy"`
	Note      string       `json:"note" doc:"of who decided"`
	Until     *time.Time   `json:"until" doc:"when what was approved ends"`
	Mine      bool         `json:"mine"`
	MayDecide AccessDecide `json:"mayDecide" doc:"how the caller may approve it"`
}

// AccessDecide is as what somebody may approve a request.
type AccessDecide string

// The ways to approve. Nobody approves a request of their own.
const (
	NotDecide   AccessDecide = ""
	AsOwner     AccessDecide = "owner"     // holds member.manage on the tenant
	AsOperators AccessDecide = "operators" // one of two, in an emergency
)

// NewAccessRequest asks for access.
type NewAccessRequest struct {
	Role      string `json:"role,omitempty" doc:"a role of the tenant, at most 90d; left out: only to read records, at most 8h, each use recorded"`
	Export    bool   `json:"export,omitempty" doc:"without a role: to take whole collections out, too"`
	Lasts     string `json:"lasts,omitempty" doc:"30m, 2h, 30d; 1h when left out, 7d with a role"`
	Why       string `json:"why" doc:"shown to the tenant"`
	Emergency bool   `json:"emergency,omitempty" doc:"two operators may approve it, if the tenant's policy allows that"`
}

// requestRow is a request as the table holds it.
type requestRow struct {
	ID        string `db:"id"`
	Tenant    string `db:"tenant"`
	Requester string `db:"requester"`
	Role      string `db:"role"`
	Glass     bool   `db:"glass"`
	Emergency bool   `db:"emergency"`
	Seconds   int64  `db:"seconds"`
	Why       string `db:"why"`
	Asked     int64  `db:"asked"`
	Expires   int64  `db:"expires"`
	State     string `db:"state"`
	Decided   int64  `db:"decided"`
	DecidedBy string `db:"decided_by"`
	Note      string `db:"note"`
	Grant     string `db:"grant_id"`
	Until     int64  `db:"valid_until"`
}

const requestColumns = `id, tenant, requester, role, glass, emergency, seconds, why, asked, expires, state, decided, decided_by, note, grant_id, valid_until`

// check reads what was asked for.
func (n NewAccessRequest) check() (r requestRow, err error) {
	r = requestRow{Role: n.Role, Glass: n.Role == "", Emergency: n.Emergency, Why: strings.TrimSpace(n.Why)}
	most, lasts := MaxMembership, n.Lasts
	if r.Glass {
		most, r.Role = MaxGlass, GlassRead
		if n.Export {
			r.Role = GlassExport
		}
	}
	if lasts == "" {
		lasts = map[bool]string{true: "1h", false: "7d"}[r.Glass]
	}
	life, err := parseLife(lasts)
	switch {
	case err != nil || life > most:
		return r, api.InvalidField("lasts", "want at least 1m and at most %s, as 30m, 2h or 7d", spell(most))
	case r.Why == "" || utf8.RuneCountInString(r.Why) > 500:
		return r, api.InvalidField("why", "say why, in at most 500 characters: the tenant reads it")
	case n.Emergency && !r.Glass:
		return r, api.InvalidField("emergency", "is for reading only: leave the role out")
	case n.Export && !r.Glass:
		return r, api.InvalidField("export", "goes without a role")
	}
	r.Seconds = int64(life / time.Second)
	return r, nil
}

// spell writes a duration as it is asked for.
func spell(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

// AskAccess asks a tenant's owners to let the context's actor in.
func (s *Service) AskAccess(ctx context.Context, tenant string, n NewAccessRequest) (AccessRequest, error) {
	requester, ok := holderOf(data.ActorFrom(ctx))
	if !ok { // a key: what it may is said when it is made
		return AccessRequest{}, api.ErrForbidden
	}
	r, err := n.check()
	if err != nil {
		return AccessRequest{}, err
	}
	now := s.now()
	r.ID, r.Tenant, r.Requester, r.State = system.NewID(), tenant, requester, requestOpen
	r.Asked, r.Expires = millis(now), millis(now.Add(RequestWaits))
	err = s.noted(ctx, func(tx *sqlx.Tx) error {
		if err := s.mayAsk(ctx, tx, r); err != nil {
			return err
		}
		_, err := tx.NamedExecContext(ctx, `INSERT INTO access_requests (`+requestColumns+`) VALUES
			(:id, :tenant, :requester, :role, :glass, :emergency, :seconds, :why, :asked, :expires, :state, :decided, :decided_by, :note, :grant_id, :valid_until)`, r)
		return err
	}, func(ctx context.Context) error { return s.recordAccess(ctx, "access.request", r, nil) })
	if err != nil {
		return AccessRequest{}, fmt.Errorf("ask for access: %w", err)
	}
	return s.shownRequest(ctx, r)
}

func (s *Service) mayAsk(ctx context.Context, tx *sqlx.Tx, r requestRow) error {
	if !r.Glass {
		if _, err := s.effectOf(ctx, tx, r.Tenant, r.Role); err != nil {
			return err
		}
	}
	if r.Emergency {
		if p, err := policyOf(ctx, tx, r.Tenant); err != nil || !p.Emergency {
			return orElse(err, errNoEmergency())
		}
	}
	var same, all int
	err := errors.Join(
		tx.GetContext(ctx, &same, `SELECT count(*) FROM access_requests WHERE requester = ? AND tenant = ? AND role = ? AND state = 'open' AND expires > ?`,
			r.Requester, r.Tenant, r.Role, r.Asked),
		tx.GetContext(ctx, &all, `SELECT count(*) FROM access_requests WHERE requester = ? AND state = 'open' AND expires > ?`, r.Requester, r.Asked))
	switch {
	case err != nil:
		return err
	case same > 0:
		return api.Errorf(http.StatusConflict, "exists", "You have asked for this already; it waits for an answer.").Because(data.ErrExists)
	case all >= maxOpenRequests:
		return api.Errorf(http.StatusConflict, "too-many", "%d requests of yours wait already. Withdraw one first.", all)
	}
	return nil
}

func errNoEmergency() error {
	return api.Errorf(http.StatusConflict, "no-emergency", "This tenant does not let operators approve emergencies: one of its owners has to approve.")
}

// recordAccess enters a step of a request into the tenant's own log, where its people
// see it, and into the appliance's.
func (s *Service) recordAccess(ctx context.Context, action string, r requestRow, more map[string]string) error {
	d := r.detail(more)
	ctx = context.WithoutCancel(ctx)
	if err := s.recordTenant(ctx, r.Tenant, action, r.Requester, d); err != nil {
		return err
	}
	return s.record(ctx, action, r.Requester, api.OK, d)
}

// oweAccess is recordAccess for what holds even if it cannot be recorded.
func (s *Service) oweAccess(ctx context.Context, tx *sqlx.Tx, action string, r requestRow, more map[string]string) error {
	d := r.detail(more)
	if err := s.owe(ctx, tx, data.StoreID{Tenant: r.Tenant, Environment: data.Prod}.String(), action, r.Requester, d); err != nil {
		return err
	}
	return s.owe(ctx, tx, "", action, r.Requester, d)
}

// detail is what the logs tell of a request.
func (r requestRow) detail(more map[string]string) map[string]string {
	d := map[string]string{"request": r.ID, "role": r.Role, "lasts": spell(time.Duration(r.Seconds) * time.Second), "why": r.Why, "tenant": r.Tenant}
	if r.Emergency {
		d["emergency"] = "yes"
	}
	for k, v := range more {
		if v != "" {
			d[k] = v
		}
	}
	return d
}

// state is the row's, as the clock has it.
func (r requestRow) state(now time.Time) string {
	switch {
	case r.State == requestOpen && millis(now) >= r.Expires:
		return requestExpired
	case r.State == requestApproved && millis(now) >= r.Until:
		return requestEnded
	}
	return r.State
}

// request finds one of a tenant's. data.ErrNotFound.
func (s *Service) request(ctx context.Context, tenant, id string) (r requestRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &r, `SELECT `+requestColumns+` FROM access_requests WHERE id = ? AND tenant = ?`, id, tenant))
	})
	if err != nil {
		return r, fmt.Errorf("find access request: %w", err)
	}
	return r, nil
}
