package system

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// Witness keeps, apart from the database, what the database was when it was last
// attested or closed: every page of an older copy authenticates, so that only
// something that was not put back with it can tell. It keeps the bytes from change.
type Witness interface {
	// Load gives what was stored last, nil where nothing ever was.
	Load(ctx context.Context) ([]byte, error)
	// Store replaces it, and returns when that is durable.
	Store(ctx context.Context, b []byte) error
}

// ErrPutBack refuses a database that is not the one its witness knows. It wraps
// data.ErrTampered.
var ErrPutBack = fmt.Errorf("not the one that the appliance last had: %w", data.ErrTampered)

// testimony is what the witness keeps. Turns count, in the database first, how
// often it was attested: the database is of the witness's turn or, where a crash
// came between the two, of the next. While it is closed, its file is known to the
// byte, and it has no log.
type testimony struct {
	turn   int64
	closed bool
	image  image
}

// image is the database's file.
type image struct {
	size int64
	sum  [sha256.Size]byte
}

const (
	testimonyVersion = 1
	testimonySize    = 1 + 1 + 8 + 8 + sha256.Size
)

// format is: version 1 | closed 1 | turn 8 | size 8 | SHA-256 of the file 32; the last
// two are zeros while it is open.
func (t testimony) format() []byte {
	b := make([]byte, 2, testimonySize)
	b[0] = testimonyVersion
	if t.closed {
		b[1] = 1
	}
	b = binary.BigEndian.AppendUint64(b, uint64(t.turn))       //nolint:gosec // never negative
	b = binary.BigEndian.AppendUint64(b, uint64(t.image.size)) //nolint:gosec // never negative
	return append(b, t.image.sum[:]...)
}

var errTestimony = errors.New("is no testimony of the system database")

// parseTestimony is the inverse of format; nothing is the testimony before the first.
// data.ErrNewer, or data.ErrTampered.
func parseTestimony(b []byte) (t testimony, err error) {
	switch {
	case len(b) == 0:
		return t, nil
	case b[0] > testimonyVersion:
		return t, fmt.Errorf("testimony of version %d: %w", b[0], data.ErrNewer)
	case len(b) != testimonySize || b[0] != testimonyVersion || b[1] > 1:
		return t, fmt.Errorf("%w: %w", errTestimony, data.ErrTampered)
	}
	turn, size := binary.BigEndian.Uint64(b[2:]), binary.BigEndian.Uint64(b[10:])
	t = testimony{turn: int64(turn), closed: b[1] == 1, image: image{int64(size), [sha256.Size]byte(b[18:])}} //nolint:gosec // checked below
	if t.turn < 1 || t.image.size < 0 || !t.closed && t.image != (image{}) {
		return t, fmt.Errorf("%w: %w", errTestimony, data.ErrTampered)
	}
	return t, nil
}

const advice = "an older copy was put in its place, something was done to it past the appliance, or the vault beside it is older. " +
	"Put the newest copies back (system.db with all that begins with its name, and vault), or restore --all into an empty folder. " +
	"To go on with what is here: holdfast accept-loss system --yes"

func (d *DB) putBack(format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", fmt.Sprintf(format, args...), ErrPutBack, advice)
}

// hear holds the files against the testimony of a close, before anything touches them,
// and has the witness say that they may change from now on.
func (d *DB) hear(ctx context.Context) error {
	if d.c.Witness == nil {
		return nil
	}
	b, err := d.c.Witness.Load(ctx)
	if err == nil {
		d.heard, err = parseTestimony(b)
	}
	if err != nil {
		return fmt.Errorf("ask the witness: %w", err)
	}
	if !d.heard.closed {
		return nil
	}
	if err := d.asClosed(); err != nil {
		return err
	}
	d.heard = testimony{turn: d.heard.turn}
	return d.testify(ctx, d.heard)
}

func (d *DB) asClosed() error {
	now, err := imageOf(d.c.Dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("the file is missing, and was there: %w: put it back with all that begins with its name, or restore --all into an empty folder", ErrPutBack)
	case errors.Is(err, errLog):
		err = d.putBack("there is a log, and there was none when it was closed")
	case err == nil && now != d.heard.image:
		err = d.putBack("the file was changed after it was closed")
	}
	return d.orAccepted(err)
}

