package store

import (
	"regexp"
	"strings"
)

// PocketBase counts the rows of a list with COUNT(DISTINCT table._rowid_), for
// which SQLite builds a tree of all row ids: most of a list's time. Over a single
// table each row has a row id of its own, and COUNT(*) says the same.
var distinctRows = regexp.MustCompile("^SELECT COUNT\\(DISTINCT `([^`]+)`\\.`?_rowid_`?\\) FROM `([^`]+)`( WHERE |$)")

// plainCount gives the query a plain count where that is the same.
func plainCount(query string) string {
	if !strings.HasPrefix(query, "SELECT COUNT(DISTINCT ") || strings.Contains(query, " JOIN ") {
		return query
	}
	m := distinctRows.FindStringSubmatch(query)
	if m == nil || m[1] != m[2] {
		return query
	}
	return "SELECT COUNT(*) FROM `" + m[2] + "`" + m[3] + query[len(m[0]):]
}
