package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/ncruces/go-sqlite3"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/router"
)

// A view is SQL that a tenant's admin wrote. It may read the tenant's records, not
// what the store itself lives on: token secrets, settings, sign-in records, the
// feed. Reads by a view cannot be told apart for sure when it is used (a name
// inside it can pose as a trigger's), so its query is checked when it is saved,
// which is the only way for it to change.

// hiddenFromViews are tables that no view reads, in lower case.
var hiddenFromViews = map[string]bool{
	"_superusers": true, "_collections": true, "_params": true, "_otps": true, "_mfas": true,
	"_externalauths": true, "_authorigins": true, "_migrations": true,
	"sqlite_master": true, "sqlite_schema": true, changesTable: true, incarnationsTable: true, settingsTable: true,
}

// hiddenColumns are secrets of an auth collection's records, in lower case.
var hiddenColumns = map[string]bool{"tokenkey": true, "password": true}

func deniedToView(action sqlite3.AuthorizerActionCode, table, column string) bool {
	switch action {
	case sqlite3.AUTH_SELECT, sqlite3.AUTH_RECURSIVE:
		return false
	case sqlite3.AUTH_FUNCTION:
		return strings.HasPrefix(strings.ToLower(column), "hf_")
	case sqlite3.AUTH_READ:
		return hiddenFromViews[strings.ToLower(table)] || isUsers(table) || hiddenColumns[strings.ToLower(column)]
	}
	return true // a pragma's table, or something that writes
}

type viewCheckKey struct{}

// viewCheck returns a context whose statements are held to what a view may read.
func viewCheck(ctx context.Context) context.Context {
	return context.WithValue(ctx, viewCheckKey{}, true)
}

func isViewCheck(ctx context.Context) bool {
	if ctx == nil {
		return false
	}
	ok, _ := ctx.Value(viewCheckKey{}).(bool)
	return ok
}

// checkCollection refuses names that are ours and views of what is not the
// tenant's to read. A deleted collection needs no check.
func (s *Store) checkCollection(tx core.App, e *core.CollectionEvent) error {
	c := e.Collection
	if e.Type == core.ModelEventTypeDelete {
		return nil
	}
	if ours(c.Name) || ours(c.Id) {
		return router.NewBadRequestError(fmt.Sprintf("The name or id of collection %q is reserved.", c.Name), nil)
	}
	for _, rule := range []*string{c.ListRule, c.ViewRule, c.CreateRule, c.UpdateRule, c.DeleteRule} {
		if rule != nil && strings.Contains(strings.ToLower(*rule), "@collection._") {
			return router.NewBadRequestError("A rule cannot ask for system collections: its answers would tell their records.", nil)
		}
	}
	if !c.IsView() {
		return nil
	}
	query := strings.TrimRight(strings.TrimSpace(c.ViewQuery), ";")
	_, err := tx.NonconcurrentDB().NewQuery("SELECT * FROM (" + query + "\n) LIMIT 0").
		WithContext(viewCheck(e.Context)).Execute()
	if err != nil {
		return router.NewBadRequestError("The view's query reads what a view may not, or is no query.", nil)
	}
	return nil
}

// ours says that a name is one of the feed's, whatever its case.
func ours(name string) bool {
	folded := strings.ToLower(name)
	if strings.HasPrefix(folded, triggerPrefix) || isFeed(folded) {
		return true
	}
	for _, own := range ownTables {
		if folded == own.table {
			return true
		}
	}
	return false
}
