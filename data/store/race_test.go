package store

import "testing"

// notUnderRace skips a test in the race step of .ci/run (-short): it does one thing
// after another, which SQLite, compiled to Go, does ten times slower there.
func notUnderRace(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("nothing runs at the same time here")
	}
}
