package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/hook"

	"holdfast/data"
	"holdfast/data/store/users"
)

// watched is a table whose writes go to the feed.
type watched struct {
	id, table string
	name      string   // what its triggers are called by
	columns   []string // but the id
	users     bool     // of a tenant's users, who have factors
}

// PocketBase's own tables beside the collections: schema and settings.
var ownTables = []watched{
	{"_collections", "_collections", "own_collections", []string{"name", "type", "system", "fields", "indexes", "listRule", "viewRule", "createRule", "updateRule", "deleteRule", "options"}, false},
	{"_params", "_params", "own_params", []string{"value"}, false},
}

// watch names a collection's triggers by its id in hex: SQLite folds the case of
// names, PocketBase does not fold that of ids, and clients choose them. No hex
// is the name of one of our own tables.
func watch(c *core.Collection) watched {
	w := watched{id: c.Id, table: c.Name, name: hex.EncodeToString([]byte(c.Id)), users: c.IsAuth() && c.Name != core.CollectionNameSuperusers}
	for _, name := range c.Fields.FieldNames() {
		if name != "id" {
			w.columns = append(w.columns, name)
		}
	}
	return w
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func literal(text string) string { return `'` + strings.ReplaceAll(text, `'`, `''`) + `'` }

func (w watched) trigger(kind string) string { return triggerPrefix + w.name + "_" + kind }

// statements gives the triggers of a table by name.
func (w watched) statements() map[string]string {
	all := map[string]string{
		w.trigger("c"): w.statement("c", "INSERT", "NEW.id", "create", "''"),
		w.trigger("u"): w.statement("u", "UPDATE", "NEW.id", "update", w.changed()),
		w.trigger("d"): w.statement("d", "DELETE", "OLD.id", "delete", "''"),
	}
	if w.users {
		all[w.trigger("f")] = fmt.Sprintf(`CREATE TRIGGER %s AFTER DELETE ON %s BEGIN %s; END`,
			quote(w.trigger("f")), quote(w.table), users.Forgetting(literal(w.id)))
		all[w.trigger("p")] = fmt.Sprintf(`CREATE TRIGGER %s AFTER UPDATE OF password ON %s WHEN OLD.password IS NOT NEW.password BEGIN %s; END`,
			quote(w.trigger("p")), quote(w.table), users.Remembering(literal(w.id)))
	}
	return all
}

func (w watched) statement(kind, event, record, op, fields string) string {
	return fmt.Sprintf(`CREATE TRIGGER %s AFTER %s ON %s BEGIN `+
		`INSERT INTO _changes(at, actor, op, collection, record, fields) `+
		`VALUES (hf_now(), hf_actor(), %s, %s, %s, %s); END`,
		quote(w.trigger(kind)), event, quote(w.table), literal(op), literal(w.id), record, fields)
}

// changed is an expression for the names of the columns that an UPDATE changed,
// each with a comma behind it.
func (w watched) changed() string {
	terms := []string{"iif(OLD.id IS NOT NEW.id, 'id,', '')"}
	for _, c := range w.columns {
		terms = append(terms, fmt.Sprintf("iif(OLD.%s IS NOT NEW.%s, %s, '')", quote(c), quote(c), literal(c+",")))
	}
	return strings.Join(terms, " || ")
}

func (w watched) drop(ctx context.Context, db dbx.Builder) error {
	for name := range w.statements() {
		if _, err := execInner(ctx, db, "DROP TRIGGER IF EXISTS "+quote(name), nil); err != nil {
			return fmt.Errorf("drop feed trigger of %s: %w", w.table, err)
		}
	}
	return nil
}

func (w watched) create(ctx context.Context, db dbx.Builder) error {
	for _, statement := range w.statements() {
		if _, err := execInner(ctx, db, statement, nil); err != nil {
			return fmt.Errorf("create feed trigger of %s: %w", w.table, err)
		}
	}
	return nil
}

// verifyTriggers puts the feed's triggers right where they are not as this
// version writes them, in one transaction.
func verifyTriggers(ctx context.Context, app core.App) error {
	tables, err := watchedTables(app)
	if err != nil {
		return err
	}
	have, err := presentTriggers(ctx, app)
	if err != nil {
		return err
	}
	want := map[string]string{}
	for _, w := range tables {
		for name, statement := range w.statements() {
			want[name] = statement
		}
	}
	if equal(have, want) {
		return nil
	}
	return app.RunInTransaction(func(tx core.App) error { return replaceTriggers(ctx, tx, have, tables) })
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func watchedTables(app core.App) ([]watched, error) {
	collections, err := app.FindAllCollections()
	if err != nil {
		return nil, fmt.Errorf("list collections: %w", err)
	}
	tables := slices.Clone(ownTables)
	for _, c := range collections {
		if !c.IsView() {
			tables = append(tables, watch(c))
		}
	}
	return tables, nil
}

func presentTriggers(ctx context.Context, app core.App) (map[string]string, error) {
	var rows []struct {
		Name string `db:"name"`
		SQL  string `db:"sql"`
	}
	err := app.NonconcurrentDB().NewQuery("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").
		WithContext(inner(ctx)).All(&rows)
	if err != nil {
		return nil, fmt.Errorf("list triggers: %w", err)
	}
	have := map[string]string{}
	for _, r := range rows {
		have[r.Name] = r.SQL
	}
	return have, nil
}

// replaceTriggers drops every trigger of the database, known or not, and makes
// the feed's anew.
func replaceTriggers(ctx context.Context, tx core.App, have map[string]string, tables []watched) error {
	for name := range have {
		if _, err := execInner(ctx, tx.NonconcurrentDB(), "DROP TRIGGER "+quote(name), nil); err != nil {
			return fmt.Errorf("drop trigger %s: %w", name, err)
		}
	}
	for _, w := range tables {
		if err := w.create(ctx, tx.NonconcurrentDB()); err != nil {
			return err
		}
	}
	return nil
}

// bindTriggers keeps the triggers in step with the schema. PocketBase's own work
// is at priority 99; ours wraps it in one transaction: drop, change, make anew.
func (s *Store) bindTriggers() {
	bind := func(h *hook.Hook[*core.CollectionEvent], f func(*core.CollectionEvent) error) {
		h.Bind(&hook.Handler[*core.CollectionEvent]{Id: "hfTriggers", Func: f, Priority: 98})
	}
	bind(s.app.OnCollectionCreateExecute().Hook, s.aroundSchema)
	bind(s.app.OnCollectionUpdateExecute().Hook, s.aroundSchema)
	bind(s.app.OnCollectionDeleteExecute().Hook, s.aroundSchema)
}

func (s *Store) aroundSchema(e *core.CollectionEvent) error {
	outer := e.App
	defer func() { e.App = outer }()
	return e.App.RunInTransaction(func(tx core.App) error {
		e.App = tx
		if err := s.checkCollection(tx, e); err != nil {
			return err
		}
		if e.Collection.IsView() || !tx.HasTable(changesTable) {
			return e.Next() // the first migrations run before there is a feed
		}
		return s.rebuildTriggers(tx, e)
	})
}

func (s *Store) rebuildTriggers(tx core.App, e *core.CollectionEvent) error {
	ctx := s.actorContext(e.Context, tx)
	before, _ := tx.FindCollectionByNameOrId(e.Collection.Id)
	if err := watch(e.Collection).drop(ctx, tx.NonconcurrentDB()); err != nil {
		return err
	}
	if err := e.Next(); err != nil {
		return err
	}
	if e.Type == core.ModelEventTypeDelete {
		return nil
	}
	if err := noteRewrite(ctx, tx, before, e.Collection); err != nil {
		return err
	}
	return watch(e.Collection).create(ctx, tx.NonconcurrentDB())
}

// noteRewrite leaves one change for a whole collection whose columns were
// converted or dropped in bulk, which no trigger sees.
func noteRewrite(ctx context.Context, tx core.App, before, after *core.Collection) error {
	fields := rewritten(before, after)
	if len(fields) == 0 {
		return nil
	}
	_, err := execInner(ctx, tx.NonconcurrentDB(), `INSERT INTO _changes(at, actor, op, collection, record, fields)
		VALUES (hf_now(), hf_actor(), {:op}, {:collection}, '', {:fields})`,
		dbx.Params{"op": string(data.Rewritten), "collection": after.Id, "fields": strings.Join(fields, ",")})
	if err != nil {
		return fmt.Errorf("note the rewrite of %s: %w", after.Name, err)
	}
	return nil
}

// rewritten lists the fields whose stored values a schema edit changes: dropped
// ones, and those that turned from one value into many or back.
func rewritten(before, after *core.Collection) []string {
	var out []string
	if before == nil {
		return nil
	}
	for _, old := range before.Fields {
		now := after.Fields.GetById(old.GetId())
		if now == nil {
			out = append(out, old.GetName())
		} else if multiple(old) != multiple(now) {
			out = append(out, now.GetName())
		}
	}
	return out
}

func multiple(f core.Field) bool {
	m, ok := f.(core.MultiValuer)
	return ok && m.IsMultiple()
}
