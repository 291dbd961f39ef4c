package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"net/http"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/hook"

	"holdfast/data"
)

// maxBatchBody keeps a batch below the 16 MiB from which PocketBase spills the
// requests within it to the temporary folder, in clear.
const maxBatchBody = 15 << 20

// forced are the settings that Holdfast decides. They live in memory; the stored
// settings never hold them.
func (s *Store) force(settings *core.Settings) {
	settings.S3 = core.S3Config{
		Enabled: true, Bucket: "files", Region: "local", Endpoint: s.filesEndpoint(),
		AccessKey: "none", Secret: "none", ForcePathStyle: true,
	}
	settings.Backups = storedDefaults.backups
	settings.TrustedProxy = core.TrustedProxyConfig{} // the edge sets the address
	settings.SuperuserIPs = nil                       // would shut out keys and console for good
	settings.Logs = core.LogsConfig{MaxDays: 1, MinLevel: math.MaxInt32}
	settings.Batch.Enabled = true
	settings.Batch.MaxRequests = max(settings.Batch.MaxRequests, 1000)
	settings.Batch.Timeout = max(settings.Batch.Timeout, 60)
	settings.Batch.MaxBodySize = maxBatchBody
}

// unforce puts back what is stored for the forced settings.
func unforce(settings *core.Settings, stored forcible) {
	settings.S3, settings.Backups, settings.TrustedProxy = stored.s3, stored.backups, stored.proxy
	settings.Logs, settings.Batch, settings.SuperuserIPs = stored.logs, stored.batch, stored.superuserIPs
}

type forcible struct {
	s3      core.S3Config
	backups core.BackupsConfig
	proxy   core.TrustedProxyConfig
	logs    core.LogsConfig
	batch   core.BatchConfig

	superuserIPs []string
}

func forcibleOf(settings *core.Settings) forcible {
	return forcible{settings.S3, settings.Backups, settings.TrustedProxy, settings.Logs, settings.Batch, settings.SuperuserIPs}
}

// storedDefaults are the values kept in the database for what is forced.
var storedDefaults = forcible{
	backups: core.BackupsConfig{CronMaxKeep: 3},
	logs:    core.LogsConfig{MaxDays: 1},
	batch:   core.BatchConfig{Enabled: true, MaxRequests: 50, Timeout: 3},
}

// bindSettings forces the settings after each load, and keeps the forced ones out
// of what is saved, however it comes to be saved.
func (s *Store) bindSettings() {
	s.app.OnSettingsReload().Bind(&hook.Handler[*core.SettingsReloadEvent]{Id: "hfForce", Priority: -2000, Func: func(e *core.SettingsReloadEvent) error {
		err := e.Next()
		s.force(e.App.Settings())
		return err
	}})
	save := &hook.Handler[*core.ModelEvent]{Id: "hfUnforce", Priority: 600, Func: saveUnforced}
	s.app.OnModelCreateExecute("_params").Bind(save)
	s.app.OnModelUpdateExecute("_params").Bind(save)
	s.app.OnSettingsListRequest().BindFunc(func(e *core.SettingsListRequestEvent) error {
		unforce(e.Settings, storedDefaults)
		return e.Next()
	})
	s.app.OnSettingsUpdateRequest().BindFunc(answerUnforced)
}

// answerUnforced gives the answer to a change of settings in PocketBase's place,
// which would show the forced ones, the pass of the store's files among them.
func answerUnforced(e *core.SettingsUpdateRequestEvent) error {
	answer := e.Response
	defer func() { e.Response = answer }()
	e.Response = discarded{http.Header{}}
	if err := e.Next(); err != nil {
		return err
	}
	shown, err := e.App.Settings().Clone()
	if err != nil {
		return err
	}
	unforce(shown, storedDefaults)
	e.Response = answer
	return e.JSON(http.StatusOK, shown)
}

// discarded is an answer that nobody gets.
type discarded struct{ header http.Header }

func (d discarded) Header() http.Header         { return d.header }
func (d discarded) Write(p []byte) (int, error) { return len(p), nil }
func (d discarded) WriteHeader(int)             {}

func saveUnforced(e *core.ModelEvent) error {
	settings, ok := e.Model.(*core.Settings)
	if !ok {
		return e.Next()
	}
	forced := forcibleOf(settings)
	unforce(settings, storedDefaults)
	defer unforce(settings, forced)
	return e.Next()
}

// filesEndpoint is a host that only this process answers (see outbound), and only
// to who knows the store's pass: a tenant's settings can make PocketBase ask for
// any address, another store's files among them.
func (s *Store) filesEndpoint() string {
	return "http://" + s.pool.filesPass(s.seat) + "." + s.seat.Environment + "." + s.seat.Tenant + "." + s.pool.label + filesDomain
}

// filesPass is a store's secret in its file host's name, new with each pool. It
// stands in memory only: what is saved and shown of the settings is without it.
func (p *Pool) filesPass(id data.StoreID) string {
	mac := hmac.New(sha256.New, p.secret[:])
	mac.Write([]byte(id.String()))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

const filesDomain = ".files.internal"
