package tenant

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/keys"
)

// Disposal writes destructions down, before and after. Its methods may be called
// again after a crash.
type Disposal interface {
	// Begin is called when nothing is destroyed yet; nothing will be when it fails.
	Begin(ctx context.Context, d Destruction) error
	// Finish is called when keys and folders are gone. The destruction is not over
	// before it succeeds.
	Finish(ctx context.Context, tenant, slug string, stores []data.StoreID) error
	// Destroyed says whether a store was destroyed, whatever keyring and folders say.
	Destroyed(ctx context.Context, id data.StoreID) (bool, error)
}

// Destruction is what is about to be destroyed.
type Destruction struct {
	Tenant  string
	Slug    string
	Stores  []Doomed
	AskedBy string // an actor
	Asked   time.Time
	AtOnce  bool // without waiting for the window's end
}

// Doomed is a store with what it takes on disk.
type Doomed struct {
	ID           data.StoreID
	Files, Bytes int64
}

// begin lets the ledger have a destruction before anything of it happens.
func (s *Service) begin(ctx context.Context, r row, c change) error {
	if c.state != Destroyed || s.config.Disposal == nil {
		return nil
	}
	d := Destruction{Tenant: r.ID, Slug: r.Slug, AskedBy: r.DeletedBy, Asked: timeOf(r.Deleted), AtOnce: r.State != Parked || r.ParkedUntil > millis(s.now())}
	if r.DeletedBy == "" {
		d.AskedBy, d.Asked = data.ActorFrom(ctx).String(), s.now()
	}
	for _, e := range r.environments {
		one := Doomed{ID: r.store(e.Name)}
		one.Files, one.Bytes = s.size(one.ID)
		d.Stores = append(d.Stores, one)
	}
	return s.config.Disposal.Begin(ctx, d)
}

// certify ends a destruction whose keys and folders are gone.
func (s *Service) certify(ctx context.Context, r row) error {
	if s.config.Disposal == nil {
		return nil
	}
	return s.config.Disposal.Finish(ctx, r.ID, r.Slug, r.stores())
}

func (r row) stores() (out []data.StoreID) {
	for _, e := range r.environments {
		out = append(out, r.store(e.Name))
	}
	return out
}

// Bury destroys what there is of a tenant that the ledger says is destroyed: after
// an older copy of the data folder or of the keyring was put in place, or a crash
// in the first moment of a destruction. It tells whether there was anything.
// data.ErrBusy when somebody works on the tenant.
func (s *Service) Bury(ctx context.Context, tenant string, stores []data.StoreID) (found bool, err error) {
	rows, err := s.rows(ctx, `id = ?`, tenant)
	if err != nil {
		return false, fmt.Errorf("bury tenant %s: %w", tenant, err)
	}
	if len(rows) == 0 {
		return s.buryStores(ctx, tenant, stores)
	}
	r := rows[0]
	if r.State == Destroyed && !s.back(append(stores, r.stores()...)) {
		return false, nil
	}
	release, err := s.busy.take(r.Slug)
	if err != nil {
		return false, err
	}
	defer release()
	return true, s.buryRow(ctx, r, stores)
}

func (s *Service) buryRow(ctx context.Context, r row, stores []data.StoreID) error {
	if err := s.recordBurial(ctx, r.ID, r.Slug); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, e := range r.environments {
		known[e.Name] = true
	}
	for _, id := range stores { // environments that this copy of the folder does not know
		if !known[id.Environment] {
			r.environments = append(r.environments, environmentRow{Tenant: r.ID, Name: id.Environment})
		}
	}
	err := s.mark(ctx, &r, change{state: Destroyed})
	if err == nil {
		err = s.settle(ctx, r)
	}
	return err
}

// buryStores is for a tenant that this copy of the data folder has no row of.
func (s *Service) buryStores(ctx context.Context, tenant string, stores []data.StoreID) (bool, error) {
	if !s.back(stores) {
		return false, nil
	}
	if err := s.recordBurial(ctx, tenant, tenant); err != nil {
		return true, err
	}
	for _, id := range stores {
		if err := s.destroy(ctx, id); err != nil {
			return true, fmt.Errorf("bury store %s: %w", id, err)
		}
	}
	return true, nil
}

func (s *Service) recordBurial(ctx context.Context, tenant, slug string) error {
	return s.config.Recorder.Record(ctx, api.Event{Action: "tenant.destroy", Target: slug, Outcome: api.OK,
		Detail: map[string]string{"id": tenant, "because": "the ledger of destructions says so"}})
}

// back says whether anything of destroyed stores is here: a key or a folder.
func (s *Service) back(stores []data.StoreID) bool {
	for _, id := range stores {
		state, err := s.config.Ring.State(keys.Owner(id.String()))
		if err == nil && state != keys.Destroyed {
			return true
		}
		if s.config.StoresDir == "" {
			continue
		}
		if _, err := os.Lstat(filepath.Join(s.config.StoresDir, id.Tenant, id.Environment)); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// size counts the files of a store's folder and their bytes.
func (s *Service) size(id data.StoreID) (files, bytes int64) {
	if s.config.StoresDir == "" {
		return 0, 0
	}
	dir := filepath.Join(s.config.StoresDir, id.Tenant, id.Environment)
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				files, bytes = files+1, bytes+info.Size()
			}
		}
		return nil // what cannot be read counts nothing
	})
	return files, bytes
}
