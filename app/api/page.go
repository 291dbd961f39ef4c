package api

import (
	"net/http"
	"net/url"
	"strconv"
)

// Bounds of a page's length.
const (
	DefaultPerPage = 50
	MaxPerPage     = 200
	maxPage        = 1 << 31
)

// Paging is what a list is asked for.
type Paging struct {
	Page    int    // from 1
	PerPage int    // 1 to MaxPerPage
	Sort    string // a field, with "-" before it for descending
	Filter  string // free text or an expression, as the list says
}

// Offset is the number of items before the page.
func (p Paging) Offset() int { return (p.Page - 1) * p.PerPage }

// Page is one page of a list.
type Page[T any] struct {
	Items   []T `json:"items"`
	Page    int `json:"page"`
	PerPage int `json:"perPage"`
	Total   int `json:"totalItems"`
}

// NewPage is the answer to p; items may be nil.
func NewPage[T any](items []T, p Paging, total int) Page[T] {
	if items == nil {
		items = []T{}
	}
	return Page[T]{Items: items, Page: p.Page, PerPage: p.PerPage, Total: total}
}

// Cut makes the page out of all items, for lists that are short anyway.
func Cut[T any](all []T, p Paging) Page[T] {
	from := min(p.Offset(), len(all))
	to := min(from+p.PerPage, len(all))
	return NewPage(all[from:to], p, len(all))
}

// ReadPage reads page, perPage, sort and filter; a perPage over MaxPerPage is
// cut to it. What is not a number is a 422.
func ReadPage(r *http.Request) (Paging, error) {
	q := r.URL.Query()
	page, err := positive(q, "page", 1, maxPage)
	if err != nil {
		return Paging{}, err
	}
	perPage, err := positive(q, "perPage", DefaultPerPage, MaxPerPage)
	if err != nil {
		return Paging{}, err
	}
	return Paging{page, perPage, q.Get("sort"), q.Get("filter")}, nil
}

func positive(q url.Values, name string, otherwise, most int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, InvalidField(name, "want a whole number from 1")
	}
	return min(n, most), nil
}
