package store

import (
	"errors"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/hook"
	"github.com/pocketbase/pocketbase/tools/router"
)

var errNoBackups = errors.New("PocketBase's backups are off: Holdfast takes snapshots")

// quiet takes off what PocketBase does by itself and a store must not: the file
// watcher (one inotify instance each), the cron ticker (the appliance has one
// clock), and backups, whether by cron or by route.
func (s *Store) quiet() {
	s.app.OnBootstrap().Unbind("__pbNotifyWatcherSystemHook__")
	s.app.OnServe().Unbind("__pbCronStart__")
	s.app.OnBackupCreate().BindFunc(func(*core.BackupEvent) error { return errNoBackups })
	s.app.OnBackupRestore().BindFunc(func(*core.BackupEvent) error { return errNoBackups })
	s.app.OnMailerSend().BindFunc(s.guardMail)
}

// bindGuards refuses writes to _superusers from requests, batches included.
func (s *Store) bindGuards() {
	refuse := &hook.Handler[*core.RecordRequestEvent]{Id: "hfSuperusers", Priority: -1000, Func: func(*core.RecordRequestEvent) error {
		return router.NewForbiddenError("Superusers are managed by Holdfast.", nil)
	}}
	s.app.OnCollectionsImportRequest().BindFunc(func(e *core.CollectionsImportRequestEvent) error {
		for _, c := range e.CollectionsData {
			if s.namesSuperusers(c["name"]) || s.namesSuperusers(c["id"]) {
				return router.NewForbiddenError("Superusers are managed by Holdfast.", nil)
			}
		}
		return e.Next()
	})
	s.app.OnRecordCreateRequest(core.CollectionNameSuperusers).Bind(refuse)
	s.app.OnRecordUpdateRequest(core.CollectionNameSuperusers).Bind(refuse)
	s.app.OnRecordDeleteRequest(core.CollectionNameSuperusers).Bind(refuse)
}

// namesSuperusers says that a name or id of an import is that of _superusers.
func (s *Store) namesSuperusers(name any) bool {
	text, _ := name.(string)
	c, err := s.app.FindCachedCollectionByNameOrId(text)
	return err == nil && c.Name == core.CollectionNameSuperusers
}
