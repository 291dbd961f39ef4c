package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/objects"
	"holdfast/data"
	"holdfast/data/system"
)

// Target is a place for snapshots as it is shown: never with its credentials.
type Target struct {
	Name        string    `json:"name"`
	URL         string    `json:"url" doc:"s3://bucket/prefix?endpoint=...&region=... or file:///folder"`
	Credentials bool      `json:"credentials" doc:"whether credentials are kept for it"`
	Created     time.Time `json:"created"`

	Region       string     `json:"region" doc:"where it lies, as policies name it; that of the URL where none was given"`
	Place        string     `json:"place" doc:"two targets in one place are lost together; the host of the URL where none was given"`
	StorageClass string     `json:"storage_class,omitempty" doc:"of S3"`
	Health       string     `json:"health" enum:"unknown,healthy,failed" doc:"by the last use or test"`
	Why          string     `json:"why,omitempty" doc:"why it is not healthy"`
	Tried        *time.Time `json:"tried,omitempty" doc:"when it was last tried"`
}

// NewTarget is the body of an addition.
type NewTarget struct {
	Name      string `json:"name" doc:"a-z, 0-9 and -, at most 40"`
	URL       string `json:"url"`
	AccessKey string `json:"accessKey,omitempty" secret:"later"`
	SecretKey string `json:"secretKey,omitempty" secret:"later"`

	Region       string `json:"region,omitempty" doc:"that of the URL where it is not given"`
	Place        string `json:"place,omitempty" doc:"the host of the URL where it is not given"`
	StorageClass string `json:"storage_class,omitempty" doc:"of S3, as STANDARD_IA"`
}

