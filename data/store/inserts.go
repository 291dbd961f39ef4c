package store

import (
	"slices"
	"strconv"
	"sync"

	"github.com/pocketbase/dbx"
)

// inserts is dbx's builder, but that it remembers the statement of a table's last
// insert: to sort and quote the same columns, and to look for their placeholders with
// two regular expressions, is a twentieth of each create.
type inserts struct {
	dbx.Builder

	mu   sync.Mutex
	made map[string]insert // by table
}

// insert is a statement without values.
type insert struct {
	query   dbx.Query // copied for each use
	columns []string  // whose values it takes, in order
	names   []string  // of their placeholders
}

// mostInserts bounds the tables that are remembered.
const mostInserts = 128

// dialect is by what name dbx finds newBuilder, for databases and transactions.
const dialect = "holdfast"

func newBuilder(db *dbx.DB, on dbx.Executor) dbx.Builder {
	return &inserts{Builder: dbx.NewSqliteBuilder(db, on), made: map[string]insert{}}
}

// Insert is as the builder's: the same statement and values.
func (b *inserts) Insert(table string, columns dbx.Params) *dbx.Query {
	b.mu.Lock()
	known, ok := b.made[table]
	b.mu.Unlock()
	if !ok || !known.takes(columns) {
		return b.learn(table, columns)
	}
	values := make(dbx.Params, len(columns))
	for i, column := range known.columns {
		values[known.names[i]] = columns[column]
	}
	query := known.query
	return query.Bind(values)
}

// learn has the builder make the statement, and remembers it where it has a
// placeholder for each value.
func (b *inserts) learn(table string, columns dbx.Params) *dbx.Query {
	query := b.Builder.Insert(table, columns)
	if len(columns) == 0 || !plain(columns) {
		return query
	}
	made := insert{query: *b.Builder.NewQuery(query.SQL())}
	for column := range columns {
		made.names = append(made.names, "p"+strconv.Itoa(len(made.columns)))
		made.columns = append(made.columns, column)
	}
	slices.Sort(made.columns)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.made) >= mostInserts {
		clear(b.made)
	}
	b.made[table] = made
	return query
}

// takes says whether the statement is for these columns.
func (i *insert) takes(columns dbx.Params) bool {
	if len(columns) != len(i.columns) || !plain(columns) {
		return false
	}
	for _, column := range i.columns {
		if _, ok := columns[column]; !ok {
			return false
		}
	}
	return true
}

// plain says that all are values: an expression is part of the statement.
func plain(columns dbx.Params) bool {
	for _, value := range columns {
		if _, ok := value.(dbx.Expression); ok {
			return false
		}
	}
	return true
}
