package app

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

// The collector's percentage says how much garbage may pile up beside what lives.
// Requests leave much garbage and little that lives, so a server collects less often
// than Go's 100, as long as the garbage stays within its room.
const (
	leastGarbage = 100
	mostGarbage  = 400
)

// garbageShare is the part of the stores' memory budget that garbage may take.
const garbageShare = 4

// firstBudget is reckoned with until the stores' own is known.
const firstBudget = 1 << 30

// tuneGarbage sets the percentage by what lives now. GOGC, where it is set, has
// been decided by somebody.
func tuneGarbage(budget int64) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent(liveHeap(), budget/garbageShare))
	}
}

// garbagePercent lets garbage take the room, or as much as what lives.
func garbagePercent(live, room int64) int {
	return int(min(max(100*room/max(live, 1), leastGarbage), mostGarbage))
}

// liveHeap is what the last collection left, in bytes.
func liveHeap() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	if metrics.Read(sample); sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(sample[0].Value.Uint64())
}
