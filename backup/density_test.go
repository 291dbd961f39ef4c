package backup_test

import (
	"runtime"
	"testing"

	"holdfast/backup"
)

// A thousand stores on one host each have a codec: one that has sealed and opened
// keeps no tables of its own.
func TestCodecsAreSmall(t *testing.T) {
	codecs := make([]*backup.Codec, 51)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	use := func(i int) {
		codecs[i] = newCodec(t)
		object, err := codecs[i].Seal(header, "n", make([]byte, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := codecs[i].Open("n", object); err != nil {
			t.Fatal(err)
		}
	}
	use(0) // what all share
	before := heap()
	for i := 1; i < len(codecs); i++ {
		use(i)
	}
	if each := (heap() - before) / int64(len(codecs)-1); each > 1<<20 {
		t.Errorf("a codec keeps %d bytes", each)
	}
	runtime.KeepAlive(codecs)
}
