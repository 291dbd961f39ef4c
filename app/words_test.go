package app

import (
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		counted(1, "record"): "1 record", counted(0, "record"): "0 records", counted(2, "entry"): "2 entries", counted(int64(2), "key"): "2 keys",
		lasting(168 * time.Hour): "7 days", lasting(24 * time.Hour): "1 day", lasting(90 * time.Minute): "90 minutes", lasting(1500 * time.Millisecond): "1.5s",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
