//go:build unix

package cryptfs

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
)

// The benchmarks run each task on plain SQLite (same driver, same pragmas), on
// sealed pages, and on sealed pages with a tap: compare them within one run.

func eachKind(b *testing.B, task func(b *testing.B, c *sqlite3.Conn)) {
	b.Run("plain", func(b *testing.B) {
		c, err := sqlite3.Open("file:" + filepath.Join(b.TempDir(), "data.db"))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		run(b, c, "%s", pragmas)
		task(b, c)
	})
	for _, tapped := range []bool{false, true} {
		b.Run(map[bool]string{false: "sealed", true: "tapped"}[tapped], func(b *testing.B) {
			fs := mount(b, b.TempDir(), newRing("a"))
			if tapped {
				openTap(b, fs, "data.db")
			}
			task(b, connect(b, fs, "data.db"))
		})
	}
}

func prepare(b *testing.B, c *sqlite3.Conn, sql string) *sqlite3.Stmt {
	s, _, err := c.Prepare(sql)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func perform(b *testing.B, s *sqlite3.Stmt) {
	if err := s.Exec(); err != nil {
		b.Fatal(err)
	}
}

// loop also reports processor time, which other work on the machine hardly
// changes.
func loop(b *testing.B, f func()) {
	b.ReportAllocs()
	n, start := 0, processorTime()
	for b.Loop() {
		f()
		n++
	}
	b.ReportMetric(float64(processorTime()-start)/float64(n), "cpu-ns/op")
}

func processorTime() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

const benchTable = "CREATE TABLE t(id INTEGER PRIMARY KEY, x, y); CREATE INDEX i ON t(y)"

// BenchmarkCommit is one small row a transaction; once synced, once left to the
// operating system, for the sync hides all else.
func BenchmarkCommit(b *testing.B) {
	for _, sync := range []string{"FULL", "NORMAL"} {
		b.Run(sync, func(b *testing.B) {
			eachKind(b, func(b *testing.B, c *sqlite3.Conn) {
				run(b, c, "PRAGMA synchronous=%s; %s", sync, benchTable)
				s := prepare(b, c, "INSERT INTO t(x,y) VALUES(hex(randomblob(50)), random())")
				loop(b, func() { perform(b, s) })
			})
		})
	}
}

// BenchmarkBatch is 1000 rows a transaction.
func BenchmarkBatch(b *testing.B) {
	eachKind(b, func(b *testing.B, c *sqlite3.Conn) {
		run(b, c, benchTable)
		s := prepare(b, c, "INSERT INTO t(x,y) SELECT hex(randomblob(50)), random() FROM generate_series(1,1000)")
		loop(b, func() { perform(b, s) })
	})
}

// fillTable makes a database of about 40 MB, ten times the cache.
func fillTable(b *testing.B, c *sqlite3.Conn) {
	run(b, c, "PRAGMA cache_size=-4000; %s; INSERT INTO t(x,y) SELECT hex(randomblob(150)), random() FROM generate_series(1,100000); PRAGMA wal_checkpoint(TRUNCATE)", benchTable)
}

func BenchmarkPointRead(b *testing.B) {
	eachKind(b, func(b *testing.B, c *sqlite3.Conn) {
		fillTable(b, c)
		s := prepare(b, c, "SELECT x FROM t WHERE id = 1+abs(random())%100000")
		loop(b, func() {
			if !s.Step() {
				b.Fatal(s.Err())
			}
			if err := s.Reset(); err != nil {
				b.Fatal(err)
			}
		})
	})
}

func BenchmarkScan(b *testing.B) {
	eachKind(b, func(b *testing.B, c *sqlite3.Conn) {
		fillTable(b, c)
		s := prepare(b, c, "SELECT sum(length(x)) FROM t NOT INDEXED")
		b.SetBytes(100000 * 320)
		loop(b, func() { perform(b, s) })
	})
}

// BenchmarkSeal compares one key for all pages with a key made for each page,
// which is the least that XAES-256-GCM needs.
func BenchmarkSeal(b *testing.B) {
	var key [32]byte
	plain, sealed, nonce := make([]byte, data.PageSize), make([]byte, 0, 2*data.PageSize), make([]byte, nonceSize)
	fresh := func() cipher.AEAD {
		block, err := aes.NewCipher(key[:])
		if err != nil {
			b.Fatal(err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			b.Fatal(err)
		}
		return aead
	}
	aead := fresh()
	for _, each := range []bool{false, true} {
		b.Run(fmt.Sprintf("keyEach=%v", each), func(b *testing.B) {
			b.SetBytes(data.PageSize)
			loop(b, func() {
				rand.Read(nonce)
				if each {
					aead = fresh()
				}
				aead.Seal(sealed, nonce, plain[:pageContent], nil)
			})
		})
	}
}

// BenchmarkPage is sealing and opening alone, as the VFS does it.
func BenchmarkPage(b *testing.B) {
	s, at := newSealer(newRing("a"), "db", "acme/prod", "data.db"), place{kind: kindPage, number: 7}
	plain, sealed := make([]byte, data.PageSize), make([]byte, data.PageSize)
	b.Run("seal", func(b *testing.B) {
		b.SetBytes(data.PageSize)
		loop(b, func() {
			if err := s.seal(sealed, plain[:pageContent], at); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("open", func(b *testing.B) {
		b.SetBytes(data.PageSize)
		loop(b, func() {
			if err := openPage(s, plain, sealed, 7); err != nil {
				b.Fatal(err)
			}
		})
	})
}
