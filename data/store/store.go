// Package store runs one PocketBase app per tenant environment over sealed
// pages, and is the only importer of PocketBase. It adds what PocketBase lacks:
// a change feed that names the actor of each committed write, the reach of a
// credential, sealed files, and the shutting of what would leave the store.
// The README holds the table of PocketBase's traps and the test of each.
package store

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"holdfast/data"
	"holdfast/data/cryptfs/disk"
)

// Errors of this room. Wrapped with what was being done.
var (
	// ErrClosed answers every call on a pool that was closed.
	ErrClosed = errors.New("the store pool is closed")
	// ErrLostPosition means that a position is of no life of this store, or lies
	// beyond the point where a restore cut that life off. The follower starts
	// again from one of Incarnations.
	ErrLostPosition = errors.New("the position is not part of this store's history")
	// ErrReach means that the caller's reach does not cover what it asked for.
	ErrReach = errors.New("outside the credential's reach")
	// ErrInvalid wraps what a caller sent and PocketBase's rules refused.
	ErrInvalid = errors.New("invalid")
)

// Names of what lies in a store's folder.
const (
	dataFile = "data.db"
	auxFile  = "auxiliary.db"
	filesDir = "files"
)

// Keys gives each store its two keys. See data.KeySource for the errors.
type Keys interface {
	Pages(data.StoreID) data.KeySource
	Files(data.StoreID) data.KeySource
}

// Config is what a Pool needs. Dir and Keys are required.
type Config struct {
	Dir       string           // <data>/stores
	Keys      Keys             //
	Clock     func() time.Time // default time.Now
	Logger    *slog.Logger     // default: nothing is logged
	MaxOpen   int              // most stores open at once; default 1000
	IdleAfter time.Duration    // a store unused for so long is closed by Sweep; default 5 minutes

	// MemoryBudget is what the open stores may weigh together, in bytes: beyond it
	// the least recently used close. Running requests are never cut for it. Default:
	// a quarter of the machine's memory.
	MemoryBudget int64

	// OnCommit is told of each commit to a store's data.db. It is called from
	// under the database and must not block. May be nil.
	OnCommit func(data.StoreID)

	// OnUser is told of sign-ins of a tenant's users and of changes of their factors and
	// policies, where a collection has one; the context names the actor. It returns when
	// that is durable; when it fails, what it was told of is not done. Default: nobody.
	OnUser func(context.Context, data.StoreID, UserEvent) error

	// Breached says that a password is known from a breach; collections whose policy
	// refuses common passwords ask. Default: nobody knows.
	Breached func(password string) (bool, error)

	// Followed is the position that every follower of a store's feed has passed, whoever
	// cannot do without a change. What lies behind it is pruned when it is older than
	// FeedAge and not among the newest FeedMin. Default: nothing is pruned.
	Followed func(context.Context, data.StoreID) (data.Position, error)
	FeedAge  time.Duration // default 30 days
	FeedMin  int64         // default 10,000

	// AllowOrigin says whether a page of that origin may call the store from a
	// browser. Default: every origin, as PocketBase does; credentials are
	// tokens in headers, never cookies.
	AllowOrigin func(id data.StoreID, origin string) bool

	// PrivateMail lets tenants send mail through servers on private addresses, as
	// an appliance with a relay of its own wants.
	PrivateMail bool

	// QueryTimeout ends a query that takes longer, an expensive filter or view;
	// default 10 seconds.
	QueryTimeout time.Duration

	// Disk is where the databases lie; nil: the operating system.
	Disk disk.System

	MaxBody    int64 // most bytes of one request body that is held in memory; default 128 MiB
	BodyMemory int64 // most bytes of all bodies held in memory at once; default 512 MiB
	MaxUpload  int64 // most bytes of one form with files, within its fields' limits; default 4 GiB
	UploadDisk int64 // most bytes of all uploads under way, sealed on disk; default 16 GiB
}

const (
	defaultMaxOpen    = 1000
	defaultIdleAfter  = 5 * time.Minute
	defaultQuery      = 10 * time.Second
	defaultMaxBody    = 128 << 20
	defaultBodyMemory = 512 << 20
	defaultMaxUpload  = 4 << 30
	defaultUploadDisk = 16 << 30
)

func (c *Config) fill() error {
	if c.Dir == "" || c.Keys == nil {
		return errors.New("store pool: Dir and Keys are required")
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnCommit == nil {
		c.OnCommit = func(data.StoreID) {}
	}
	if c.OnUser == nil {
		c.OnUser = func(context.Context, data.StoreID, UserEvent) error { return nil }
	}
	if c.AllowOrigin == nil {
		c.AllowOrigin = func(data.StoreID, string) bool { return true }
	}
	c.MaxOpen = positive(c.MaxOpen, defaultMaxOpen)
	c.IdleAfter = positive(c.IdleAfter, defaultIdleAfter)
	c.FeedAge = positive(c.FeedAge, defaultFeedAge)
	c.FeedMin = positive(c.FeedMin, defaultFeedMin)
	c.QueryTimeout = positive(c.QueryTimeout, defaultQuery)
	if c.MemoryBudget <= 0 {
		c.MemoryBudget = defaultBudget()
	}
	c.MaxBody = positive(c.MaxBody, defaultMaxBody)
	c.BodyMemory = positive(c.BodyMemory, defaultBodyMemory)
	c.MaxUpload = positive(c.MaxUpload, defaultMaxUpload)
	c.UploadDisk = positive(c.UploadDisk, defaultUploadDisk)
	return nil
}

func positive[N int | int64 | time.Duration](n, otherwise N) N {
	if n > 0 {
		return n
	}
	return otherwise
}

// Field is one column of a collection, in PocketBase's terms ("text", "number",
// "bool", "date", "json", "select", "relation", "file", "email", "url", ...).
type Field struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Collection describes one collection of a store.
type Collection struct {
	ID      string  `json:"id"`
	Name    string  `json:"name"`
	Type    string  `json:"type"` // base, auth, view
	System  bool    `json:"system"`
	Records int64   `json:"records"`
	Fields  []Field `json:"fields"`
}
