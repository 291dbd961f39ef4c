package tenant

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
)

// packageRows are rows like those of a package index, in a format.
func packageRows(f Format, n int) string {
	var b strings.Builder
	if f == CSV {
		b.WriteString("Package,Version,Installed-Size,Maintainer,Homepage,Description\n")
	}
	for i := range n {
		if f == CSV {
			fmt.Fprintf(&b, "lib%d,1.%d-1,%d,\"Somebody <s%d@example.org>\",https://example.org/%d,\"a library, the %dth of its kind, with a line that tells what it does\"\n", i, i, i*3, i%900, i, i)
			continue
		}
		fmt.Fprintf(&b, `{"Package":"lib%d","Version":"1.%d-1","Installed-Size":%d,"Maintainer":"Somebody <s%d@example.org>","Homepage":"https://example.org/%d","Description":"a library, the %dth of its kind, with a line that tells what it does"}`+"\n", i, i, i*3, i%900, i, i)
	}
	return b.String()
}

// BenchmarkImport is the whole way: upload sealed into staging, sample, records
// through PocketBase's validation with their change rows.
func BenchmarkImport(b *testing.B) {
	const rows = 5000
	for _, f := range []Format{CSV, JSONL} {
		b.Run(string(f), func(b *testing.B) {
			w := newWorld(b)
			w.create("acme")
			file := packageRows(f, rows)
			b.SetBytes(int64(len(file)))
			for i := 0; b.Loop(); i++ {
				op, got := w.imported(fmt.Sprintf("packages%d", i), "create=1&format="+string(f), file)
				if op.State != api.Done || got.Created != rows {
					b.Fatal(op.Error, got)
				}
			}
			b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func BenchmarkExport(b *testing.B) {
	const rows = 5000
	w := newWorld(b)
	w.create("acme")
	w.imported("packages", "create=1&format=csv", packageRows(CSV, rows))
	id, err := w.Store(b.Context(), "acme", data.Prod)
	w.must(err)
	for _, f := range formats {
		b.Run(string(f), func(b *testing.B) {
			for b.Loop() {
				w.must(w.Service.open(b.Context(), id, func(st *store.Store) error {
					c, err := collectionOf(b.Context(), st, "packages")
					if err != nil {
						return err
					}
					return Export(b.Context(), st, c, f, io.Discard)
				}))
			}
			b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkLook is what reading and inferring cost without a store.
func BenchmarkLook(b *testing.B) {
	for _, f := range []Format{CSV, JSONL} {
		b.Run(string(f), func(b *testing.B) {
			file := packageRows(f, 5000)
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				if _, err := readAll(f, strings.NewReader(file)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCreateTenant(b *testing.B) {
	w := newWorld(b)
	for i := 0; b.Loop(); i++ {
		if _, err := w.Create(context.Background(), fmt.Sprintf("acme%d", i), ""); err != nil {
			b.Fatal(err)
		}
	}
}
