// Package stock runs PocketBase as its authors ship it (modernc's driver, plain
// pages, its request log), to measure beside. Nothing but tests imports it.
package stock

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	_ "github.com/pocketbase/pocketbase/migrations" // its system tables
)

// Sync is SQLite's setting.
type Sync string

// Normal is PocketBase's own, with which a power cut can take the newest commits
// back; Full syncs the log with each commit.
const (
	Normal Sync = "NORMAL"
	Full   Sync = "FULL"
)

// Server is one PocketBase.
type Server struct {
	http.Handler
	App *core.BaseApp
}

// Open makes a PocketBase in an empty folder. Batches are on, for they are off by
// default.
func Open(dir string, sync Sync) (_ *Server, err error) {
	app := core.NewBaseApp(core.BaseAppConfig{DataDir: dir, DBConnect: func(path string) (*dbx.DB, error) { return connect(path, sync) }})
	if err := app.Bootstrap(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, app.ResetBootstrapState())
		}
	}()
	app.OnServe().Unbind("__pbCronStart__")
	if err := app.RunAllMigrations(); err != nil {
		return nil, err
	}
	app.Settings().Batch = core.BatchConfig{Enabled: true, MaxRequests: 1000, Timeout: 60}
	if err := app.SaveWithContext(context.Background(), app.Settings()); err != nil {
		return nil, err
	}
	s := &Server{App: app}
	s.Handler, err = handler(app)
	return s, err
}

// connect sets the pragma on each connection, by way of the driver's DSN.
func connect(path string, sync Sync) (*dbx.DB, error) {
	if sync == Normal {
		return core.DefaultDBConnect(path)
	}
	return dbx.Open("sqlite", path+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=journal_size_limit(200000000)"+
		fmt.Sprintf("&_pragma=synchronous(%s)", sync)+"&_pragma=foreign_keys(ON)&_pragma=temp_store(MEMORY)&_pragma=cache_size(-32000)")
}

func handler(app *core.BaseApp) (mux http.Handler, err error) {
	r, err := apis.NewRouter(app)
	if err != nil {
		return nil, err
	}
	err = app.OnServe().Trigger(&core.ServeEvent{App: app, Router: r, Server: &http.Server{}}, func(e *core.ServeEvent) error {
		mux, err = e.Router.BuildMux()
		return err
	})
	return mux, err
}

// Import makes collections as PocketBase's own import does.
func (s *Server) Import(collections []map[string]any) error {
	return s.App.ImportCollections(collections, false)
}

// Close closes its databases.
func (s *Server) Close() error { return s.App.ResetBootstrapState() }

// Fill saves rows through PocketBase, in transactions of a thousand.
func (s *Server) Fill(collection string, rows int, row func(i int) map[string]any) error {
	c, err := s.App.FindCollectionByNameOrId(collection)
	if err != nil {
		return err
	}
	for i := 0; i < rows; {
		err := s.App.RunInTransaction(func(tx core.App) error {
			for end := min(i+1000, rows); i < end; {
				i++
				record := core.NewRecord(c)
				record.Load(row(i))
				if err := tx.Save(record); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
