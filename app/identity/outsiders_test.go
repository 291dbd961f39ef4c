package identity

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

func (h *house) sql(query string, args ...any) {
	h.t.Helper()
	must(h.t, h.config.DB.Update(bg, func(tx *sqlx.Tx) error { _, err := tx.Exec(query, args...); return err }))
	h.grants.forget()
}

// TestKeysThatOutsidersMade before access had to be asked for are found, as long as they
// open something; those of the tenant's own people, and later ones, are not.
func TestKeysThatOutsidersMade(t *testing.T) {
	h := newHouse(t)
	ada, olga := h.owner("ada@example.com"), h.member("olga@example.com", acme.Tenant)
	h.clock.add(time.Minute)
	foreign, host, own, later := h.key(acme, NewKey{}).ID, h.key(acme, NewKey{}).ID, h.key(acme, NewKey{}).ID, h.key(acme, NewKey{}).ID
	h.sql(`UPDATE api_keys SET created_by = ? WHERE id = ?`, "person:"+ada.ID, foreign)
	h.sql(`UPDATE api_keys SET created_by = 'host:0' WHERE id = ?`, host)
	h.sql(`UPDATE api_keys SET created_by = ? WHERE id = ?`, "person:"+olga.ID, own)
	h.sql(`UPDATE api_keys SET created_by = ?, created = created + 60000 WHERE id = ?`, "person:"+ada.ID, later)
	found := func() (ids []string) {
		t.Helper()
		list, err := h.OutsidersKeys(bg)
		must(t, err)
		for _, k := range list {
			ids = append(ids, k.ID)
		}
		return ids
	}
	equal(t, "before the upgrade", len(found()), 0)
	h.clock.add(time.Second)
	must(t, h.OwnTheOwnerless(bg, func(context.Context) ([]string, error) { return nil, nil }))
	got := strings.Join(found(), " ")
	equal(t, "found", len(found()) == 2 && strings.Contains(got, foreign) && strings.Contains(got, host), true)
	must(t, h.RevokeKey(bg, acme, foreign))
	equal(t, "revoked", len(found()), 1)

	for by, want := range map[string]bool{"person:" + ada.ID: true, "person:" + olga.ID: false, "host:0": true} {
		was, err := h.WasOutsider(bg, by, acme.Tenant, h.now().Add(-time.Second))
		must(t, err)
		equal(t, by, was, want)
	}
	was, err := h.WasOutsider(bg, "person:"+ada.ID, acme.Tenant, h.now())
	must(t, err)
	equal(t, "later", was, false)

	for range 2 {
		must(t, h.TellOnce(bg, acme, "key.outsider", host, map[string]string{"name": "x"}))
	}
	told := 0
	for _, e := range h.log.events {
		if strings.Contains(e, "key.outsider t-acme/prod ok") {
			told++
		}
	}
	equal(t, "told", told, 1)
}

// TestALockedOwnerIsOneAtTheUpgrade: the host does not get a tenant whose owner is locked.
func TestALockedOwnerIsOneAtTheUpgrade(t *testing.T) {
	h := newHouse(t)
	h.member("olga@example.com", acme.Tenant)
	h.lock("olga@example.com")
	must(t, h.OwnTheOwnerless(bg, func(context.Context) ([]string, error) { return []string{acme.Tenant}, nil }))
	wantErr(t, h.Authorize(bg, data.Actor{Kind: data.Host}, api.DataRead, api.StoreScope(acme)), api.ErrForbidden)
}