var targetName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$`)

func (t targetRow) shown() Target {
	shown := Target{
		Name: t.Name, URL: t.URL, Credentials: t.SecretKey != "", Created: time.UnixMilli(t.Created).UTC(),
		Region: t.Region, Place: t.Place, StorageClass: t.StorageClass, Health: cmp.Or(t.Health, "unknown"), Why: t.Why,
	}
	if t.Tried > 0 {
		shown.Tried = moment(t.Tried)
	}
	return shown
}

func (n NewTarget) check() error {
	if !targetName.MatchString(n.Name) {
		return api.InvalidField("name", "want a-z, 0-9 and -, at most 40 characters")
	}
	if strings.HasPrefix(n.URL, "mem:") {
		return api.InvalidField("url", "want s3://bucket/prefix?endpoint=...&region=... or file:///folder")
	}
	if n.SecretKey != "" && n.AccessKey == "" {
		return api.InvalidField("accessKey", "is missing")
	}
	if strings.HasPrefix(n.URL, "s3:") && n.SecretKey == "" {
		return api.InvalidField("secretKey", "an S3 target needs accessKey and secretKey")
	}
	return checkWhere(n.Region, n.Place, n.StorageClass, n.URL)
}

// Add keeps a new target. data.ErrExists for a name in use; a 422 for a bad name or
// URL. It does not try the target: Try does.
func (s *Service) Add(ctx context.Context, n NewTarget) (Target, error) {
	if err := n.check(); err != nil {
		return Target{}, err
	}
	if strings.HasPrefix(n.URL, "file:") { // credentials that a folder needs not are not kept
		n.AccessKey, n.SecretKey = "", ""
	}
	row := targetRow{
		ID: system.NewID(), Name: n.Name, URL: n.URL, AccessKey: n.AccessKey, SecretKey: n.SecretKey,
		Created: s.now().UnixMilli(), CreatedBy: data.ActorFrom(ctx).String(),
		Region: cmp.Or(n.Region, regionOf(n.URL)), Place: cmp.Or(n.Place, placeOf(n.URL)), StorageClass: n.StorageClass,
	}
	if _, err := s.open(row); err != nil {
		return Target{}, err
	}
	if err := objects.Prepare(n.URL); err != nil {
		return Target{}, api.InvalidField("url", "the folder cannot be made: %v", err).Because(err)
	}
	if err := s.insertTarget(ctx, row); err != nil {
		return Target{}, err
	}
	err := s.config.Recorder.Record(ctx, api.Event{Action: "target.create", Target: n.Name, Outcome: api.OK, Detail: map[string]string{"url": n.URL}})
	if err != nil {
		return Target{}, errors.Join(err, s.deleteTarget(context.WithoutCancel(ctx), row.ID))
	}
	return row.shown(), s.reloadTargets(ctx)
}

func (s *Service) insertTarget(ctx context.Context, row targetRow) error {
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		var taken int
		if err := tx.GetContext(ctx, &taken, `SELECT count(*) FROM targets WHERE name = ?`, row.Name); err != nil {
			return err
		}
		if taken > 0 {
			return api.Errorf(409, "exists", "A target %q exists already.", row.Name).Because(data.ErrExists)
		}
		_, err := tx.NamedExecContext(ctx, `INSERT INTO targets (id, name, url, access_key, secret_key, created, created_by, region, place, storage_class)
			VALUES (:id, :name, :url, :access_key, :secret_key, :created, :created_by, :region, :place, :storage_class)`, row)
		return err
	})
	if err != nil {
		return fmt.Errorf("add target: %w", err)
	}
	return nil
}

func (s *Service) deleteTarget(ctx context.Context, id string) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		for _, statement := range []string{
			`DELETE FROM shipping WHERE target = ?`, `DELETE FROM unshipped WHERE target = ?`, `DELETE FROM prunes WHERE target = ?`,
			`DELETE FROM purges WHERE target = ?`, `DELETE FROM snapshots WHERE target = ?`, `DELETE FROM targets WHERE id = ?`,
		} {
			if _, err := tx.ExecContext(ctx, statement, id); err != nil {
				return fmt.Errorf("remove target: %w", err)
			}
		}
		return nil
	})
}

// Remove forgets a target; what it holds stays there. data.ErrNotFound.
func (s *Service) Remove(ctx context.Context, name string) error {
	row, err := s.target(ctx, name)
	if err != nil {
		return err
	}
	if err := s.config.Recorder.Record(ctx, api.Event{Action: "target.delete", Target: name, Outcome: api.OK, Detail: map[string]string{"url": row.URL}}); err != nil {
		return err
	}
	if err := s.deleteTarget(ctx, row.ID); err != nil {
		return err
	}
	if err := s.reloadTargets(ctx); err != nil {
		return err
	}
	return errors.Join(s.dropLanes(ctx, func(key laneKey) bool { return key.target == row.ID }), s.dropStaged(row.ID))
}

// dropStaged removes every store's staging for a target. A chain that still
// runs loses nothing by it: nobody asks for it again.
func (s *Service) dropStaged(target string) error {
	folders, err := filepath.Glob(filepath.Join(s.config.Staging, "*", "*", target))
	for _, folder := range folders {
		err = errors.Join(err, os.RemoveAll(folder))
	}
	return err
}

// Try finds out whether a target can be used: it writes, reads, lists and
// deletes, and checks that conditional writes hold.
func (s *Service) Try(ctx context.Context, name string) error {
	row, err := s.target(ctx, name)
	if err != nil {
		return err
	}
	store, err := s.open(row)
	if err != nil {
		return err
	}
	return s.explain(s.tryOut(ctx, row, store))
}

func (s *Service) open(row targetRow) (backup.ObjectStore, error) {
	store, err := s.config.Open(withClass(row.URL, row.StorageClass), objects.Credentials{AccessKey: row.AccessKey, SecretKey: row.SecretKey})
	if errors.Is(err, objects.ErrURL) {
		return nil, api.InvalidField("url", "%v", err).Because(err)
	}
	if err != nil {
		return nil, api.Errorf(502, "target-failed", "The target cannot be used: %v", err).Because(err)
	}
	return store, nil
}

// chosen are the targets that are meant: the named one, or all.
func (s *Service) chosen(ctx context.Context, name string) ([]targetRow, error) {
	if name != "" {
		row, err := s.target(ctx, name)
		return []targetRow{row}, err
	}
	rows, err := s.targets(ctx)
	if err == nil && len(rows) == 0 {
		err = api.Errorf(409, "no-target", "There is no target to ship to. Add one: holdfast target add NAME file:///folder")
	}
	return rows, err
}
