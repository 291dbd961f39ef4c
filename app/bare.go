package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"holdfast/app/api"
	"holdfast/app/audit"
	"holdfast/app/identity"
	"holdfast/app/recovery"
	"holdfast/backup"
	"holdfast/backup/objects"
	"holdfast/backup/restore"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/system"
)

// restoringDir is there while a bare host is being restored; nothing is served from
// such a folder.
const restoringDir = "restoring"

var errRestoring = errors.New("this data folder is being restored and is not whole: run the same restore --all command again, it goes on where it stopped")

// bareResult is what `restore --all` prints, and what it remembers of a run that was cut
// short.
type bareResult struct {
	From     string              `json:"from"`
	Keys     restoredKeys        `json:"keys"`
	System   chainPoint          `json:"system"`
	Vault    chainPoint          `json:"vault"`
	Stores   []recovery.Returned `json:"stores"`
	Missing  []string            `json:"missing,omitempty"`
	Revoked  int                 `json:"keys_revoked_again"`
	Sessions int                 `json:"sessions_ended_of"`
	Warnings []string            `json:"warnings,omitempty"`
	Records  int64               `json:"records"`
	Seconds  float64             `json:"rto_seconds"`
}

type chainPoint struct {
	Seq  int64     `json:"seq"`
	Time time.Time `json:"time"`
}

// bare is one run of restore --all.
type bare struct {
	*cli
	folder *folder
	source backup.ObjectStore
	ring   *keys.Ring
	slot   string
	result bareResult
}

