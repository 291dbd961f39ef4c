package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"holdfast/backup"
	"holdfast/data"
)

const defaultRegion = "us-east-1"

// s3Retries is how often one request is tried.
const s3Retries = 4

// maxKeys is the most that S3 lists in one answer.
const maxKeys = 1000

var _ backup.ObjectStore = (*S3)(nil)

// S3 is an object store in a bucket, below a prefix.
type S3 struct {
	core   minio.Core
	bucket string
	prefix string // "" or "path/"
	// versions: the bucket keeps versions, as one with locks must. A deletion then
	// removes them all, since a marker would give no room back.
	versions bool
	class    string // storage class of what is put; "" is the bucket's
}

func openS3(u *url.URL, c Credentials) (*S3, error) {
	q := u.Query()
	region := q.Get("region")
	if region == "" {
		region = defaultRegion
	}
	host, secure, err := endpoint(q.Get("endpoint"), region)
	if err != nil {
		return nil, err
	}
	if u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%w: want s3://bucket/prefix, credentials apart", ErrURL)
	}
	if err := s3utils.CheckValidBucketName(u.Host); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		if err := checkName(prefix); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrURL, err)
		}
		prefix += "/"
	}
	s, err := newS3(host, region, u.Host, prefix, secure, c)
	if err == nil {
		s.versions, s.class = q.Get("versions") == "true", q.Get("class")
	}
	return s, err
}

func newS3(host, region, bucket, prefix string, secure bool, c Credentials) (*S3, error) {
	transport, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	core, err := minio.NewCore(host, &minio.Options{
		Creds:     credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""),
		Secure:    secure,
		Region:    region, // given, so that the client need not ask for it
		Transport: transport,
		// A ship is tried again by its schedule: a target that is away is not to hold it up.
		MaxRetries: s3Retries,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	return &S3{core: *core, bucket: bucket, prefix: prefix}, nil
}

// endpoint splits the endpoint parameter; without one it is Amazon's.
func endpoint(raw, region string) (host string, secure bool, err error) {
	if raw == "" {
		return "s3." + region + ".amazonaws.com", true, nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.Trim(u.Path, "/") != "" {
		return "", false, fmt.Errorf("%w: endpoint %q is not http(s)://host:port", ErrURL, raw)
	}
	return u.Host, u.Scheme == "https", nil
}

// Put is backup.ObjectStore's. It is one PUT, never a multipart upload: the
// client would drop If-None-Match from those.
func (s *S3) Put(ctx context.Context, name string, body io.Reader, size int64, o backup.PutOptions) error {
	if err := checkName(name); err != nil {
		return err
	}
	opts := minio.PutObjectOptions{DisableMultipart: true, ContentType: "application/octet-stream"}
	opts.StorageClass = s.class
	if o.IfNoneMatch {
		opts.SetMatchETagExcept("*")
	}
	if o.Lock.Mode != "" {
		opts.Mode, opts.RetainUntilDate, opts.SendContentMd5 = minio.RetentionMode(o.Lock.Mode), o.Lock.Until, true
	}
	_, err := s.core.Client.PutObject(ctx, s.bucket, s.prefix+name, body, size, opts)
	return mapS3("put", name, err)
}

// Get is backup.ObjectStore's.
func (s *S3) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	r, _, _, err := s.core.GetObject(ctx, s.bucket, s.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, mapS3("get", name, err)
	}
	return r, nil
}

// Stat is backup.ObjectStore's.
func (s *S3) Stat(ctx context.Context, name string) (backup.Info, error) {
	o, err := s.core.Client.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{})
	if err != nil {
		return backup.Info{}, mapS3("stat", name, err)
	}
	return backup.Info{Name: name, Size: o.Size, Modified: o.LastModified, Lock: lockOf(o.Metadata)}, nil
}

func lockOf(h http.Header) backup.Lock {
	until, err := time.Parse(time.RFC3339, h.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	if err != nil {
		return backup.Lock{}
	}
	return backup.Lock{Mode: backup.LockMode(h.Get("X-Amz-Object-Lock-Mode")), Until: until}
}

// Delete is backup.ObjectStore's.
func (s *S3) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if !s.versions {
		return s.remove(ctx, name, "")
	}
	opts := minio.ListObjectsOptions{Prefix: s.prefix + name, WithVersions: true, Recursive: true}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range s.core.Client.ListObjects(ctx, s.bucket, opts) {
		if o.Err != nil {
			return mapS3("delete", name, o.Err)
		}
		if o.Key != s.prefix+name {
			continue
		}
		if err := s.remove(ctx, name, o.VersionID); err != nil {
			return err
		}
	}
	return nil
}

// remove asks whether a lock is the reason where it is refused: servers answer
// that in several ways.
func (s *S3) remove(ctx context.Context, name, version string) error {
	err := s.core.Client.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{VersionID: version})
	if err == nil || errors.Is(mapS3("delete", name, err), data.ErrNotFound) {
		return nil
	}
	o, statErr := s.core.Client.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{VersionID: version})
	if statErr == nil && lockOf(o.Metadata).Mode != "" {
		return fmt.Errorf("delete %s: %w", name, backup.ErrLocked)
	}
	return mapS3("delete", name, err)
}

// List is backup.ObjectStore's.
func (s *S3) List(ctx context.Context, prefix, after string, limit int) ([]backup.Info, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the client's lister when we have enough
	defer cancel()
	opts := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true, MaxKeys: min(limit, maxKeys)}
	if after != "" {
		opts.StartAfter = s.prefix + after
	}
	var list []backup.Info
	for o := range s.core.Client.ListObjects(ctx, s.bucket, opts) {
		if o.Err != nil {
			return nil, mapS3("list", prefix, o.Err)
		}
		if len(list) == limit {
			break
		}
		list = append(list, backup.Info{Name: strings.TrimPrefix(o.Key, s.prefix), Size: o.Size, Modified: o.LastModified})
	}
	return list, ctx.Err()
}

// mapS3 turns the server's answer into the house's errors.
func mapS3(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	var r minio.ErrorResponse
	if !errors.As(err, &r) {
		return fmt.Errorf("%s %s: %w", verb, name, err)
	}
	switch {
	case r.Code == minio.NoSuchBucket:
		err = fmt.Errorf("%w (%s)", ErrNoBucket, r.BucketName)
	case r.Code == "RequestTimeTooSkewed":
		err = fmt.Errorf("%w: set this host's clock", ErrSkew)
	// 409 is Amazon's answer to one of two conditional writes at the same moment.
	case r.StatusCode == http.StatusPreconditionFailed, r.Code == "ConditionalRequestConflict":
		err = data.ErrExists
	case r.StatusCode == http.StatusNotFound:
		err = data.ErrNotFound
	case r.StatusCode == http.StatusForbidden, r.StatusCode == http.StatusUnauthorized:
		err = fmt.Errorf("%w (%s)", ErrRefused, r.Code)
	}
	return fmt.Errorf("%s %s: %w", verb, name, err)
}
