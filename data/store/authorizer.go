package store

import (
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data/store/users"
)

// The tables of the feed. They are no PocketBase collections, so no route, no
// collections import and no schema edit reaches them.
const (
	changesTable      = "_changes"
	incarnationsTable = "_incarnations"
	settingsTable     = "_hf_settings" // Holdfast's own, see durability.go
	triggerPrefix     = "_hf_"
)

// readablePragmas may be asked, but not set: those that PocketBase needs.
var readablePragmas = map[string]bool{
	"table_info": true, "table_xinfo": true, "index_list": true, "index_info": true, "index_xinfo": true,
	"foreign_key_check": true, "foreign_key_list": true, "wal_checkpoint": true, "optimize": true,
	"quick_check": true, "integrity_check": true,
}

// authorizer decides over each statement when it is prepared, whoever wrote it:
// nothing leaves the file, and the feed is written by its triggers alone.
func authorizer(c *sqlite3.Conn) func(sqlite3.AuthorizerActionCode, string, string, string, string) sqlite3.AuthorizerReturnCode {
	return func(action sqlite3.AuthorizerActionCode, third, fourth, _, trigger string) sqlite3.AuthorizerReturnCode {
		ctx := c.GetInterrupt()
		if denied(action, third, fourth, trigger) && !isInner(ctx) || isViewCheck(ctx) && deniedToView(action, third, fourth) {
			return sqlite3.AUTH_DENY
		}
		return sqlite3.AUTH_OK
	}
}

func denied(action sqlite3.AuthorizerActionCode, third, fourth, trigger string) bool {
	if strings.HasPrefix(trigger, triggerPrefix) && isUsers(third) && users.ByTrigger(action == sqlite3.AUTH_INSERT,
		action == sqlite3.AUTH_DELETE, action == sqlite3.AUTH_READ, third, fourth) {
		return false
	}
	switch action {
	case sqlite3.AUTH_ATTACH, sqlite3.AUTH_DETACH, sqlite3.AUTH_CREATE_VTABLE, sqlite3.AUTH_DROP_VTABLE:
		return true // ATTACH covers VACUUM and VACUUM INTO
	case sqlite3.AUTH_PRAGMA:
		return deniedPragma(third, fourth)
	case sqlite3.AUTH_FUNCTION:
		return strings.EqualFold(fourth, "load_extension")
	case sqlite3.AUTH_CREATE_TRIGGER, sqlite3.AUTH_DROP_TRIGGER, sqlite3.AUTH_CREATE_TEMP_TRIGGER, sqlite3.AUTH_DROP_TEMP_TRIGGER:
		return true
	case sqlite3.AUTH_INSERT:
		return isFeed(third) && !(strings.EqualFold(third, changesTable) && strings.HasPrefix(trigger, triggerPrefix))
	case sqlite3.AUTH_UPDATE, sqlite3.AUTH_DELETE, sqlite3.AUTH_READ, sqlite3.AUTH_DROP_TABLE, sqlite3.AUTH_CREATE_TABLE:
		return isFeed(third)
	case sqlite3.AUTH_ALTER_TABLE, sqlite3.AUTH_CREATE_INDEX, sqlite3.AUTH_DROP_INDEX:
		return isFeed(fourth)
	}
	return false
}

func isFeed(table string) bool {
	return strings.EqualFold(table, changesTable) || strings.EqualFold(table, incarnationsTable) || strings.EqualFold(table, settingsTable) || isUsers(table)
}

// isUsers says that a table is one of those of the tenant's users' factors.
func isUsers(table string) bool { return slices.Contains(users.Tables(), strings.ToLower(table)) }

func deniedPragma(name, argument string) bool {
	if strings.EqualFold(name, "query_only") {
		return argument != "" // the driver asks, nobody sets
	}
	return !readablePragmas[strings.ToLower(name)]
}