// restoreAll is restore on a bare host: keys, system database, vault, then each store.
// Each comes into its place whole; a run that was cut short is taken up again.
func (c *cli) restoreAll(ctx context.Context, f *restoreFlags, args []string) error {
	if len(args) > 0 || f.from == "" {
		return fmt.Errorf("%w: restore --all --from URL, and no TENANT", errUsage)
	}
	if err := c.config.validate(); err != nil {
		return err
	}
	ways, err := c.ways(f.secret)
	if err != nil {
		return err
	}
	began := time.Now()
	b := &bare{cli: c, result: bareResult{From: withoutQuery(f.from), Stores: []recovery.Returned{}}}
	if b.source, err = objects.Open(f.from, objects.Credentials{AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY")}); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if b.folder, err = openFolder(c.config.Data); err != nil {
		return err
	}
	defer b.folder.close() //nolint:errcheck // only a lock
	if err := b.begin(); err != nil {
		return err
	}
	if err := b.run(ctx, f, ways); err != nil {
		return err
	}
	b.result.Seconds = time.Since(began).Seconds()
	return b.tell()
}

func withoutQuery(url string) string { url, _, _ = strings.Cut(url, "?"); return url }

// begin takes an empty folder, or one of an earlier run.
func (b *bare) begin() error {
	if exists(b.folder.in(restoringDir)) {
		text, err := os.ReadFile(b.folder.in(restoringDir, "progress.json"))
		if err == nil {
			err = json.Unmarshal(text, &b.result)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("read how far the restore was: %w", err)
		}
		return nil
	}
	for _, name := range []string{"keys", system.Database, "vault", "stores"} {
		if exists(b.folder.in(name)) {
			return fmt.Errorf("the data folder %s is not empty (%s is there): restore --all is for a bare host; give it a new folder with --data", b.folder.path, name)
		}
	}
	return os.Mkdir(b.folder.in(restoringDir), 0o700)
}

// note remembers how far it is.
func (b *bare) note() error {
	text, err := json.Marshal(b.result)
	if err != nil {
		return err
	}
	next := b.folder.in(restoringDir, "progress.new")
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return renameDurably(next, b.folder.in(restoringDir, "progress.json"))
}

func (b *bare) run(ctx context.Context, f *restoreFlags, ways []keys.Slot) error {
	if err := b.keys(ctx, f, ways); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{b.system, b.vault} {
		if err := errors.Join(step(ctx), b.note()); err != nil {
			b.ring.Seal()
			return err
		}
	}
	if err := b.inside(ctx); err != nil {
		return err
	}
	return os.RemoveAll(b.folder.in(restoringDir))
}

// keys brings the keyring back, or opens the one that an earlier run brought.
func (b *bare) keys(ctx context.Context, f *restoreFlags, ways []keys.Slot) (err error) {
	if !exists(b.folder.in("keys", keys.RingFile)) {
		b.say("keys: reading the newest copy from %s", b.result.From)
		var ring *keys.Ring
		if b.result.Keys, ring, err = restoreInto(ctx, b.folder, f.from, f.id, ways); err != nil {
			return fmt.Errorf("bring the keys back: %w", err)
		}
		b.result.Keys.Serial, b.result.Keys.Keys = ring.Serial(), len(ring.Entries())
		ring.Seal()
	}
	o, err := unlock(b.folder, quietLogger(b.stderr), ways...)
	b.ring, b.slot = o.ring, o.slot
	return err
}

func (b *bare) say(format string, args ...any) { fmt.Fprintf(b.stderr, format+"\n", args...) }

// progress tells how far a chain is, each second or so.
func (b *bare) progress(what string) func(done, of int64) {
	var meter restore.Meter
	var told time.Time
	return func(done, of int64) {
		now := time.Now()
		rate, left := meter.At(now, done, of)
		if now.Sub(told) < time.Second {
			return
		}
		told = now
		b.say("%s: %d of %d MiB, %.1f MiB/s, %s left", what, done>>20, of>>20, rate/(1<<20), left.Round(time.Second))
	}
}

// inside opens the house without serving, and brings back what only it can.
func (b *bare) inside(ctx context.Context) (err error) {
	a := &Appliance{config: b.config, logger: quietLogger(b.stderr), now: now, folder: b.folder}
	a.gate, a.front = newGate(a), newFront(a)
	h, err := openHouse(ctx, a, opened{ring: b.ring, slot: b.slot})
	if err != nil {
		return fmt.Errorf("open what was restored: %w", err)
	}
	defer func() { err = errors.Join(err, h.close()) }()
	ctx = data.WithActor(ctx, hostActor())
	if err := b.stores(ctx, h); err != nil {
		return err
	}
	if err := b.revokeAgain(ctx, h); err != nil {
		return err
	}
	if err := b.endSessions(ctx, h); err != nil {
		return err
	}
	if err := h.recovery.Claim(ctx); err != nil {
		b.warn("a target could not be read, its chains have to be taken over (holdfast snapshot takeover): %v", err)
	}
	return h.audit.Record(ctx, b.epoch())
}

func (b *bare) warn(format string, args ...any) {
	b.result.Warnings = append(b.result.Warnings, fmt.Sprintf(format, args...))
}

// stores brings each live store back.
func (b *bare) stores(ctx context.Context, h *house) error {
	live, err := h.liveStores(ctx)
	if err != nil {
		return err
	}
	b.result.Missing = nil
	for _, id := range live {
		name := h.keyOwnerName(ctx, keys.Owner(id.String()))
		if name == "" {
			name = id.String()
		}
		if exists(b.folder.in("stores", id.Tenant, id.Environment)) {
			continue
		}
		done, err := h.recovery.Return(ctx, id, b.source, b.progress(name))
		switch {
		case errors.Is(err, backup.ErrNoSnapshot):
			b.result.Missing = append(b.result.Missing, name)
			b.warn("%s: the target holds no snapshot of it", name)
			continue
		case err != nil:
			return fmt.Errorf("bring back %s: %w", name, err)
		}
		b.say("%s: %d records, as of %s", name, done.Records, done.Time.Format(time.RFC3339))
		b.result.Stores = append(b.result.Stores, done)
		b.result.Records += done.Records
		if err := b.note(); err != nil {
			return err
		}
	}
	return nil
}

// revokedBefore is how much before the newest point of the system database the log is
// looked through: a point holds at least everything up to its time, but clocks of
// entries are read earlier.
const revokedBefore = 5 * time.Minute

// revokeAgain ends the API keys of which the log knows that they were revoked, and the
// system database, being older, does not.
func (b *bare) revokeAgain(ctx context.Context, h *house) error {
	live, err := h.liveStores(ctx)
	if err != nil {
		return err
	}
	for _, id := range live {
		entries, _, err := h.audit.List(ctx, id.String(), audit.Query{Action: "key.revoke", Limit: 1000})
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Time.Before(b.result.System.Time.Add(-revokedBefore)) || e.Erased {
				continue
			}
			err := h.identity.RevokeKey(ctx, id, e.Target)
			if errors.Is(err, data.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			b.result.Revoked++
		}
	}
	return nil
}

// endSessions signs everybody out: a session that was ended after the snapshot would be
// valid again.
func (b *bare) endSessions(ctx context.Context, h *house) error {
	list, err := identity.VaultValues{Vault: h.vault.Sub("identity/")}.Keys(ctx, "person/")
	if err != nil {
		return err
	}
	persons := map[string]bool{}
	for _, key := range list {
		person, _, _ := strings.Cut(strings.TrimPrefix(key, "person/"), "/")
		persons[person] = true
	}
	for person := range persons {
		if err := h.identity.EndSessions(ctx, person); err != nil {
			return err
		}
	}
	b.result.Sessions = len(persons)
	return nil
}

// epoch is the entry with which the log goes on: it names what may be lost.
func (b *bare) epoch() api.Event {
	detail := map[string]string{
		"from": b.result.From, "system until": b.result.System.Time.Format(time.RFC3339), "log until": b.result.Vault.Time.Format(time.RFC3339),
		"keys made": b.result.Keys.Made, "stores": strconv.Itoa(len(b.result.Stores)), "keys revoked again": strconv.Itoa(b.result.Revoked),
		"lost": "whatever was done after these times; checkpoints noted later than the log's are of an epoch that ended",
	}
	for i, s := range b.result.Stores {
		if i < 50 {
			detail["store "+s.Store] = fmt.Sprintf("until %s, change %s %d", s.Time.Format(time.RFC3339), s.Position.Incarnation, s.Position.Sequence)
		}
	}
	return api.Event{Action: "log.epoch", Target: "restore --all", Outcome: api.OK, Detail: detail}
}

func (b *bare) tell() error {
	r := b.result
	for _, w := range r.Warnings {
		b.say("warning: %s", w)
	}
	return b.object(r, "%d stores with %d records are back in %.1f s: the system as of %s, the log as of %s.\n"+
		"Everybody has to sign in anew; %d API keys were revoked again. Start the server; without its key file it asks for a slot's secret.",
		len(r.Stores), r.Records, r.Seconds, r.System.Time.Format(time.RFC3339), r.Vault.Time.Format(time.RFC3339), r.Revoked)
}
