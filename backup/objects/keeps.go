package objects

import (
	"context"
	"errors"
	"net/http"

	"github.com/minio/minio-go/v7"

	"holdfast/backup"
)

// Keeps says what a target keeps of an object after its deletion.
type Keeps struct {
	Versions bool // the bucket keeps old versions: a deletion only hides
	Locked   bool // new objects are locked: they cannot be deleted for a time
	Unknown  bool // the target does not say, or not to these credentials
}

// WhatIsKept asks a target what a deletion leaves. A folder and memory keep nothing.
func WhatIsKept(ctx context.Context, s backup.ObjectStore) (Keeps, error) {
	b, ok := s.(*S3)
	if !ok {
		return Keeps{}, nil
	}
	return b.keeps(ctx)
}

func (s *S3) keeps(ctx context.Context) (k Keeps, err error) {
	versioning, err := s.core.GetBucketVersioning(ctx, s.bucket)
	if err != nil {
		return unsaid(err)
	}
	// A suspended bucket still has the versions that it kept before.
	k.Versions = versioning.Status != ""
	_, mode, _, _, err := s.core.GetObjectLockConfig(ctx, s.bucket)
	if err == nil {
		k.Locked = mode != nil
		return k, nil
	}
	if status(err) == http.StatusNotFound {
		return k, nil
	}
	unknown, err := unsaid(err)
	k.Unknown = unknown.Unknown
	return k, err
}

// unsaid tells a target that does not answer this from one that fails.
func unsaid(err error) (Keeps, error) {
	switch status(err) {
	case http.StatusForbidden, http.StatusNotImplemented, http.StatusMethodNotAllowed, http.StatusBadRequest:
		return Keeps{Unknown: true}, nil
	}
	return Keeps{}, mapS3("ask", "bucket", err)
}

func status(err error) int {
	var r minio.ErrorResponse
	if errors.As(err, &r) {
		return r.StatusCode
	}
	return 0
}
