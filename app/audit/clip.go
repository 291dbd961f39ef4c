package audit

import (
	"maps"
	"slices"
	"unicode/utf8"
)

// Bounds of what a caller may put into one entry: a sign-in with a megabyte for
// an address must not fill the log.
const (
	maxText   = 1024 // bytes of a target or a detail's value
	maxDetail = 32   // details
	maxName   = 64   // bytes of a detail's name
)

// clip cuts a text at a rune and marks the cut.
func clip(text string) string { return clipTo(text, maxText) }

func clipTo(text string, most int) string {
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// clipped keeps the first details by name, each cut to its bound.
func clipped(detail map[string]string) map[string]string {
	if len(detail) == 0 {
		return nil
	}
	out := make(map[string]string, min(len(detail), maxDetail))
	for _, name := range slices.Sorted(maps.Keys(detail)) {
		if len(out) == maxDetail {
			break
		}
		out[clipTo(name, maxName)] = clip(detail[name])
	}
	return out
}

// with is a copy of detail with one more.
func with(detail map[string]string, name, value string) map[string]string {
	out := maps.Clone(detail)
	if out == nil {
		out = map[string]string{}
	}
	out[name] = value
	return out
}
