package review

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
)

// Decisions. The first two are people's.
const (
	Confirmed = "confirmed"
	Revoked   = "revoked"
	Lapsed    = "lapsed" // revoked because nobody answered
	Kept      = "kept"   // unanswered, and not revoked: the last owner's
	Gone      = "gone"   // ended by other means before it was decided
)

// Item is one thing that is held, as a campaign saw it when it began, and what was
// decided of it.
type Item struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind" enum:"grant,key"`
	Held      string     `json:"held" doc:"id of the grant or key"`
	Store     string     `json:"store,omitempty" doc:"of a key: its store's id"`
	Holder    string     `json:"holder" doc:"who must not decide it; empty for a store's key"`
	Name      string     `json:"name"`
	Detail    string     `json:"detail" doc:"the person's address, or how far the key reaches"`
	Role      string     `json:"role" doc:"the role, or the key's scope"`
	Since     time.Time  `json:"since"`
	Until     *time.Time `json:"until"`
	Used      *time.Time `json:"used" doc:"last sign-in or use before the campaign; null: never"`
	Decision  string     `json:"decision" doc:"confirmed, revoked, lapsed, kept, gone; empty while it waits"`
	Note      string     `json:"note,omitempty"`
	Decided   *time.Time `json:"decided"`
	DecidedBy string     `json:"decidedBy,omitempty"`
}

// Decision is what somebody says of an item.
type Decision struct {
	Decision string `json:"decision" enum:"confirmed,revoked"`
	Note     string `json:"note,omitempty" doc:"why; at most 500 characters"`
}

func (d *Decision) check() error {
	d.Note = strings.TrimSpace(d.Note)
	if d.Decision != Confirmed && d.Decision != Revoked {
		return api.InvalidField("decision", "want confirmed or revoked")
	}
	if utf8.RuneCountInString(d.Note) > 500 {
		return api.InvalidField("note", "at most 500 characters")
	}
	return nil
}

// Decide confirms an item, or takes it away at once. The holder cannot; what is
// confirmed can still be revoked while the campaign is open. The campaign closes
// with its last item.
func (s *Service) Decide(ctx context.Context, review, item string, d Decision) (Item, error) {
	if err := d.check(); err != nil {
		return Item{}, err
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	row, err := s.row(ctx, review)
	if err != nil {
		return Item{}, err
	}
	it, err := s.itemOf(ctx, review, item)
	if err != nil {
		return Item{}, fmt.Errorf("item of a review: %w", err)
	}
	if err := mayDecide(data.ActorFrom(ctx), row, it); err != nil {
		return Item{}, err
	}
	if err := s.carryOut(ctx, row, &it, d); err != nil {
		return Item{}, err
	}
	_, err = s.finishIfDone(ctx, review)
	return it.item(), err
}

// mayDecide refuses what is over, and one's own.
func mayDecide(actor data.Actor, row reviewRow, it itemRow) error {
	if row.Closed != 0 {
		return api.Errorf(http.StatusConflict, "review-closed", "The review is closed. Begin another one.")
	}
	if it.Decision != "" && it.Decision != Confirmed {
		return api.Errorf(http.StatusConflict, "decided", "This is decided: %s.", it.Decision)
	}
	holder := data.ParseActor(it.Holder)
	if it.Holder != "" && holder.Kind == actor.Kind && (holder.ID == actor.ID || actor.Kind == data.Host) {
		return api.Errorf(http.StatusForbidden, "own-access", "This is your own access. Somebody else has to decide it.").Because(api.ErrForbidden)
	}
	return nil
}

// carryOut does what was decided, and writes it down.
func (s *Service) carryOut(ctx context.Context, row reviewRow, it *itemRow, d Decision) error {
	if d.Decision == Revoked {
		err := s.config.Access.End(ctx, it.held())
		switch {
		case errors.Is(err, data.ErrNotFound):
			d.Decision = Gone
		case errors.Is(err, ErrLastOwner):
			return api.Errorf(http.StatusConflict, "last-owner", "This would leave nobody who owns it. Make somebody else an owner first.").Because(err)
		case err != nil:
			return err
		}
	}
	return s.decided(ctx, row, it, d)
}

// decided enters a decision into the log and the table.
func (s *Service) decided(ctx context.Context, row reviewRow, it *itemRow, d Decision) error {
	it.Decision, it.Note, it.Decided, it.DecidedBy = d.Decision, d.Note, millis(s.now()), data.ActorFrom(ctx).String()
	detail := map[string]string{"review": row.ID, "decision": d.Decision, "kind": it.Kind, "role": it.Role, "name": it.Name, "scope": row.Name}
	if d.Note != "" {
		detail["note"] = d.Note
	}
	if err := s.record(ctx, row.Scope, "review.decide", it.Held, detail); err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `UPDATE review_items SET decision = :decision, note = :note, decided = :decided, decided_by = :decided_by WHERE id = :id`, it)
		return err
	})
}