// orAccepted keeps the finding for Lost where Config says to go on.
func (d *DB) orAccepted(err error) error {
	if errors.Is(err, ErrPutBack) && d.c.AcceptPutBack {
		d.accepted = err
		return nil
	}
	return err
}

// compare finds whether the database is of the turn that the witness knows, and begins
// the next one.
func (d *DB) compare(ctx context.Context) error {
	if d.c.Witness == nil {
		return nil
	}
	err := d.View(ctx, func(tx *sqlx.Tx) error { return readTurn(ctx, tx, &d.turn) })
	if err != nil {
		return err
	}
	if d.turn != d.heard.turn && d.turn != d.heard.turn+1 {
		err = d.putBack("it is of turn %d, the witness knows turn %d", d.turn, d.heard.turn)
	}
	if err := d.orAccepted(err); err != nil {
		return err
	}
	d.turn = max(d.turn, d.heard.turn)
	return d.attest(ctx)
}

func readTurn(ctx context.Context, tx *sqlx.Tx, turn *int64) error {
	var there bool
	err := tx.GetContext(ctx, &there, `SELECT count(*) FROM sqlite_schema WHERE name = '_turn'`)
	if err != nil || !there {
		return err
	}
	return tx.GetContext(ctx, turn, `SELECT coalesce(max(turn), 0) FROM _turn`)
}

func writeTurn(ctx context.Context, tx *sqlx.Tx, turn int64) error {
	_, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS _turn (id INTEGER PRIMARY KEY CHECK (id = 1), turn INTEGER NOT NULL) STRICT`)
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO _turn (id, turn) VALUES (1, ?)`, turn)
	}
	return err
}

// Attest has the witness know that what was committed until now must be there when the
// database is opened again. Where nothing was committed since, it does nothing. The
// appliance's clock calls it now and then; opening and Close do it by themselves.
func (d *DB) Attest(ctx context.Context) error {
	if d.c.Witness == nil || d.commits.Load() == d.attested.Load() {
		return nil
	}
	return d.attest(ctx)
}

// attest counts a turn: in the database, then with the witness.
func (d *DB) attest(ctx context.Context) error {
	d.turning.Lock()
	defer d.turning.Unlock()
	before := d.commits.Load()
	err := d.Update(ctx, func(tx *sqlx.Tx) error {
		err := writeTurn(ctx, tx, d.turn+1)
		d.quiet.Store(err == nil) // the next commit is this one: there is one writer
		return err
	})
	if err != nil {
		d.quiet.Store(false)
		return fmt.Errorf("attest the system database: %w", err)
	}
	d.turn++
	d.attested.Store(before)
	return d.testify(ctx, testimony{turn: d.turn})
}

func (d *DB) testify(ctx context.Context, t testimony) error {
	if err := d.c.Witness.Store(ctx, t.format()); err != nil {
		return fmt.Errorf("tell the witness of the system database: %w", err)
	}
	return nil
}

// committed is called after each commit.
func (d *DB) committed() {
	if d.quiet.CompareAndSwap(true, false) {
		return
	}
	d.commits.Add(1)
	if d.c.OnCommit != nil {
		d.c.OnCommit()
	}
}

// vouch tells the witness what was closed. Where a log is left it stays with the turn.
func (d *DB) vouch() error {
	if d.c.Witness == nil || !d.ready {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.c.Timeout)
	defer cancel()
	now, err := imageOf(d.c.Dir)
	if errors.Is(err, errLog) {
		return nil
	}
	if err == nil {
		err = syncDir(d.c.Dir) // that the log is gone
	}
	if err != nil {
		return fmt.Errorf("attest the closed system database: %w", err)
	}
	return d.testify(ctx, testimony{turn: d.turn, closed: true, image: now})
}

// errLog says that there is a log: the file is not all of the database.
var errLog = errors.New("the database has a log")

// imageOf reads the database's file. errLog; os.ErrNotExist.
func imageOf(dir string) (i image, err error) {
	if info, err := os.Stat(filepath.Join(dir, Database+"-wal")); err == nil && info.Size() > 0 {
		return i, errLog
	}
	f, err := os.Open(filepath.Join(dir, Database))
	if err != nil {
		return i, err
	}
	defer f.Close()
	h := sha256.New()
	if i.size, err = io.Copy(h, f); err != nil {
		return i, err
	}
	copy(i.sum[:], h.Sum(nil))
	return i, nil
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
