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
	Parked   []string            `json:"parked,omitempty"` // of the stores: deleted, and still to be undeleted
	Missing  []string            `json:"missing,omitempty"`
	Revoked  int                 `json:"keys_revoked_again"`
	Ended    int                 `json:"ended_again"` // persons locked or disabled, grants and access ended or replaced, invites revoked, policies of access set
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
	url    string
	cut    bool // what is not the chain that was shipped is taken all the same
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
	b := &bare{cli: c, url: f.from, cut: f.acceptCut, result: bareResult{From: withoutQuery(f.from), Stores: []recovery.Returned{}}}
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
	a.config.restoring = true
	a.gate, a.front = newGate(a), newFront(a)
	h, err := openHouse(ctx, a, opened{ring: b.ring, slot: b.slot})
	if err != nil {
		return fmt.Errorf("open what was restored: %w", err)
	}
	defer func() { err = errors.Join(err, h.close()) }()
	ctx = data.WithActor(ctx, hostActor())
	b.result.Warnings, b.result.Missing = nil, nil
	all, err := b.returning(ctx, h)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context, *house, []returning) error{b.ownUncut, b.stores, b.revokeAgain, b.endAgain, b.accessAgain, b.endSessions, b.claim} {
		if err := step(ctx, h, all); err != nil {
			return err
		}
	}
	return h.audit.Record(ctx, b.epoch())
}

func (b *bare) warn(format string, args ...any) {
	b.result.Warnings = append(b.result.Warnings, fmt.Sprintf(format, args...))
}

// endSessions signs everybody out: a session that was ended after the snapshot would be
// valid again.
func (b *bare) endSessions(ctx context.Context, h *house, _ []returning) error {
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
		"persons and grants ended again": strconv.Itoa(b.result.Ended),
		"lost":                           "whatever was done after these times; checkpoints noted later than the log's are of an epoch that ended",
	}
	if b.cut {
		detail["cut"] = "chains that are not those that were shipped were accepted"
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
		"%d of them are of deleted tenants, which can still be undeleted. Everybody has to sign in anew; %d API keys were revoked and %d persons or roles ended again.\n"+
		"Start the server; without its key file it asks for a slot's secret.",
		len(r.Stores), r.Records, r.Seconds, r.System.Time.Format(time.RFC3339), r.Vault.Time.Format(time.RFC3339), len(r.Parked), r.Revoked, r.Ended)
}
