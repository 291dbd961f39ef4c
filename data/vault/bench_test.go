package vault

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"
)

func BenchmarkUpdate(b *testing.B) {
	v, _, _ := newTest(b)
	for i := 0; b.Loop(); i++ {
		set(b, v, strconv.Itoa(i), "a session or an entry of an audit log, some hundred bytes of it at most, as they come")
	}
}

func BenchmarkUpdate16Clients(b *testing.B) {
	v, _, _ := newTest(b)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			err := v.Update(context.Background(), func(tx *Tx) error {
				return tx.Set([]byte(strconv.Itoa(i)), make([]byte, 100))
			})
			if err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	v, _, _ := newTest(b)
	set(b, v, "key", "some hundred bytes of value")
	for b.Loop() {
		if _, err := get(v, "key"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	dir, keys := filepath.Join(b.TempDir(), "vault"), newTestKeys()
	for b.Loop() {
		v, err := Open(dir, keys)
		must(b, err)
		must(b, v.Close())
	}
}
