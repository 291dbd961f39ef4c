package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"strings"

	"github.com/ncruces/go-sqlite3"
	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// DigestSize is the length in bytes of one bucket's sum.
const DigestSize = 16

// Digest is what the records of one collection add up to at one position. Each
// record is in the bucket of its id; a bucket's sum is over the values of all its
// records, in order of their ids, and over the content of their files. It is read
// through SQLite and the file tree: pages and their numbers have no part in it.
type Digest struct {
	Collection string        // id
	Name       string        // of the collection
	Columns    string        // hash over the names of the columns
	At         data.Position // of the transaction that read it
	Records    int64
	Files      int64
	Sums       [][DigestSize]byte
	Counts     []int64 // records of each bucket
}

// BucketOf is the bucket of a record among n.
func BucketOf(record string, n int) int {
	sum := sha256.Sum256([]byte(record))
	return int(binary.BigEndian.Uint32(sum[:]) % uint32(n))
}

// Digest adds up a collection in one reading transaction. With content it reads
// every file and hashes it; without it takes the hash that was kept with the file
// when it was stored. data.ErrNotFound; a view has no digest.
func (s *Store) Digest(ctx context.Context, collection string, buckets int, content bool) (Digest, error) {
	c, err := s.findCollection(ctx, collection, Read)
	if err != nil {
		return Digest{}, err
	}
	if c.IsView() || buckets < 1 {
		return Digest{}, fmt.Errorf("digest of %s in %s: %w", c.Name, s.id, ErrInvalid)
	}
	d := &digester{store: s, ctx: ctx, content: content, files: fileFields(c), sums: make([]hash.Hash, buckets)}
	d.Digest = Digest{Collection: c.Id, Name: c.Name, Sums: make([][DigestSize]byte, buckets), Counts: make([]int64, buckets)}
	if err := s.reading(ctx, d.read); err != nil {
		return Digest{}, fmt.Errorf("digest of %s in %s: %w", c.Name, s.id, err)
	}
	// What is not on the disk yet may never have been.
	return d.Digest, s.sync(ctx)
}

func fileFields(c *core.Collection) map[string]bool {
	fields := map[string]bool{}
	for _, f := range c.Fields {
		if f.Type() == core.FieldTypeFile {
			fields[f.GetName()] = true
		}
	}
	return fields
}

type digester struct {
	Digest
	store   *Store
	ctx     context.Context
	content bool
	files   map[string]bool // names of file fields
	sums    []hash.Hash
}

func (d *digester) read(c *sqlite3.Conn) error {
	err := eachRow(c, `SELECT (SELECT id FROM _incarnations ORDER BY rowid DESC LIMIT 1), (SELECT coalesce(max(seq), 0) FROM _changes)`,
		func(row *sqlite3.Stmt) error {
			d.At = data.Position{Incarnation: row.ColumnText(0), Sequence: row.ColumnInt64(1)}
			return nil
		})
	if err != nil {
		return err
	}
	if err := d.columns(c); err != nil {
		return err
	}
	if err := eachRow(c, "SELECT * FROM "+quoted(d.Name)+" ORDER BY id", d.row); err != nil {
		return err
	}
	for i, h := range d.sums {
		if h != nil {
			copy(d.Sums[i][:], h.Sum(nil))
		}
	}
	return nil
}

// columns is asked apart, for an empty table has no row that tells.
func (d *digester) columns(c *sqlite3.Conn) error {
	h := sha256.New()
	err := eachRow(c, "PRAGMA table_info("+quoted(d.Name)+")", func(row *sqlite3.Stmt) error {
		part(h, 'c', []byte(row.ColumnText(1)))
		return nil
	})
	d.Columns = hex.EncodeToString(h.Sum(nil)[:DigestSize])
	return err
}

