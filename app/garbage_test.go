package app

import (
	"runtime"
	"testing"
)

func TestGarbagePercent(t *testing.T) {
	const mb = 1 << 20
	for _, test := range []struct {
		live, room int64
		want       int
	}{
		{0, 256 * mb, 400}, {10 * mb, 256 * mb, 400}, {128 * mb, 256 * mb, 200}, {256 * mb, 256 * mb, 100}, {4096 * mb, 256 * mb, 100}, {10 * mb, 0, 100},
	} {
		if got := garbagePercent(test.live, test.room); got != test.want {
			t.Errorf("%d live, room for %d: %d, want %d", test.live, test.room, got, test.want)
		}
	}
	runtime.GC()
	if liveHeap() <= 0 {
		t.Error("the runtime tells nothing of what lives")
	}
}
