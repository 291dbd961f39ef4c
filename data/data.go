// Package data holds the words that every room shares: who acted, which store,
// which position, what changed, and the two seams (pages, files) that backup
// sees of a store. It imports nothing of the house.
package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// PageSize is the size in bytes of every SQLite page in the house.
const PageSize = 4096

// Errors that cross rooms. Wrap them with what was being done.
var (
	ErrNotFound  = errors.New("not found")
	ErrExists    = errors.New("already exists")
	ErrSealed    = errors.New("the appliance is sealed")
	ErrParked    = errors.New("the keys are parked: the tenant is deleted, undelete it first")
	ErrDestroyed = errors.New("the keys were destroyed: the data cannot be read again")
	ErrTampered  = errors.New("authentication failed: the bytes on disk were changed")
	ErrNewer     = errors.New("written by a newer version of holdfast")
	ErrBusy      = errors.New("in use by another process")
)

// Environments that a tenant may have; Prod is always there.
const (
	Prod = "prod"
	Test = "test"
	Dev  = "dev"
)

// StoreID names one store: a tenant's id (never its slug, which may change) and
// one of its environments.
type StoreID struct{ Tenant, Environment string }

// String gives "<tenant id>/<environment>", the form used on disk, as a key
// owner, and as associated data.
func (id StoreID) String() string { return id.Tenant + "/" + id.Environment }

// ParseStoreID is the inverse of String.
func ParseStoreID(s string) (StoreID, error) {
	tenant, env, ok := strings.Cut(s, "/")
	if !ok || tenant == "" || env == "" || strings.Contains(env, "/") {
		return StoreID{}, fmt.Errorf("parse store id %q: want <tenant id>/<environment>", s)
	}
	return StoreID{tenant, env}, nil
}

// ActorKind says what sort of actor did something.
type ActorKind string

// The kinds of actor. Guest is a visitor of a tenant's public API rules.
const (
	Person ActorKind = "person"
	User   ActorKind = "user"
	Key    ActorKind = "key"
	Hook   ActorKind = "hook"
	System ActorKind = "system"
	Host   ActorKind = "host"
	Guest  ActorKind = "guest"
)

// Actor is who did it. ID is the person's, key's or hook's id, "<collection>/<record>"
// for a user, the peer's uid for host, and empty for system and guest.
type Actor struct {
	Kind ActorKind
	ID   string
}

// String gives "kind:id", or "kind" alone without an id.
func (a Actor) String() string {
	if a.ID == "" {
		return string(a.Kind)
	}
	return string(a.Kind) + ":" + a.ID
}

// ParseActor is the inverse of String.
func ParseActor(s string) Actor {
	kind, id, _ := strings.Cut(s, ":")
	return Actor{ActorKind(kind), id}
}

type actorKey struct{}

// WithActor returns a context whose writes are a's.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorFrom returns the context's actor; without one it is the system.
func ActorFrom(ctx context.Context) Actor {
	if ctx != nil {
		if a, ok := ctx.Value(actorKey{}).(Actor); ok {
			return a
		}
	}
	return Actor{Kind: System}
}

// Position is a point in a store's change feed: the incarnation is a random
// name of one life of the store (a restore begins a new one), the sequence
// counts its changes from 1.
type Position struct {
	Incarnation string `json:"incarnation"`
	Sequence    int64  `json:"sequence"`
}

// Op is what a change did to its record.
type Op string

// The operations of a change. Rewritten stands for a bulk conversion of a whole
// collection (its record id is empty).
const (
	Create    Op = "create"
	Update    Op = "update"
	Delete    Op = "delete"
	Rewritten Op = "rewritten"
)

// Change is one committed write. Collection is PocketBase's collection id.
type Change struct {
	Position
	At         time.Time
	Actor      Actor
	Op         Op
	Collection string
	Record     string
	Fields     []string
}

// Commit describes the database that a page snapshot belongs to.
type Commit struct {
	DatabasePages uint32 // size of the whole database in pages
	Pages         int    // pages handed to the callback
}

// PageSource hands out the committed pages of one database.
// Implementations are safe for concurrent use; one Snapshot runs at a time.
type PageSource interface {
	// Snapshot calls fn once for each page changed since the last Snapshot
	// that succeeded, in ascending page number, with the plaintext image
	// (PageSize bytes, reserved tail zero; valid only during the call). The
	// images are of one committed state that is durable on this disk. After
	// an error the same pages are handed out again.
	Snapshot(ctx context.Context, fn func(pgno uint32, page []byte) error) (Commit, error)
	// MarkAll makes the next Snapshot a full one.
	MarkAll()
	// Dirty reports how many pages the next Snapshot would hand out.
	Dirty() int
}

// FileInfo describes one stored file. Name is the store-wide path
// ("<collection id>/<record id>/<file name>").
type FileInfo struct {
	Name        string            `json:"name"`
	Size        int64             `json:"size"`
	ContentType string            `json:"contentType,omitempty"`
	ETag        string            `json:"etag,omitempty"`
	Modified    time.Time         `json:"modified"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// FileTree is a store's sealed files, read and written in clear.
type FileTree interface {
	// List returns up to limit files in a stable order whose names begin with
	// prefix and come after `after` in that order ("" from the start).
	List(ctx context.Context, prefix, after string, limit int) ([]FileInfo, error)
	Open(ctx context.Context, name string) (io.ReadSeekCloser, FileInfo, error)
	Put(ctx context.Context, info FileInfo, r io.Reader) (FileInfo, error)
	Delete(ctx context.Context, name string) error
}

// KeySource gives the keys of one owner and purpose. Keys are 32 random bytes.
// It answers ErrParked, ErrDestroyed or ErrNotFound where there is none to use.
type KeySource interface {
	// Current is the generation that new writes use.
	Current() (generation uint32, key [32]byte, err error)
	// Generation is an older (or the current) one, for reading.
	Generation(generation uint32) (key [32]byte, err error)
}
