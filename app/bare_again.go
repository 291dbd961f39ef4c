package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"holdfast/app/api"
	"holdfast/app/audit"
	"holdfast/data"
)

// revokedBefore is how much before the newest point of the system database the log is
// looked through: a point holds at least everything up to its time, but clocks of
// entries are read earlier.
const revokedBefore = 5 * time.Minute

// since lists what a log has since shortly before the newest point of the system
// database, the newest first.
func (b *bare) since(ctx context.Context, h *house, log string) (out []audit.Entry, err error) {
	const page = 500
	oldest := b.result.System.Time.Add(-revokedBefore)
	for {
		entries, _, err := h.audit.List(ctx, log, audit.Query{Offset: len(out), Limit: page})
		if err != nil {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		for _, e := range entries {
			if e.Time.Before(oldest) {
				return out, nil
			}
			out = append(out, e)
		}
		if len(entries) < page {
			return out, nil
		}
	}
}

// revokeAgain ends the API keys of which the log knows that they were revoked, and the
// system database, being older, does not.
func (b *bare) revokeAgain(ctx context.Context, h *house, all []returning) error {
	for _, r := range all {
		entries, err := b.since(ctx, h, r.id.String())
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Action != "key.revoke" || e.Erased {
				continue
			}
			err := h.identity.RevokeKey(ctx, r.id, e.Target)
			if errors.Is(err, data.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			b.result.Revoked++
		}
	}
	return nil
}

// endAgain closes accounts and ends roles, invites and keys of the control plane of
// which the log knows and the system database does not.
func (b *bare) endAgain(ctx context.Context, h *house, _ []returning) error {
	entries, err := b.since(ctx, h, audit.Appliance)
	if err != nil {
		return err
	}
	unlocked := map[string]bool{} // later
	for _, e := range entries {
		unlocked[e.Target] = unlocked[e.Target] || e.Action == "person.unlock"
		if e.Erased || e.Outcome != string(api.OK) || (e.Action == "person.lock" || e.Action == "person.disable") && unlocked[e.Target] {
			continue
		}
		done, err := h.identity.EndAgain(ctx, e.Action, e.Target, e.Detail, e.Time)
		if problem := api.AsProblem(err); err != nil && problem.Status == http.StatusConflict {
			b.warn("%s of %s at %s could not be carried out again: %s", e.Action, e.Target, e.Time.Format(time.RFC3339), problem.Detail)
			continue
		}
		if err != nil {
			return err
		}
		switch {
		case done && e.Action == "key.revoke":
			b.result.Revoked++
		case done:
			b.result.Ended++
		}
	}
	return nil
}

// accessAgain ends what was given by breaking glass, and what two persons asked for and
// approved, which no copy brings back, and sets
// tenants' policies of access to what their logs have.
func (b *bare) accessAgain(ctx context.Context, h *house, all []returning) error {
	ended, err := h.identity.EndGlass(ctx, "the appliance was restored")
	if err != nil {
		return err
	}
	b.result.Ended += ended
	if ended, err = h.identity.EndApprovals(ctx, "the appliance was restored"); err != nil {
		return err
	}
	b.result.Ended += ended
	for _, r := range all {
		if r.id.Environment != data.Prod {
			continue
		}
		if err := b.policyAgain(ctx, h, r.id); err != nil {
			return err
		}
	}
	return nil
}

// policyAgain takes the newest of a tenant's log.
func (b *bare) policyAgain(ctx context.Context, h *house, id data.StoreID) error {
	entries, err := b.since(ctx, h, id.String())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Action != "access-policy.set" || e.Erased || e.Outcome != string(api.OK) {
			continue
		}
		done, err := h.identity.AccessPolicyAgain(ctx, id.Tenant, e.Detail["emergency"] == "true", e.Time)
		if done {
			b.result.Ended++
		}
		return err
	}
	return nil
}
