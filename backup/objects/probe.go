package objects

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"

	"holdfast/backup"
	"holdfast/data"
)

// Probe writes, reads, lists and deletes one small object and checks that the
// target honours conditional writes; the error says which step failed
// (ErrRefused, ErrNoBucket, ErrUnconditional among others).
func Probe(ctx context.Context, s backup.ObjectStore) error {
	name := "probe/" + rand.Text()
	body := []byte(rand.Text())
	if err := put(ctx, s, name, body); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	err := errors.Join(probeCondition(ctx, s, name), probeRead(ctx, s, name, body), probeList(ctx, s, name))
	if deleteErr := s.Delete(context.WithoutCancel(ctx), name); deleteErr != nil && !errors.Is(deleteErr, backup.ErrLocked) {
		err = errors.Join(err, fmt.Errorf("delete: %w", deleteErr))
	}
	return err
}

func put(ctx context.Context, s backup.ObjectStore, name string, body []byte) error {
	return s.Put(ctx, name, bytes.NewReader(body), int64(len(body)), backup.PutOptions{IfNoneMatch: true})
}

func probeCondition(ctx context.Context, s backup.ObjectStore, name string) error {
	err := put(ctx, s, name, []byte("again"))
	if err == nil {
		return ErrUnconditional
	}
	if status(err) == http.StatusNotImplemented {
		return fmt.Errorf("%w: %w", ErrUnconditional, err)
	}
	if !errors.Is(err, data.ErrExists) {
		return fmt.Errorf("conditional write: %w", err)
	}
	return nil
}

func probeRead(ctx context.Context, s backup.ObjectStore, name string, want []byte) error {
	r, err := s.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer r.Close() //nolint:errcheck // only read
	got, err := io.ReadAll(io.LimitReader(r, 1024))
	if err == nil && !bytes.Equal(got, want) {
		err = errors.New("it gave back other bytes than were written")
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

func probeList(ctx context.Context, s backup.ObjectStore, name string) error {
	list, err := s.List(ctx, name, "", 2)
	if err == nil && (len(list) != 1 || list[0].Name != name) {
		err = errors.New("the object that was written is not listed")
	}
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	return nil
}
