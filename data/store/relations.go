package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/dbutils"
	"github.com/pocketbase/pocketbase/tools/hook"
	"github.com/pocketbase/pocketbase/tools/router"
)

// A key that sees some collections must not learn of the others by what
// PocketBase refuses: setting a relation tells whether the other record exists,
// deleting a record tells whether another requires it. So both are decided by the
// schema alone, before PocketBase looks at any record.

// outwardRelation is what a field's error says, in PocketBase's shape.
type outwardRelation struct{}

var _ router.SafeErrorItem = outwardRelation{}

func (outwardRelation) Code() string { return "validation_out_of_reach" }
func (outwardRelation) Error() string {
	return "The relation leads to a collection outside the API key's reach: it can be left as it is or made shorter, not set."
}

var errRequiredOutside = router.NewForbiddenError("Records of a collection outside the API key's reach can require records of this one: "+
	"such a key cannot delete here.", ErrReach)

// bindRelations puts both checks before PocketBase's own, within batches too.
func (s *Store) bindRelations() {
	set := &hook.Handler[*core.RecordRequestEvent]{Id: "hfRelations", Priority: -900, Func: func(e *core.RecordRequestEvent) error {
		if app, ok := e.App.(*reachApp); ok {
			if refused := app.reach.setsOutward(app.BaseApp, e.Record); len(refused) > 0 {
				return router.NewBadRequestError("Failed to save record.", refused)
			}
		}
		return e.Next()
	}}
	s.app.OnRecordCreateRequest().Bind(set)
	s.app.OnRecordUpdateRequest().Bind(set)
	s.app.OnRecordDeleteRequest().Bind(&hook.Handler[*core.RecordRequestEvent]{Id: "hfRelations", Priority: -900, Func: func(e *core.RecordRequestEvent) error {
		if app, ok := e.App.(*reachApp); ok {
			if err := app.reach.deletable(app.BaseApp, e.Collection); err != nil {
				return err
			}
		}
		return e.Next()
	}})
}

// setsOutward gives the relations to collections out of reach that would get an id
// which the record does not have: the same answer whatever the id.
func (r Reach) setsOutward(app *core.BaseApp, record *core.Record) map[string]error {
	refused := map[string]error{}
	for _, f := range record.Collection().Fields {
		relation, ok := f.(*core.RelationField)
		if !ok || !grows(record, relation.Name) {
			continue
		}
		target, _ := app.FindCachedCollectionByNameOrId(relation.CollectionId)
		if !r.covers(target) {
			refused[relation.Name] = outwardRelation{}
		}
	}
	return refused
}

func grows(record *core.Record, field string) bool {
	before := record.Original().GetStringSlice(field)
	return slices.ContainsFunc(record.GetStringSlice(field), func(id string) bool { return !slices.Contains(before, id) })
}

// deletable fails where deleting a record of c could be refused because of a record
// out of reach. It follows the cascades, as the deletion would.
func (r Reach) deletable(app *core.BaseApp, c *core.Collection) error {
	if r.Scope == Public {
		return nil
	}
	type step struct {
		collection *core.Collection
		outside    bool // the cascade came through a collection out of reach
	}
	seen := map[string]bool{}
	for queue := []step{{c, false}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		refs, err := app.FindCachedCollectionReferences(at.collection)
		if err != nil {
			return fmt.Errorf("references to %s: %w", at.collection.Name, err)
		}
		for ref, fields := range refs {
			outside := at.outside || !r.covers(ref)
			for _, f := range fields {
				relation, ok := f.(*core.RelationField)
				switch name := fmt.Sprint(ref.Id, outside); {
				case !ok || ref.IsView():
				case outside && holdsBack(ref, relation):
					return errRequiredOutside
				case relation.CascadeDelete && !seen[name]:
					seen[name] = true
					queue = append(queue, step{ref, outside})
				}
			}
		}
	}
	return nil
}

// holdsBack says that a record can refuse the deletion of what its relation names:
// because it must have one, or because taking it away may break an index.
func holdsBack(c *core.Collection, f *core.RelationField) bool {
	if f.Required && !f.CascadeDelete {
		return true
	}
	alone := f.CascadeDelete && !f.IsMultiple() // it goes with its only one
	return !alone && slices.ContainsFunc(c.Indexes, func(index string) bool { return mayBeUniqueOver(index, f.Name) })
}

// mayBeUniqueOver looks for the field anywhere in a unique index, its expressions
// and its condition.
func mayBeUniqueOver(index, field string) bool {
	return dbutils.ParseIndex(index).Unique && strings.Contains(strings.ToLower(index), strings.ToLower(field))
}
