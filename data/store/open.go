package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pocketbase/pocketbase/core"
	_ "github.com/pocketbase/pocketbase/migrations" // PocketBase's system tables

	"holdfast/data"
	"holdfast/data/cryptfs"
	"holdfast/data/store/users"
)

// Store is one open store. Its methods are safe for concurrent use while it is
// held by Acquire.
type Store struct {
	id       data.StoreID
	dir      string
	seat     data.StoreID // under which its files are found: id, but for a store that is not in its place
	pool     *Pool
	keys     Keys
	disk     *cryptfs.FS
	pages    *cryptfs.Tap
	app      *core.BaseApp
	mux      http.Handler
	bodies   bodyBudget
	spooled  bodyBudget
	actors   sync.Map       // *core.BaseApp -> func() data.Actor
	connects map[string]int // calls of connect by database; only while opening
	writer   *writer        // of data.db
	users    *users.Service // of the tenant's own users
	relaxed  atomic.Bool    // see Durability
	floor    atomic.Int64   // see Floor
	answers  answers
	lives    atomic.Pointer[[]Incarnation] // see livesSoFar

	closing context.Context // done when the store is to close: ends event streams
	close   context.CancelFunc
}

// ID is the store's name.
func (s *Store) ID() data.StoreID { return s.id }

// Pages are the committed pages of data.db.
func (s *Store) Pages() data.PageSource { return s.pages }

// PagesFor are the committed pages as one of several followers sees them, each
// with changes of its own.
func (s *Store) PagesFor(follower string) data.PageSource { return s.pages.View(follower) }

// Closing is closed when the store is asked to close: who holds it for long lets
// go then.
func (s *Store) Closing() <-chan struct{} { return s.closing.Done() }

// open brings a store up from its folder. It does not touch the pool's tables.
func (p *Pool) open(ctx context.Context, id data.StoreID, dir string, keys Keys) (_ *Store, err error) {
	s := &Store{id: id, dir: dir, seat: p.seatOf(id, dir, keys), pool: p, keys: keys, connects: map[string]int{}}
	s.bodies.most = max(p.bodies.most/storeShare, p.config.MaxBody)
	s.spooled.most = max(p.spooled.most/storeShare, p.config.MaxUpload)
	s.closing, s.close = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open store %s: %w", id, err), s.shut())
		}
	}()
	if s.disk, err = cryptfs.Mount(s.mounting()); err != nil {
		return nil, err
	}
	if s.pages, err = s.disk.OpenTap(ctx, dataFile); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, s.toldWhy(err)
	}
	return s, nil
}

// mounting says how the store's databases are sealed.
func (s *Store) mounting() cryptfs.Config {
	return cryptfs.Config{
		Dir:      s.dir,
		Identity: s.id.String(),
		Keys:     s.keys.Pages(s.id),

		Durability: cryptfs.Shared, // see settle
		Disk:       s.pool.config.Disk,
		OnCommit: func(database string) {
			if database == dataFile && s.seat == s.id {
				s.pool.config.OnCommit(s.id)
			}
		},
	}
}

// start boots PocketBase over the mounted disk.
func (s *Store) start(ctx context.Context) error {
	s.app = core.NewBaseApp(core.BaseAppConfig{
		DataDir: s.dir, DBConnect: s.connect,
		DataMaxOpenConns: maxReaders, DataMaxIdleConns: maxIdleReaders, AuxMaxOpenConns: 2, AuxMaxIdleConns: 1,
		QueryTimeout: s.pool.config.QueryTimeout,
	})
	s.quiet()
	s.bindSettings()
	s.bindActor()
	s.bindTriggers()
	s.bindGuards()
	s.bindRelations()
	s.bindStreams()
	s.bindIntake()
	s.bindRecordList()
	if err := s.app.Bootstrap(); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	s.restConnections()
	if len(core.AppMigrations.Items()) > 0 { // Bootstrap ran PocketBase's own
		return errors.New("migrate: a package has registered migrations for every app")
	}
	if err := createFeed(ctx, s.app); err != nil {
		return err
	}
	if err := s.loadOwnSettings(ctx); err != nil {
		return err
	}
	if err := s.openUsers(ctx); err != nil {
		return err
	}
	if err := verifyTriggers(ctx, s.app); err != nil {
		return err
	}
	if err := s.dropPasswords(ctx); err != nil {
		return fmt.Errorf("superusers: %w", err)
	}
	var err error
	s.mux, err = s.newMux()
	s.dropIdle()
	return err
}

// PocketBase's 120 connections a store are meant for a process that has one.
const (
	maxReaders     = 16
	maxIdleReaders = 4
	maxSessions    = 64          // writes that wait for the disk at once, on one connection
	restAfter      = time.Minute // an unused connection is closed then
)

// shut ends the streams and closes everything that was opened. The folder stays.
func (s *Store) shut() error {
	s.close()
	if s.seat != s.id {
		defer s.pool.forgetFiles(s.seat)
	}
	var errs []error
	if s.app != nil {
		event := &core.TerminateEvent{}
		event.App = s.app
		errs = append(errs, s.app.OnTerminate().Trigger(event), s.app.ResetBootstrapState())
	}
	if s.pages != nil {
		errs = append(errs, s.pages.Close())
	}
	if s.disk != nil {
		s.awaitLast()
		errs = append(errs, s.disk.Close())
	}
	return errors.Join(errs...)
}

// lastStatement is how long closing waits for statements that nobody waits for.
const lastStatement = 10 * time.Second

// awaitLast waits until no connection is at work: PocketBase does some things beside
// requests (a mail's code that could not be sent is deleted), and a closed pool of
// connections lets the statement at work end.
func (s *Store) awaitLast() {
	for end := time.Now().Add(lastStatement); s.disk.Open() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
