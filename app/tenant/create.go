package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/system"
)

// purposes are the keys that every store has.
var purposes = []keys.Purpose{keys.Pages, keys.Files, keys.Segments, keys.Personal, keys.Fields}

// filler puts a store into its place.
type filler func(context.Context, data.StoreID) error

// Create makes a tenant with its prod environment: row, keys, store, audit entry,
// or nothing of them. data.ErrExists for a slug in use; a 422 for a bad one. A
// creation that a crash cut short is taken up by the next one of that slug.
// Who makes it becomes its owner.
func (s *Service) Create(ctx context.Context, slug, name string) (Tenant, error) {
	return s.CreateFor(ctx, slug, name, "")
}

// CreateFor is Create for somebody else, who becomes the owner: the person of the
// e-mail address. A 422 without such an account.
func (s *Service) CreateFor(ctx context.Context, slug, name, owner string) (Tenant, error) {
	return s.create(ctx, slug, name, creation{fill: s.config.Pool.Create, action: "tenant.create", founding: Founding{Owner: owner}})
}

// Adopt makes a tenant whose store is filled by install, as a restore does: it is
// called when the keys are there, and must leave no store behind when it fails. It is a
// copy of the tenant with the id from, and gets that one's people.
func (s *Service) Adopt(ctx context.Context, slug, name, from string, install func(context.Context, data.StoreID) error) (Tenant, error) {
	return s.create(ctx, slug, name, creation{adopted: true, fill: install, action: "tenant.adopt", founding: Founding{From: from}})
}

// creation is how a tenant is made.
type creation struct {
	adopted  bool
	fill     filler
	action   string
	founding Founding
}

func (s *Service) create(ctx context.Context, slug, name string, c creation) (Tenant, error) {
	if err := checkSlug(slug); err != nil {
		return Tenant{}, err
	}
	name, err := checkName(name, slug)
	if err != nil {
		return Tenant{}, err
	}
	release, err := s.busy.take(slug)
	if err != nil {
		return Tenant{}, err
	}
	defer release()
	defer s.found.forget(slug)
	r, err := s.reserve(ctx, slug, name, c.founding.Owner, c.adopted)
	if err != nil {
		return Tenant{}, err
	}
	if err := s.bringUp(ctx, r, c); err != nil {
		return Tenant{}, errors.Join(fmt.Errorf("create tenant %s: %w", slug, err), s.abandon(ctx, r))
	}
	s.found.forget(slug)
	return s.Get(ctx, slug)
}

// reserve takes the slug: a new row in state creating, or the one that an earlier
// attempt left.
func (s *Service) reserve(ctx context.Context, slug, name, owner string, adopted bool) (r row, err error) {
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		r, err = bySlug(ctx, tx, slug)
		switch {
		case errors.Is(err, data.ErrNotFound), err == nil && r.State == Destroyed:
			r, err = s.insert(ctx, tx, slug, name, owner, adopted)
			return err
		case err != nil:
			return err
		case r.State != creating || r.Adopted || adopted:
			return s.taken(r)
		}
		r.Name, r.Owner = name, owner
		_, err = tx.ExecContext(ctx, `UPDATE tenants SET name = ?, owner = ? WHERE id = ?`, name, owner, r.ID)
		return err
	})
	return r, err
}

func (s *Service) taken(r row) error {
	detail := "A tenant %q exists already."
	if r.State == Parked {
		detail = "A tenant %q exists already; it is deleted and can be undeleted."
	}
	return api.Errorf(409, "exists", detail, r.Slug).Because(data.ErrExists)
}

func (s *Service) insert(ctx context.Context, tx *sqlx.Tx, slug, name, owner string, adopted bool) (row, error) {
	now := millis(s.now())
	r := row{ID: system.NewID(), Slug: slug, Name: name, State: creating, Adopted: adopted, Created: now, CreatedBy: data.ActorFrom(ctx).String(), Owner: owner}
	_, err := tx.ExecContext(ctx, `INSERT INTO tenants (id, slug, name, state, adopted, created, created_by, changed, owner)
		VALUES (?, ?, ?, 'creating', ?, ?, ?, ?, ?)`, r.ID, slug, name, adopted, now, r.CreatedBy, now, owner)
	if err != nil {
		return r, fmt.Errorf("insert tenant: %w", err)
	}
	r.environments = []environmentRow{{r.ID, data.Prod, creating, now}}
	return r, insertEnvironment(ctx, tx, r.environments[0])
}

