//go:build unix

package vault

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
)

// BenchmarkStreamChanged is one small change in a vault of $HOLDFAST_BENCH_KEYS keys (100,000)
// with a kilobyte each, looked for everywhere and by what is remembered.
func BenchmarkStreamChanged(b *testing.B) {
	v, _, _ := newTest(b)
	n, _ := strconv.Atoi(os.Getenv("HOLDFAST_BENCH_KEYS"))
	if n == 0 {
		n = 100_000
	}
	for i := 0; i < n; i += 1000 {
		must(b, v.Update(b.Context(), func(tx *Tx) error {
			for k := i; k < i+1000; k++ {
				if err := tx.Set(fmt.Appendf(nil, "key %09d", k), noise(1000)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for name, forget := range map[string]bool{"looked for": true, "remembered": false} {
		b.Run(name, func(b *testing.B) {
			f := follower{}
			f.take(b, v)
			used := processor()
			bytes := 0
			for i := 0; b.Loop(); i++ {
				set(b, v, fmt.Sprintf("key %09d", i%n), "changed")
				if forget {
					v.state.journal = journal{}
				}
				bytes += f.take(b, v)
			}
			b.ReportMetric((processor()-used)*1000/float64(b.N), "processor-ms/op")
			b.ReportMetric(float64(bytes)/float64(b.N), "bytes/op")
		})
	}
}

func noise(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(rand.Uint32())
	}
	return out
}

// processor is what the process used, in seconds.
func processor() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
