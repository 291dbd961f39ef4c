package identity

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// collections finds what a key shall be limited to. A key holds ids: a collection
// that is renamed stays in its reach, one that takes the old name does not come in.
func (s *Service) collections(ctx context.Context, store data.StoreID, asked []string) ([]Collection, error) {
	if len(asked) == 0 {
		return nil, nil
	}
	there, err := s.config.Collections.Collections(ctx, store)
	if err != nil {
		return nil, err
	}
	found := make([]Collection, len(asked))
	for i, name := range asked {
		var ok bool
		if found[i], ok = pick(there, name); !ok {
			return nil, api.InvalidField("collections", "%q is no collection here", name)
		}
	}
	return found, nil
}

// pick takes an id before a name, and names as the store does: without regard to case.
func pick(there []Collection, name string) (found Collection, ok bool) {
	for _, c := range there {
		if c.ID == name {
			return c, true
		}
		if strings.EqualFold(c.Name, name) {
			found, ok = c, true
		}
	}
	return found, ok
}

func jsonOf(list []Collection, part func(Collection) string) string {
	parts := []string{}
	for _, c := range list {
		parts = append(parts, part(c))
	}
	text, _ := json.Marshal(parts) // strings always marshal
	return string(text)
}

// shownCollections are the names; a key from before they were kept shows what it was
// made with.
func (r keyRow) shownCollections() ([]string, error) {
	list, err := stringList(r.Names)
	if err == nil && list == nil {
		list, err = r.collectionList()
	}
	if list == nil {
		list = []string{}
	}
	return list, err
}

// detail is what the log tells of a new key: how far it reaches, and how long.
func (r keyRow) detail() map[string]string {
	detail := map[string]string{"name": r.Name, "scope": r.Scope, "addresses": orWord(r.Addresses, "any"), "expires": fromMillis(r.Expires).Format(time.RFC3339)}
	if r.Scope == string(ScopeControl) {
		detail["permissions"] = r.Permissions
	} else {
		detail["collections"] = "all"
		if r.Collections != "[]" {
			detail["collections"] = r.Names
		}
	}
	return detail
}

// orWord says an empty JSON list with a word.
func orWord(list, word string) string {
	if list == "[]" {
		return word
	}
	return list
}
