package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// AccessPolicy is what a tenant allows without its owners.
type AccessPolicy struct {
	Emergency bool `json:"emergency" doc:"two operators, neither of whom asked, may approve an emergency; its owners see it at once"`
}

// policyOf is a tenant's; without a row nothing goes without an owner.
func policyOf(ctx context.Context, tx *sqlx.Tx, tenant string) (p AccessPolicy, err error) {
	err = tx.GetContext(ctx, &p.Emergency, `SELECT emergency FROM access_policies WHERE tenant = ?`, tenant)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return p, err
}

func (s *Service) accessPolicy(ctx context.Context, tenant string) (p AccessPolicy, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		p, err = policyOf(ctx, tx, tenant)
		return err
	})
	return p, err
}

// setAccessPolicy is in the tenant's log before it is so.
func (s *Service) setAccessPolicy(ctx context.Context, tenant string, p AccessPolicy) error {
	err := s.noted(ctx, func(tx *sqlx.Tx) error { return storeAccessPolicy(ctx, tx, tenant, p, s.now()) }, func(ctx context.Context) error {
		return s.recordTenant(ctx, tenant, "access-policy.set", tenant, map[string]string{"emergency": strconv.FormatBool(p.Emergency)})
	})
	if err != nil {
		return fmt.Errorf("set access policy: %w", err)
	}
	return nil
}

func storeAccessPolicy(ctx context.Context, tx *sqlx.Tx, tenant string, p AccessPolicy, at time.Time) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO access_policies (tenant, emergency, updated, updated_by) VALUES (?, ?, ?, ?)
		ON CONFLICT (tenant) DO UPDATE SET emergency = excluded.emergency, updated = excluded.updated, updated_by = excluded.updated_by`,
		tenant, p.Emergency, millis(at), data.ActorFrom(ctx).String())
	return err
}

func (s *Service) serveAccessPolicy(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	p, err := s.accessPolicy(r.Context(), tenant)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, p)
}

func (s *Service) serveSetAccessPolicy(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	var in AccessPolicy
	if err := api.Read(r, &in); err != nil {
		return err
	}
	if in.Emergency { // whoever is an owner for an hour does not open it for good
		if err := s.mayKeep(r.Context(), tenant, []api.Permission{api.MemberManage}); err != nil {
			return err
		}
	}
	if err := s.setAccessPolicy(r.Context(), tenant, in); err != nil {
		return err
	}
	return s.serveAccessPolicy(w, r)
}
