package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jmoiron/sqlx"

	"holdfast/app/audit"
	"holdfast/app/drill"
	"holdfast/app/recovery"
	"holdfast/backup/restore"
	"holdfast/data"
	"holdfast/data/cryptfs"
	"holdfast/data/keys"
	"holdfast/data/system"
	"holdfast/data/vault"
)

// ownTrials restores the system database and the vault into scratch, as a bare host
// would, and looks at them.
type ownTrials struct {
	*house
	dir string // for scratch; nothing else is in it
}

func newOwnTrials(h *house, dir string) (*ownTrials, error) {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil { // what a crash left
		return nil, fmt.Errorf("scratch of drills: %w", err)
	}
	return &ownTrials{h, dir}, nil
}

func (o *ownTrials) all() map[string]drill.Trial {
	return map[string]drill.Trial{
		recovery.SystemChain: o.scratch(o.system),
		recovery.VaultChain:  o.scratch(o.vault),
	}
}

// scratch gives a trial a folder that is gone when it ends.
func (o *ownTrials) scratch(try func(context.Context, string, restore.Config, drill.Tell) error) drill.Trial {
	return func(ctx context.Context, c restore.Config, t drill.Tell) (err error) {
		dir, err := os.MkdirTemp(o.dir, "own-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		return try(ctx, dir, c, t)
	}
}

// system is sealed under a key that only this process ever has.
func (o *ownTrials) system(ctx context.Context, dir string, c restore.Config, t drill.Tell) (err error) {
	key := newPassing()
	got, err := restore.Run(ctx, c, databaseSink{cryptfs.Config{Dir: dir, Identity: system.Identity, Keys: key}})
	if err != nil {
		return err
	}
	t.Restored(got)
	db, err := system.Open(ctx, system.Config{Dir: dir, Keys: key})
	if err != nil {
		return fmt.Errorf("the restored system database does not open: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.View(ctx, func(tx *sqlx.Tx) error { return lookAtSystem(ctx, tx, t) })
}

func lookAtSystem(ctx context.Context, tx *sqlx.Tx, t drill.Tell) error {
	var tenants, persons int
	if err := errors.Join(tx.GetContext(ctx, &tenants, `SELECT count(*) FROM tenants`), tx.GetContext(ctx, &persons, `SELECT count(*) FROM persons`)); err != nil {
		return fmt.Errorf("the restored system database cannot be read: %w", err)
	}
	t.Opened(fmt.Sprintf("it opened, and has %d tenants and %d persons", tenants, persons))
	var wrong []string
	if err := tx.SelectContext(ctx, &wrong, `SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'`); err != nil {
		return err
	}
	var loose []string
	err := tx.SelectContext(ctx, &loose, `SELECT DISTINCT "table" || ' refers to a row of ' || parent || ' that is not there' FROM pragma_foreign_key_check`)
	t.Found("integrity", append(wrong, loose...), "SQLite's integrity check and that of references between tables found nothing")
	return err
}

// vault is loaded under its own keys, for its values are shipped as they are sealed. Its
// logs are verified, and held against those of the living vault.
func (o *ownTrials) vault(ctx context.Context, dir string, c restore.Config, t drill.Tell) (err error) {
	dir = filepath.Join(dir, "vault")
	source := o.ring.Source(keys.System, keys.Vault)
	got, err := loadVault(ctx, c, dir, source)
	if err != nil {
		return err
	}
	t.Restored(got)
	v, err := vault.Open(dir, source)
	if err != nil {
		return fmt.Errorf("the restored vault does not open: %w", err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	logs, err := audit.New(ctx, audit.Config{
		Vault: v.Sub("audit/"), Signing: o.ring.Source(keys.System, keys.AuditSigning),
		Personal: func(owner string) data.KeySource { return o.ring.Archive(keys.Owner(owner), keys.Personal) },
	})
	if err != nil {
		return fmt.Errorf("the logs in the restored vault do not open: %w", err)
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	t.Opened("it opened, and each of its values")
	return o.lookAtLogs(ctx, logs, t)
}

// lookAtLogs verifies the appliance's log and those of the live stores.
func (o *ownTrials) lookAtLogs(ctx context.Context, restored *audit.Service, t drill.Tell) error {
	live, err := o.liveStores(ctx)
	if err != nil {
		return err
	}
	names := []string{audit.Appliance}
	for _, id := range live {
		names = append(names, id.String())
	}
	var wrong []string
	entries := int64(0)
	for _, log := range names {
		r, err := restored.Verify(ctx, log)
		if err == nil {
			entries += r.Size
			wrong = append(wrong, o.against(ctx, restored, r)...)
		}
		if err != nil {
			return err
		}
	}
	t.Found("log", wrong, fmt.Sprintf("%d logs with %d entries agree with their signed checkpoints, and end with an entry that the living log has there", len(names), entries))
	return nil
}

// against names what is wrong with a log, and looks whether the living one has its last
// entry at the same place.
func (o *ownTrials) against(ctx context.Context, restored *audit.Service, r audit.Report) (wrong []string) {
	for _, p := range r.Problems {
		wrong = append(wrong, "log "+r.Log+": "+p)
	}
	if r.Size == 0 {
		return wrong
	}
	then, err := restored.Prove(ctx, r.Log, r.Size-1)
	now, err2 := o.audit.Prove(ctx, r.Log, r.Size-1)
	if err := errors.Join(err, err2); err != nil {
		return append(wrong, fmt.Sprintf("log %s: its last entry cannot be compared: %v", r.Log, err))
	}
	if then.Leaf != now.Leaf {
		wrong = append(wrong, fmt.Sprintf("log %s: entry %d is not the one that the living log has there", r.Log, r.Size-1))
	}
	return wrong
}

// passing is a key that nobody keeps.
type passing [32]byte

func newPassing() (p passing) {
	rand.Read(p[:]) //nolint:errcheck // never fails
	return p
}

func (p passing) Current() (uint32, [32]byte, error) { return 1, p, nil }

func (p passing) Generation(uint32) ([32]byte, error) { return p, nil }