func insertEnvironment(ctx context.Context, tx *sqlx.Tx, e environmentRow) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO environments (tenant, name, state, created) VALUES (?, ?, ?, ?)`, e.Tenant, e.Name, e.State, e.Created)
	if err != nil {
		return fmt.Errorf("insert environment: %w", err)
	}
	return nil
}

// bringUp makes keys and store of a tenant in state creating, records it, and
// only then opens it to the world.
func (s *Service) bringUp(ctx context.Context, r row, c creation) error {
	if c.founding.Tenant = r.ID; s.config.Founded != nil {
		if err := s.config.Founded(ctx, c.founding); err != nil {
			return err
		}
	}
	if err := s.build(ctx, r.store(data.Prod), c.fill); err != nil {
		return err
	}
	event := api.Event{Action: c.action, Target: r.Slug, Outcome: api.OK, Detail: map[string]string{"id": r.ID, "name": r.Name}}
	if err := s.config.Recorder.Record(ctx, event); err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE environments SET state = 'live' WHERE tenant = ?`, r.ID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE tenants SET state = 'live', settled = 1, changed = ?, owner = '' WHERE id = ?`, millis(s.now()), r.ID)
		return err
	})
}

// build makes keys and store. Either may be there from an attempt that a crash
// cut short: both come into place whole.
func (s *Service) build(ctx context.Context, id data.StoreID, fill filler) error {
	if s.config.Disposal != nil {
		if gone, err := s.config.Disposal.Destroyed(ctx, id); err != nil || gone {
			return errors.Join(err, fmt.Errorf("store %s is in the ledger of destructions: %w", id, data.ErrDestroyed))
		}
	}
	err := s.config.Ring.Add(keys.Owner(id.String()), purposes...)
	if err != nil && !errors.Is(err, data.ErrExists) {
		return fmt.Errorf("make keys: %w", err)
	}
	if err := fill(ctx, id); err != nil && !errors.Is(err, data.ErrExists) {
		return err
	}
	return nil
}

// abandon undoes a creation: nobody was told of it, nothing of it stays.
func (s *Service) abandon(ctx context.Context, r row) error {
	ctx = context.WithoutCancel(ctx)
	for _, e := range r.environments {
		if err := s.destroy(ctx, r.store(e.Name)); err != nil {
			return fmt.Errorf("abandon tenant %s: %w", r.Slug, err)
		}
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM tenants WHERE id = ? AND state = 'creating'`, r.ID)
		return err
	})
}

// destroy destroys keys and folder of a store; neither need be there.
func (s *Service) destroy(ctx context.Context, id data.StoreID) error {
	err := s.config.Ring.Destroy(keys.Owner(id.String()))
	if err != nil && !errors.Is(err, data.ErrNotFound) {
		return fmt.Errorf("destroy keys: %w", err)
	}
	if err := s.remove(ctx, id); err != nil || s.config.StoresDir == "" {
		return err
	}
	// The tenant's own folder goes with its last store; one that still has another is left.
	err = os.Remove(filepath.Join(s.config.StoresDir, id.Tenant))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("remove the tenant's folder: %w", err)
	}
	return nil
}

func (s *Service) remove(ctx context.Context, id data.StoreID) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.config.Pool.Remove(ctx, id); err != nil && !errors.Is(err, data.ErrNotFound) {
		return err
	}
	return nil
}

// CreateEnvironment makes test or dev of a live tenant. data.ErrExists,
// data.ErrNotFound, data.ErrParked; a 422 for another name.
func (s *Service) CreateEnvironment(ctx context.Context, slug, name string) (Environment, error) {
	if err := checkEnvironment(name); err != nil {
		return Environment{}, err
	}
	release, err := s.busy.take(slug)
	if err != nil {
		return Environment{}, err
	}
	defer release()
	ref, err := s.Find(ctx, slug, data.Prod)
	if err != nil {
		return Environment{}, err
	}
	if err := ref.Err(); err != nil {
		return Environment{}, err
	}
	defer s.found.forget(slug)
	return s.environment(ctx, row{ID: ref.Store.Tenant, Slug: slug, State: Live}, name)
}

func (s *Service) environment(ctx context.Context, r row, name string) (Environment, error) {
	e := environmentRow{r.ID, name, creating, millis(s.now())}
	if err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error { return s.reserveEnvironment(ctx, tx, r, e) }); err != nil {
		return Environment{}, err
	}
	err := s.build(ctx, r.store(name), s.config.Pool.Create)
	if err == nil {
		err = s.openEnvironment(ctx, r, name)
	}
	if err != nil {
		return Environment{}, errors.Join(fmt.Errorf("create environment %s/%s: %w", r.Slug, name, err), s.abandonEnvironment(ctx, r, name))
	}
	return s.shownEnvironment(r, e), nil
}

// reserveEnvironment inserts the row; one that a crash left in creating is taken up.
func (s *Service) reserveEnvironment(ctx context.Context, tx *sqlx.Tx, r row, e environmentRow) error {
	list, err := environmentsOf(ctx, tx, r.ID)
	if err != nil {
		return err
	}
	for _, old := range list[r.ID] {
		if old.Name == e.Name && old.State == creating {
			return nil
		}
		if old.Name == e.Name {
			return api.Errorf(409, "exists", "Tenant %q has an environment %q already.", r.Slug, e.Name).Because(data.ErrExists)
		}
	}
	return insertEnvironment(ctx, tx, e)
}

func (s *Service) openEnvironment(ctx context.Context, r row, name string) error {
	event := api.Event{Action: "environment.create", Target: r.Slug + "/" + name, Store: r.store(name).String(), Outcome: api.OK}
	if err := s.config.Recorder.Record(ctx, event); err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE environments SET state = 'live' WHERE tenant = ? AND name = ?`, r.ID, name)
		return err
	})
}

// abandonEnvironment leaves the keys: destroyed ones would bar the name for good.
func (s *Service) abandonEnvironment(ctx context.Context, r row, name string) error {
	ctx = context.WithoutCancel(ctx)
	if err := s.remove(ctx, r.store(name)); err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM environments WHERE tenant = ? AND name = ? AND state = 'creating'`, r.ID, name)
		return err
	})
}

func jsonList(list []string) string {
	text, err := json.Marshal(append([]string{}, list...))
	if err != nil {
		return "[]" // strings always marshal
	}
	return string(text)
}
