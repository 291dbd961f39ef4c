package identity

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// NewKey is what a key is made of.
type NewKey struct {
	Name        string
	Scope       Scope
	Collections []string      // ids or names; empty: all
	Addresses   []string      // addresses or networks; empty: any
	Life        time.Duration // 0: DefaultKeyLife
	Rate        int           // requests a minute; 0: DefaultKeyRate
	Permissions []api.Permission
}

// snapshotPermissions are what the scope snapshot may in its store: an operation is
// how the answer to a snapshot or a verification is watched.
var snapshotPermissions = []api.Permission{api.SnapshotRead, api.SnapshotCreate, api.OperationRead}

// CreateKey makes a key for a store and gives it in clear, once. It answers a 422
// for a collection that the store does not have.
func (s *Service) CreateKey(ctx context.Context, store data.StoreID, n NewKey) (Key, error) {
	if n.Scope == ScopeSnapshot {
		if err := s.mayHandOut(ctx, store.Tenant, snapshotPermissions); err != nil {
			return Key{}, err
		}
		n.Permissions = snapshotPermissions
	}
	reach, err := s.collections(ctx, store, n.Collections)
	if err != nil {
		return Key{}, err
	}
	addresses, err := cleanAddresses(n.Addresses)
	if err != nil {
		return Key{}, err
	}
	raw, row := s.newRow(ctx, keyPrefix, store.String(), n)
	if row.Expires, err = s.keyEnd(ctx, store.Tenant, row.Expires); err != nil {
		return Key{}, err
	}
	row.Addresses = addresses
	row.Collections, row.Names = jsonOf(reach, func(c Collection) string { return c.ID }), jsonOf(reach, func(c Collection) string { return c.Name })
	return s.keepKey(ctx, raw, row)
}

// keyEnd is when a key of a tenant's store ends at the latest: with its maker's own right
// to make keys.
func (s *Service) keyEnd(ctx context.Context, tenant string, expires int64) (int64, error) {
	actor := data.ActorFrom(ctx)
	if _, holder := holderOf(actor); !holder { // the program itself
		return expires, nil
	}
	st, err := s.actorStanding(ctx, actor)
	if err != nil {
		return 0, err
	}
	now := s.now()
	if ok, _ := st.allows(api.KeyManage, tenant, now); !ok && actor.Kind == data.Person {
		return 0, errMore(api.KeyManage) // it ended since the route asked
	}
	return millis(sooner(fromMillis(expires), st.lasts(tenant, api.KeyManage, now))), nil
}

// keepKey stores and records a key, and gives it in clear.
func (s *Service) keepKey(ctx context.Context, raw string, row keyRow) (Key, error) {
	if err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error { return insertKey(ctx, tx, row) }); err != nil {
		return Key{}, fmt.Errorf("create key: %w", err)
	}
	err := s.recordIn(ctx, row.Store, "key.create", row.ID, api.OK, row.detail())
	if err = s.orUndo(ctx, err, `DELETE FROM api_keys WHERE id = ?`, row.ID); err != nil {
		return Key{}, err
	}
	s.alertOfKey(ctx, row)
	return row.inClear(raw, s.now())
}

func (r keyRow) inClear(raw string, now time.Time) (Key, error) {
	made, err := r.key(now)
	made.Key = raw
	return made, err
}

// newRow makes the key itself.
func (s *Service) newRow(ctx context.Context, prefix, store string, n NewKey) (raw string, row keyRow) {
	if n.Life == 0 {
		n.Life = DefaultKeyLife
	}
	now := s.now()
	raw, row = anew(prefix, keyRow{
		Store: store, Name: n.Name, Scope: string(n.Scope), Collections: "[]", Names: "[]", Addresses: "[]", Rate: n.Rate,
		Permissions: permissionsJSON(n.Permissions), CreatedBy: data.ActorFrom(ctx).String(), Created: millis(now), Expires: millis(now.Add(n.Life)),
	})
	return raw, row
}

// anew gives a row an id and a secret of its own.
func anew(prefix string, row keyRow) (raw string, made keyRow) {
	row.ID = system.NewID()
	raw = formatAs(prefix, row.ID, newSecret())
	hash := sha256.Sum256([]byte(raw))
	row.Hash, row.Hint = hash[:], raw[:len(prefix)+4]+"…"
	return raw, row
}

func insertKey(ctx context.Context, tx *sqlx.Tx, row keyRow) error {
	_, err := tx.NamedExecContext(ctx, `INSERT INTO api_keys
		(id, store, name, scope, collections, addresses, names, permissions, hash, hint, created, created_by, expires, rate, predecessor)
		VALUES (:id, :store, :name, :scope, :collections, :addresses, :names, :permissions, :hash, :hint, :created, :created_by, :expires, :rate, :predecessor)`, row)
	return err
}

// RevokeKey ends a key of a store at once. data.ErrNotFound when the store has no
// such key, or it was revoked before.
func (s *Service) RevokeKey(ctx context.Context, store data.StoreID, id string) error {
	return s.revokeKey(ctx, store.String(), id)
}

// revokeKey is RevokeKey for the control plane's ("") as well.
func (s *Service) revokeKey(ctx context.Context, store, id string) error {
	if err := s.endKey(ctx, store, id); err != nil {
		return fmt.Errorf("revoke key: %w", err)
	}
	return s.recordIn(ctx, store, "key.revoke", id, api.OK, nil)
}

// endKey is revokeKey without the entry.
func (s *Service) endKey(ctx context.Context, store, id string) error {
	err := s.changeKey(ctx, store, id, `revoked = ?, revoked_by = ?`, `revoked = 0`, millis(s.now()), data.ActorFrom(ctx).String())
	if err == nil {
		s.cutOff(store, id)
	}
	return err
}

// changeKey sets columns of a key that meets a condition. data.ErrNotFound.
func (s *Service) changeKey(ctx context.Context, store, id, set, condition string, args ...any) error {
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE api_keys SET `+set+` WHERE id = ? AND store = ? AND `+condition, append(args, id, store)...)
		return changedOne(done, err)
	})
	s.keys.forget(id)
	return err
}

// cutOff ends what a key has open.
func (s *Service) cutOff(store, id string) {
	at, err := data.ParseStoreID(store)
	if s.config.Revoked != nil && err == nil {
		s.config.Revoked(at, data.Actor{Kind: data.Key, ID: id})
	}
}
