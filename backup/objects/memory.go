package objects

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/backup"
	"holdfast/data"
)

var _ backup.ObjectStore = (*Memory)(nil)

// Memory is an object store that forgets everything when the process ends.
type Memory struct {
	Clock func() time.Time // nil: time.Now; not to be changed once it is in use

	mu      sync.Mutex
	objects map[string]memoryObject
}

type memoryObject struct {
	body     []byte
	modified time.Time
	lock     backup.Lock
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{objects: map[string]memoryObject{}} }

func (m *Memory) now() time.Time {
	if m.Clock == nil {
		return time.Now()
	}
	return m.Clock()
}

// Put is backup.ObjectStore's.
func (m *Memory) Put(ctx context.Context, name string, body io.Reader, size int64, o backup.PutOptions) error {
	if err := checkName(name); err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(body, size+1))
	if err != nil {
		return err
	}
	if int64(len(b)) != size {
		return fmt.Errorf("put %s: body is not of %d bytes", name, size)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.objects[name]; taken && o.IfNoneMatch {
		return fmt.Errorf("put %s: %w", name, data.ErrExists)
	}
	m.objects[name] = memoryObject{b, m.now(), o.Lock}
	return ctx.Err()
}

// Get is backup.ObjectStore's.
func (m *Memory) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[name]
	if !ok {
		return nil, fmt.Errorf("get %s: %w", name, data.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(o.body)), ctx.Err()
}

// Stat is backup.ObjectStore's.
func (m *Memory) Stat(ctx context.Context, name string) (backup.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[name]
	if !ok {
		return backup.Info{}, fmt.Errorf("stat %s: %w", name, data.ErrNotFound)
	}
	return backup.Info{Name: name, Size: int64(len(o.body)), Modified: o.modified, Lock: o.lock}, ctx.Err()
}

// List is backup.ObjectStore's.
func (m *Memory) List(ctx context.Context, prefix, after string, limit int) ([]backup.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []backup.Info
	for _, name := range slices.Sorted(maps.Keys(m.objects)) {
		if len(list) < limit && name > after && strings.HasPrefix(name, prefix) {
			o := m.objects[name]
			list = append(list, backup.Info{Name: name, Size: int64(len(o.body)), Modified: o.modified})
		}
	}
	return list, ctx.Err()
}

// Delete is backup.ObjectStore's.
func (m *Memory) Delete(ctx context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.objects[name].lock.Until.After(m.now()) {
		return fmt.Errorf("delete %s: %w", name, backup.ErrLocked)
	}
	delete(m.objects, name)
	return ctx.Err()
}
