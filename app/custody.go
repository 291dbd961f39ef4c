package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"holdfast/app/custody"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/store"
)

// openCustody joins the keys' keeper with the rooms that it must not know.
func (h *house) openCustody(ctx context.Context, a *Appliance) (err error) {
	h.custody, err = custody.New(ctx, custody.Config{
		Dir: a.folder.in("keys"), Ring: h.ring, DB: h.system, Recorder: h.audit, Operations: h.operations,
		Targets: h.keyTargets, Owner: h.keyOwner, Name: h.keyOwnerName, Rekeyer: h.rekeys, Seals: h.seals, Needed: h.rekeys.needed,
		KeyFile: a.config.KeyFile, Credential: credentialPath(), OpenedBy: h.openedBy, Horizon: a.config.KeyCopiesKept,
		Clock: a.now, Logger: a.logger,
	})
	if err != nil {
		return err
	}
	h.opened(h.custody.Close)
	return nil
}

// seals tells how often the pages keys of what is open sealed. A store is not opened
// for it.
func (h *house) seals() (all []custody.Sealed) {
	add := func(owner keys.Owner, seals []store.Seals) {
		for _, s := range seals {
			all = append(all, custody.Sealed{Owner: owner, Purpose: keys.Pages, Generation: s.Generation, Count: s.Count, Bound: s.Bound})
		}
	}
	if own, err := h.system.Seals(); err == nil {
		add(keys.System, own)
	}
	for id, seals := range h.pool.Seals() {
		add(keys.Owner(id.String()), seals)
	}
	return all
}

// keyTargets are recovery's targets as custody asks for them.
func (h *house) keyTargets(ctx context.Context) ([]custody.Target, error) {
	places, err := h.recovery.Places(ctx)
	targets := make([]custody.Target, len(places))
	for i, p := range places {
		targets[i] = custody.Target{ID: p.ID, Name: p.Name, URL: p.URL, Open: p.Open}
	}
	return targets, err
}

// keyOwner finds whose keys a store's are, in whatever state it is.
func (h *house) keyOwner(ctx context.Context, name string) (keys.Owner, error) {
	slug, environment, found := strings.Cut(name, "/")
	if !found {
		environment = data.Prod
	}
	id, err := h.tenants.Anyhow(ctx, slug, environment)
	return keys.Owner(id.String()), err
}

func (h *house) keyOwnerName(ctx context.Context, owner keys.Owner) string {
	tenant, environment, found := strings.Cut(string(owner), "/")
	if !found {
		return string(owner)
	}
	slug, err := h.tenants.Slug(ctx, tenant)
	if err != nil {
		return ""
	}
	return slug + "/" + environment
}

// credentialPath is the credential that the service manager gave this process,
// "" when it gave none.
func credentialPath() string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return ""
	}
	path := filepath.Join(dir, custody.CredentialName)
	if !exists(path) {
		return ""
	}
	return path
}
