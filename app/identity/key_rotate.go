package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// How long a key that was followed by another goes on.
const (
	DefaultOverlap = 24 * time.Hour
	MaxOverlap     = 30 * 24 * time.Hour
)

// Rotation asks for a key that follows another.
type Rotation struct {
	Overlap string `json:"overlap,omitempty" doc:"how long the old key goes on: 24h, 7d; 24h when left out"`
	Expires string `json:"expires,omitempty" doc:"of the new key, from now: 90d, 12h; as long as the old one's when left out"`
}

func (in Rotation) check() (overlap, life time.Duration, err error) {
	var wrong []api.FieldError
	overlap, err = DefaultOverlap, nil
	if in.Overlap != "" {
		overlap, err = parseLife(in.Overlap)
	}
	if err == nil && overlap > MaxOverlap {
		err = fmt.Errorf("at most %dd", int(MaxOverlap/(24*time.Hour)))
	}
	if err != nil {
		wrong = append(wrong, api.FieldError{Field: "overlap", Message: err.Error()})
	}
	if in.Expires != "" {
		if life, err = parseLife(in.Expires); err != nil {
			wrong = append(wrong, api.FieldError{Field: "expires", Message: err.Error()})
		}
	}
	if len(wrong) > 0 {
		return 0, 0, api.Invalid(wrong...)
	}
	return overlap, life, nil
}

// RotateKey makes a key that follows another, with its scope, reach and rate, and
// lets the old one go on for the overlap. The new one lives as long as the old one
// was to when life is 0. data.ErrNotFound, or a 409 for a key that has ended or has
// a successor. Store is "" for the control plane.
func (s *Service) RotateKey(ctx context.Context, store, id string, overlap, life time.Duration) (Key, error) {
	old, err := s.keyOf(ctx, store, id)
	if err != nil {
		return Key{}, fmt.Errorf("rotate key: %w", err)
	}
	if err := s.mayRotate(ctx, old); err != nil {
		return Key{}, err
	}
	raw, made := s.following(ctx, old, life)
	if made.Store != "" { // one of the control plane may what its maker may, and no longer
		if made.Expires, err = s.keyEnd(ctx, made.tenant(), made.Expires); err != nil {
			return Key{}, err
		}
	}
	ends := min(old.Expires, millis(s.now().Add(overlap)))
	if err := s.follow(ctx, made, ends); err != nil {
		return Key{}, fmt.Errorf("rotate key: %w", err)
	}
	detail := made.detail()
	detail["predecessor"], detail["overlap_ends"] = old.ID, fromMillis(ends).Format(time.RFC3339)
	if err := s.recordIn(ctx, store, "key.rotate", made.ID, api.OK, detail); err != nil {
		return Key{}, errors.Join(err, s.unfollow(context.WithoutCancel(ctx), made, old.Expires))
	}
	s.alertOfKey(ctx, made)
	return made.inClear(raw, s.now())
}

// mayRotate refuses a key that cannot be followed, and one that may more than the
// context's actor.
func (s *Service) mayRotate(ctx context.Context, old keyRow) error {
	if old.Successor != "" {
		return api.Errorf(http.StatusConflict, "key-rotated", "The key has a successor already: %s.", old.Successor)
	}
	if old.ended(s.now()) != nil {
		return api.Errorf(http.StatusConflict, "key-ended", "The key is %s. Make a new one.", old.state(s.now()))
	}
	allowed, err := old.permissionList()
	if err != nil || len(allowed) == 0 {
		return err
	}
	return s.mayHandOut(ctx, old.tenant(), allowed)
}

// tenant is where the key's permissions hold.
func (r keyRow) tenant() string {
	if id, err := data.ParseStoreID(r.Store); err == nil {
		return id.Tenant
	}
	return Appliance
}

// following is a new key like another one.
func (s *Service) following(ctx context.Context, old keyRow, life time.Duration) (raw string, made keyRow) {
	if life == 0 {
		life = fromMillis(old.Expires).Sub(fromMillis(old.Created))
	}
	now := s.now()
	raw, made = anew(prefixOf(old.Store), old)
	made.Predecessor, made.CreatedBy = old.ID, data.ActorFrom(ctx).String()
	made.Created, made.Expires = millis(now), millis(now.Add(life))
	made.LastUsed, made.LastAddress, made.Enabled, made.Warned = 0, "", 0, 0
	return raw, made
}

// follow stores the new key, and the old one's end.
func (s *Service) follow(ctx context.Context, made keyRow, ends int64) error {
	defer s.keys.forget(made.Predecessor)
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE api_keys SET successor = ?, expires = ? WHERE id = ? AND successor = ''`, made.ID, ends, made.Predecessor)
		if err := changedOne(done, err); err != nil {
			return err
		}
		return insertKey(ctx, tx, made)
	})
}

func (s *Service) unfollow(ctx context.Context, made keyRow, expires int64) error {
	defer s.keys.forget(made.Predecessor)
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM api_keys WHERE id = ?`, made.ID)
		_, e := tx.ExecContext(ctx, `UPDATE api_keys SET successor = '', expires = ? WHERE id = ?`, expires, made.Predecessor)
		return errors.Join(err, e)
	})
}

// keyOf finds a key of a store. data.ErrNotFound.
func (s *Service) keyOf(ctx context.Context, store, id string) (row keyRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &row, `SELECT `+keyColumns+` FROM api_keys WHERE id = ? AND store = ?`, id, store))
	})
	return row, err
}
