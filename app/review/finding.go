package review

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Finding is something that is not as it should be, with the way out of it.
type Finding struct {
	ID       string
	Severity string // critical, warning, info
	What     string
	Fix      string
}

// Findings lists what asks for somebody: campaigns that wait, last owners that nobody
// confirmed, accounts that nobody uses.
func (s *Service) Findings(ctx context.Context) (out []Finding, err error) {
	scopes, err := s.config.Access.Scopes(ctx)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, scope := range scopes {
		names[scope.ID] = scope.Name
	}
	open, err := s.open(ctx)
	for _, r := range open {
		if name, live := names[r.Scope]; live && err == nil {
			out, err = s.ofCampaign(ctx, out, r, name)
		}
	}
	if err != nil {
		return out, err
	}
	if out, err = s.ofKept(ctx, out, names); err != nil {
		return out, err
	}
	if out, err = s.ofIdle(ctx, out); err != nil {
		return out, err
	}
	return s.ofIdleKeys(ctx, out)
}

func (s *Service) ofCampaign(ctx context.Context, out []Finding, r reviewRow, name string) ([]Finding, error) {
	sum, err := s.summary(ctx, r.ID)
	if err != nil || sum.Waiting == 0 {
		return out, err
	}
	f := Finding{"review-waits", "info", fmt.Sprintf("The access review of %s has %d of %d left to decide until %s.", name, sum.Waiting, sum.Items, timeOf(r.Due).Format("2006-01-02")),
		"Decide them under Reviews, or: holdfast review show " + r.ID}
	if r.Noticed != 0 {
		f.ID, f.Severity = "review-overdue", "warning"
		f.What = fmt.Sprintf("The access review of %s is overdue: %d of %d are revoked on %s if nobody answers for them.", name, sum.Waiting, sum.Items, r.ends().Format("2006-01-02 15:04 MST"))
	}
	return append(out, f), nil
}

func (s *Service) ofIdleKeys(ctx context.Context, out []Finding) ([]Finding, error) {
	rows, err := s.idleKeyRows(ctx)
	if err == nil && len(rows) > 0 {
		out = append(out, Finding{"keys-idle", "info", fmt.Sprintf("%d API keys were not used for long and will be disabled.", len(rows)),
			"What needs one uses it. holdfast audit list shows which, and when: key.idle"})
	}
	return out, err
}

// ofKept tells of last owners that the last review of their scope kept unanswered.
func (s *Service) ofKept(ctx context.Context, out []Finding, names map[string]string) ([]Finding, error) {
	var rows []struct {
		Scope  string `db:"scope"`
		Holder string `db:"name"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT r.scope, i.name FROM review_items i JOIN reviews r ON r.id = i.review WHERE i.decision = ? AND r.closed <> 0
			AND r.started = (SELECT max(l.started) FROM reviews l WHERE l.scope = r.scope) ORDER BY r.scope, i.name`, Kept)
	})
	for _, r := range rows {
		if name, live := names[r.Scope]; live {
			out = append(out, Finding{"review-last-owner", "warning", fmt.Sprintf("Nobody confirmed that %s owns %s. The last owner is not revoked.", r.Holder, name),
				"Make somebody else an owner, too, and review again: holdfast review start" + argument(r.Scope, name)})
		}
	}
	return out, err
}

func argument(scope, name string) string {
	if scope == Appliance {
		return ""
	}
	return " " + name
}

func (s *Service) ofIdle(ctx context.Context, out []Finding) ([]Finding, error) {
	policy, err := s.Policy(ctx)
	if err != nil {
		return out, err
	}
	rows, err := s.idleRows(ctx)
	waiting := 0
	for _, r := range rows {
		if r.Kept != 0 {
			out = append(out, Finding{"owner-idle", "warning", fmt.Sprintf("%s has not signed in since %s and is the last owner of something, so the account stays.", r.Name, timeOf(r.Since).Format("2006-01-02")),
				"Make somebody else an owner, too; the account is disabled then."})
			continue
		}
		waiting++
	}
	if waiting > 0 {
		out = append(out, Finding{"accounts-idle", "info", fmt.Sprintf("%d accounts were not used for long and will be disabled %d days after their last sign-in.", waiting, policy.Dormant),
			"Who needs one signs in. holdfast audit list shows which: person.idle"})
	}
	return out, err
}
