package store

import (
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/ncruces/go-sqlite3"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/router"
	"github.com/pocketbase/pocketbase/tools/search"
)

// PocketBase answers a list whose filter or sort it cannot use with "Something
// went wrong". The reason lies in the error's raw data, together with what a caller
// must not learn (whether a field is hidden or missing, what a rule asks for). So
// we say which part of the caller's own words it was, and nothing else.

// badOperand and badSort are PocketBase's, of tools/search.
var (
	badOperand = regexp.MustCompile(`^invalid (?:left|right) operand "([^"\\]*)"`)
	badSort    = regexp.MustCompile(`^invalid sort field "([^"\\]*)"$`)
)

// explain gives the answer to a refused list or view words that help.
func explain(e *core.RequestEvent, err error) error {
	var refused *router.ApiError
	if err == nil || e.Request.Pattern != listPattern && e.Request.Pattern != viewPattern || !errors.As(err, &refused) {
		return err
	}
	cause, ok := refused.RawData().(error)
	if ok && errors.Is(cause, sqlite3.INTERRUPT) && e.Request.Context().Err() == nil {
		return router.NewBadRequestError("The query took too long and was ended. Ask for less, or by an index.", cause)
	}
	if !ok || refused.Status != http.StatusBadRequest || e.Request.Pattern != listPattern {
		return err
	}
	query := e.Request.URL.Query()
	if reason := whatIsWrong(cause, query.Get("filter"), query.Get("sort")); reason != "" {
		return router.NewBadRequestError(reason, cause)
	}
	return err
}

const listPattern = "GET /api/collections/{collection}/records"

// whatIsWrong says in the caller's words what is wrong with a filter or a sort; ""
// when it is neither, so far as can be told.
func whatIsWrong(cause error, filter, sort string) string {
	for _, limit := range []error{
		search.ErrFilterExprLimit, search.ErrFilterLengthLimit, search.ErrSortExprLimit, search.ErrSortFieldLengthLimit,
	} {
		if errors.Is(cause, limit) {
			return "The filter or sort is too long: " + limit.Error() + "."
		}
	}
	if filter != "" {
		// With a resolver that knows every field, what fails is the text itself.
		if _, err := search.FilterData(filter).BuildExpr(search.NewSimpleFieldResolver("^.+$")); err != nil {
			return "The filter cannot be read: " + err.Error() + "."
		}
	}
	if m := badOperand.FindStringSubmatch(cause.Error()); m != nil && m[1] != "" && strings.Contains(filter, m[1]) {
		return "The filter's " + m[1] + " is no field or value that can be asked for here."
	}
	if m := badSort.FindStringSubmatch(cause.Error()); m != nil && m[1] != "" && strings.Contains(sort, m[1]) {
		return "The list cannot be sorted by " + m[1] + "."
	}
	return ""
}
