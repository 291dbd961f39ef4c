package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/ui"

	"holdfast/data"
)

// studioTokenLife is how long a studio token opens the dashboard. It cannot be
// renewed; Holdfast issues a new one.
const studioTokenLife = 15 * time.Minute

// shadowDomain marks the superuser records that stand for Holdfast's actors.
const shadowDomain = "@shadow.holdfast.invalid"

// studioCSP is PocketBase's own policy without its foreign map and local hosts.
const studioCSP = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; " +
	"connect-src 'self'; script-src 'self'; frame-ancestors 'none'"

// Studio serves the static files of PocketBase's dashboard; the path begins with
// /_/ . It belongs on an origin of its own: the dashboard keeps its token in the
// browser's local storage.
func (s *Store) Studio() http.Handler {
	files := http.StripPrefix("/_/", http.FileServerFS(ui.DistDirFS))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", studioCSP)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		if r.URL.Path != "/_/" {
			w.Header().Set("Cache-Control", "max-age=1209600, stale-while-revalidate=86400")
		}
		files.ServeHTTP(w, r)
	})
}

// StudioToken gives the actor a token with which the dashboard acts as superuser,
// through a shadow record that names the actor in the feed. It lives 15 minutes, and
// not longer than the warrant that it is given for.
func (s *Store) StudioToken(ctx context.Context, actor data.Actor) (string, error) {
	if err := s.admitted(ctx, Manage, Use{What: "studio"}); err != nil {
		return "", err
	}
	app, done := s.as(ctx)
	defer done()
	record, err := shadowOf(app, actor)
	if err != nil {
		return "", fmt.Errorf("studio token of %s: %w", s.id, err)
	}
	now := s.pool.config.Clock()
	until := now.Add(studioTokenLife)
	if end := WarrantFrom(ctx).Until; !end.IsZero() && end.Before(until) {
		until = end
	}
	token, err := record.NewStaticAuthToken(until.Sub(now))
	if err != nil {
		return "", fmt.Errorf("studio token of %s: %w", s.id, err)
	}
	s.pool.issued.add(token, issue{s.id, actor, until}, now)
	return token, nil
}

// shadowOf finds or makes the actor's record; of two that make it at once, one
// finds the other's.
func shadowOf(app core.App, actor data.Actor) (*core.Record, error) {
	find := func() (*core.Record, error) {
		return app.FindAuthRecordByEmail(core.CollectionNameSuperusers, shadowEmail(actor))
	}
	if record, err := find(); err == nil {
		return record, nil
	}
	record, err := newShadow(app, actor)
	if err == nil {
		return record, nil
	}
	if record, again := find(); again == nil {
		return record, nil
	}
	return nil, err
}

func newShadow(app core.App, actor data.Actor) (*core.Record, error) {
	collection, err := app.FindCachedCollectionByNameOrId(core.CollectionNameSuperusers)
	if err != nil {
		return nil, err
	}
	record := core.NewRecord(collection)
	record.SetEmail(shadowEmail(actor))
	record.RefreshTokenKey()
	return record, app.SaveNoValidate(record) // PocketBase would want a password
}

// dropPasswords takes those that shadows had in earlier versions. No superuser has one:
// who opens the studio signed in to Holdfast, however its policy wants that.
func (s *Store) dropPasswords(ctx context.Context) error {
	db := s.app.NonconcurrentDB()
	var any bool
	if err := db.NewQuery(`SELECT EXISTS (SELECT 1 FROM _superusers WHERE password != '')`).WithContext(ctx).Row(&any); err != nil || !any {
		return err
	}
	_, err := execInner(ctx, db, `UPDATE _superusers SET password = '' WHERE password != ''`, nil)
	return err
}

// shadowEmail is an address that spells the actor; hex keeps it a valid one.
func shadowEmail(a data.Actor) string {
	return hex.EncodeToString([]byte(a.String())) + shadowDomain
}

// studioActor is the inverse of shadowEmail.
func studioActor(record *core.Record) data.Actor {
	code, ok := strings.CutSuffix(record.Email(), shadowDomain)
	name, err := hex.DecodeString(code)
	if !ok || err != nil {
		return data.Actor{Kind: data.User, ID: core.CollectionNameSuperusers + "/" + record.Id}
	}
	return data.ParseActor(string(name))
}

// keyRecord is a superuser record that is stored nowhere: the shape in which a
// key's request passes PocketBase's checks. Its id tells keys apart, so that an
// event stream of one is not taken over by another.
func (s *Store) keyRecord(ctx context.Context) (*core.Record, error) {
	collection, err := s.app.FindCachedCollectionByNameOrId(core.CollectionNameSuperusers)
	if err != nil {
		return nil, errors.Join(errors.New("no superusers collection"), err)
	}
	sum := sha256.Sum256([]byte(data.ActorFrom(ctx).String()))
	record := core.NewRecord(collection)
	record.Id = "key" + hex.EncodeToString(sum[:])[:12]
	record.SetEmail(record.Id + "@key.holdfast.invalid")
	record.MarkAsNotNew()
	return record, nil
}
