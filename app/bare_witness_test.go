package app

import (
	"errors"
	"testing"
	"time"

	"holdfast/app/recovery"
	"holdfast/data"
)

// TestApart: a chain and a log that end together, or nearly, are believed; one that ends
// long before the other was cut.
func TestApart(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(minutes int, life string, seq int64) end {
		return end{noon.Add(time.Duration(minutes) * time.Minute), data.Position{Incarnation: life, Sequence: seq}}
	}
	for name, c := range map[string]struct {
		chain, newest, settled end
		cut                    bool
	}{
		"together":                      {at(-1, "a", 9), at(-1, "a", 9), end{}, false},
		"a second's work is missing":    {at(-1, "a", 8), at(0, "a", 9), at(-20, "a", 7), false},
		"idle since":                    {at(-90, "a", 9), at(-90, "a", 9), at(-90, "a", 9), false},
		"nothing was ever logged":       {at(-90, "a", 9), end{}, end{}, false},
		"the chain was cut":             {at(-90, "a", 5), at(0, "a", 9), at(-20, "a", 7), true},
		"before a restore":              {at(-90, "a", 9), at(0, "b", 5), at(-20, "b", 4), true},
		"the log is of an earlier life": {at(-5, "b", 4), at(-30, "a", 9), at(-30, "a", 9), false},
		"the log was cut":               {at(30, "a", 9), at(-1, "a", 5), end{}, true},
		"the log has nothing any more":  {at(30, "a", 9), end{}, end{}, true},
		"later, but nothing changed":    {at(30, "a", 9), at(-1, "a", 9), end{}, false},
	} {
		err := apart(c.chain, c.newest, c.settled, noon)
		if (err != nil) != c.cut || c.cut && !errors.Is(err, recovery.ErrCut) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
