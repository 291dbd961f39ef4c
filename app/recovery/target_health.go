package recovery

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/objects"
)

// Health of a target.
const (
	healthy = "healthy"
	failed  = "failed"
)

var (
	whereText    = regexp.MustCompile(`^[\pL\pN][\pL\pN ._,-]{0,62}$`)
	storageClass = regexp.MustCompile(`^[A-Z][A-Z_]{0,30}$`)
)

func checkWhere(region, place, class, rawURL string) error {
	switch {
	case region != "" && !whereText.MatchString(region):
		return api.InvalidField("region", "want letters, digits and . _ -, at most 63")
	case place != "" && !whereText.MatchString(place):
		return api.InvalidField("place", "want letters, digits and . _ -, at most 63")
	case class != "" && (!storageClass.MatchString(class) || !strings.HasPrefix(rawURL, "s3:")):
		return api.InvalidField("storage_class", "want the name of a storage class of S3, as STANDARD_IA, for an S3 target")
	}
	return nil
}

// regionOf is the region that a URL names, "" for a folder.
func regionOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "s3" {
		return ""
	}
	return cmp.Or(u.Query().Get("region"), "us-east-1")
}

// placeOf takes what stands on one host, or with one provider in one region, to be
// lost together.
func placeOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "s3" {
		return "this host"
	}
	if end, err := url.Parse(u.Query().Get("endpoint")); err == nil && end.Host != "" {
		return end.Hostname()
	}
	return "aws " + regionOf(rawURL)
}

// withClass tells the store of objects which class to put them in.
func withClass(rawURL, class string) string {
	u, err := url.Parse(rawURL)
	if err != nil || class == "" {
		return rawURL
	}
	q := u.Query()
	q.Set("class", class)
	u.RawQuery = q.Encode()
	return u.String()
}

// locks says whether objects can be locked there: in a bucket that keeps versions.
func (t targetRow) locks() bool {
	u, err := url.Parse(t.URL)
	return err == nil && u.Scheme == "s3" && u.Query().Get("versions") == "true"
}

// tryOut probes a target and keeps what came of it.
func (s *Service) tryOut(ctx context.Context, t targetRow, target backup.ObjectStore) error {
	err := objects.Probe(ctx, target)
	if errors.Is(err, context.Canceled) {
		return err
	}
	health, why := healthy, ""
	if err != nil {
		health, why = failed, s.wording(err)
	}
	return errors.Join(err, s.keepHealth(context.WithoutCancel(ctx), t, health, why))
}

func (s *Service) keepHealth(ctx context.Context, t targetRow, health, why string) error {
	err := s.quietly(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE targets SET health = ?, why = ?, tried = ? WHERE id = ?`, health, why, s.now().UnixMilli(), t.ID)
		return err
	})
	if err != nil {
		return err
	}
	return s.reloadTargets(ctx)
}

// usable tries a target before its first use, and keeps away from one that takes
// writes without their condition: two hosts could not be told apart there.
func (s *Service) usable(ctx context.Context, t targetRow, target backup.ObjectStore) error {
	if t.Health == healthy {
		return nil
	}
	return s.tryOut(ctx, t, target)
}

// reloadTargets has shipping know the targets as they are now.
func (s *Service) reloadTargets(ctx context.Context) error {
	rows, err := s.targets(ctx)
	if err != nil {
		return err
	}
	p := &s.ships
	p.mu.Lock()
	grown := len(rows) > len(p.targets)
	p.targets = rows
	on := p.on
	for _, c := range p.courses {
		p.plan(c) // where a target now lies may let it
	}
	p.mu.Unlock()
	if !on || !grown {
		return nil
	}
	return s.look(ctx, nil)
}

// TargetChange is what of a target can be changed; what is not given stays.
type TargetChange struct {
	Region       *string `json:"region,omitempty"`
	Place        *string `json:"place,omitempty"`
	StorageClass *string `json:"storage_class,omitempty"`
	AccessKey    *string `json:"accessKey,omitempty" secret:"true"`
	SecretKey    *string `json:"secretKey,omitempty" secret:"true"`
}

// Change changes a target. Its URL stays: another place is another target.
func (s *Service) Change(ctx context.Context, name string, change TargetChange) (Target, error) {
	row, err := s.target(ctx, name)
	if err != nil {
		return Target{}, err
	}
	for _, f := range []struct{ from, to *string }{
		{change.Region, &row.Region}, {change.Place, &row.Place}, {change.StorageClass, &row.StorageClass},
		{change.AccessKey, &row.AccessKey}, {change.SecretKey, &row.SecretKey},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	row.Region, row.Place = cmp.Or(row.Region, regionOf(row.URL)), cmp.Or(row.Place, placeOf(row.URL))
	check := NewTarget{Name: row.Name, URL: row.URL, AccessKey: row.AccessKey, SecretKey: row.SecretKey, Region: row.Region, Place: row.Place, StorageClass: row.StorageClass}
	if err := check.check(); err != nil {
		return Target{}, err
	}
	if change.AccessKey != nil || change.SecretKey != nil {
		row.Health, row.Why = "", ""
	}
	if err := s.keepChange(ctx, row, change); err != nil {
		return Target{}, err
	}
	s.closeIdleOn(row.ID) // the next one opens as it is now
	return row.shown(), s.reloadTargets(ctx)
}

func (s *Service) keepChange(ctx context.Context, row targetRow, change TargetChange) error {
	detail := map[string]string{"region": row.Region, "place": row.Place, "storage_class": row.StorageClass}
	if change.AccessKey != nil || change.SecretKey != nil {
		detail["credentials"] = "replaced"
	}
	if err := s.config.Recorder.Record(ctx, api.Event{Action: "target.update", Target: row.Name, Outcome: api.OK, Detail: detail}); err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `UPDATE targets SET region = :region, place = :place, storage_class = :storage_class,
			access_key = :access_key, secret_key = :secret_key, health = :health, why = :why WHERE id = :id`, row)
		return err
	})
}

// closeIdleOn closes what is open on a target and not at work.
func (s *Service) closeIdleOn(target string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.lanes {
		if key.target == target && len(l.turn) == 1 {
			_ = l.close()
			delete(s.lanes, key)
		}
	}
}

func (s *Service) serveChange(w http.ResponseWriter, r *http.Request) error {
	var c TargetChange
	if err := api.Read(r, &c); err != nil {
		return err
	}
	t, err := s.Change(r.Context(), r.PathValue("name"), c)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, t)
}