func (d *digester) row(row *sqlite3.Stmt) error {
	h, id := sha256.New(), ""
	var files []string
	for i := range row.ColumnCount() {
		name := row.ColumnName(i)
		value(h, row, i)
		if name == "id" {
			id = row.ColumnText(i)
		}
		if d.files[name] {
			files = append(files, namesIn(row.ColumnText(i))...)
		}
	}
	for _, name := range files {
		if err := d.file(h, d.Collection+"/"+id+"/"+name); err != nil {
			return err
		}
	}
	b := BucketOf(id, len(d.sums))
	if d.sums[b] == nil {
		d.sums[b] = sha256.New()
	}
	d.sums[b].Write(h.Sum(nil))
	d.Counts[b]++
	d.Records++
	return d.ctx.Err()
}

// value puts one column into the hash, with its type and length before it.
func value(h hash.Hash, row *sqlite3.Stmt, i int) {
	switch row.ColumnType(i) {
	case sqlite3.INTEGER:
		part(h, 'i', binary.BigEndian.AppendUint64(nil, uint64(row.ColumnInt64(i))))
	case sqlite3.FLOAT:
		part(h, 'f', binary.BigEndian.AppendUint64(nil, math.Float64bits(row.ColumnFloat(i))))
	case sqlite3.TEXT:
		part(h, 't', row.ColumnRawText(i))
	case sqlite3.BLOB:
		part(h, 'b', row.ColumnRawBlob(i))
	default:
		part(h, 'n', nil)
	}
}

func part(h hash.Hash, kind byte, b []byte) {
	var head [9]byte
	head[0] = kind
	binary.BigEndian.PutUint64(head[1:], uint64(len(b)))
	h.Write(head[:])
	h.Write(b)
}

// namesIn are the files that a field's value names: one, or a JSON array.
func namesIn(text string) (names []string) {
	if !strings.HasPrefix(text, "[") {
		if text == "" {
			return nil
		}
		return []string{text}
	}
	if json.Unmarshal([]byte(text), &names) != nil {
		return nil
	}
	return names
}

// file puts a file's size and hash in; one that is not there is put in as that.
func (d *digester) file(h hash.Hash, name string) error {
	tree, err := d.store.pool.filesOf(d.store.seat)
	if err != nil {
		return err
	}
	r, info, err := tree.Open(d.ctx, name)
	if errors.Is(err, data.ErrNotFound) {
		part(h, 'x', []byte(name))
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	etag := info.ETag
	if d.content {
		if etag, err = contentHash(r); err != nil {
			return err
		}
	}
	d.Files++
	part(h, 'o', []byte(fmt.Sprintf("%s %d %s", name, info.Size, etag)))
	return nil
}

// contentHash is what cryptfs keeps as a file's etag when it stores one.
func contentHash(r io.Reader) (string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

// Touched calls fn with each record that changed after one sequence and up to
// another (0: to the newest), once; the record is "" where a whole collection was
// converted. It tells up to which sequence it looked, and whether the feed is
// without a gap there. A *PrunedError where some of it is no longer in the feed.
func (s *Store) Touched(ctx context.Context, after, until int64, fn func(collection, record string) error) (last int64, gapless bool, err error) {
	err = s.reading(ctx, func(c *sqlite3.Conn) error {
		if until == 0 {
			until = math.MaxInt64
		}
		err := eachRow(c, `SELECT coalesce(max(seq), 0), count(*) FROM _changes WHERE seq > ? AND seq <= ?`, func(row *sqlite3.Stmt) error {
			last = max(row.ColumnInt64(0), after)
			gapless = row.ColumnInt64(1) == last-after
			return nil
		}, after, until)
		if err != nil {
			return err
		}
		return eachRow(c, `SELECT DISTINCT collection, record FROM _changes WHERE seq > ? AND seq <= ?`,
			func(row *sqlite3.Stmt) error { return fn(row.ColumnText(0), row.ColumnText(1)) }, after, until)
	})
	if err == nil {
		var lives []Incarnation
		lives, err = s.livesSoFar(ctx)
		err = cmp.Or(err, s.unpruned(lives, after))
	}
	if err != nil {
		return 0, false, fmt.Errorf("records of %s that changed: %w", s.id, err)
	}
	return last, gapless, nil
}
