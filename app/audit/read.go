package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"holdfast/data"
	"holdfast/data/vault"
)

// Entry is one entry as it is shown. Actor, Target and Detail are empty when
// Erased: the entry's body was erased, or its store's keys were destroyed.
type Entry struct {
	Index    int64             `json:"index"`
	Time     time.Time         `json:"time"`
	Actor    string            `json:"actor"`
	Action   string            `json:"action"`
	Target   string            `json:"target"`
	Outcome  string            `json:"outcome"`
	Position *data.Position    `json:"position,omitempty"`
	Detail   map[string]string `json:"detail,omitempty"`
	Erased   bool              `json:"erased,omitempty"`
}

// Query asks for a page of a log, newest first. Empty filters match everything.
type Query struct {
	Actor  string // exact ("person:k3j…"), or a kind ("person")
	Action string // exact, or the beginning up to a dot ("tenant")
	Text   string // found, without regard to case, in any part of the entry
	Offset int
	Limit  int
}

// maxScan bounds how many entries, from the newest, a filtered list looks at.
const maxScan = 200_000

// List gives the entries that match and how many match in all. A filtered list
// looks at the newest 200,000 entries.
func (s *Service) List(ctx context.Context, log string, q Query) (entries []Entry, total int, err error) {
	if err := checkLog(log); err != nil {
		return nil, 0, err
	}
	err = s.config.Vault.View(ctx, func(t *vault.Tx) error {
		st, err := loadState(t, log)
		if err != nil {
			return err
		}
		if q.plain() {
			total = int(st.Size)
			entries, err = s.newest(t, log, st.Size-int64(q.Offset), q.Limit)
			return err
		}
		entries, total, err = s.scan(ctx, t, log, st.Size, q)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list audit log %s: %w", log, err)
	}
	return entries, total, nil
}

func (q Query) plain() bool { return q.Actor == "" && q.Action == "" && q.Text == "" }

// newest reads up to limit entries before an index, downwards.
func (s *Service) newest(t tx, log string, before int64, limit int) (out []Entry, err error) {
	for n := before - 1; n >= 0 && len(out) < limit; n-- {
		e, err := s.entry(t, log, n)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func (s *Service) scan(ctx context.Context, t tx, log string, size int64, q Query) (out []Entry, total int, err error) {
	for n := size - 1; n >= max(0, size-maxScan); n-- {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		e, ok, err := s.matching(t, log, n, q)
		if err != nil {
			return nil, 0, err
		}
		if !ok {
			continue
		}
		if total++; total > q.Offset && len(out) < q.Limit {
			out = append(out, e)
		}
	}
	return out, total, nil
}

// matching reads an entry if it matches; the body is opened only when the leaf does.
func (s *Service) matching(t tx, log string, n int64, q Query) (Entry, bool, error) {
	r, l, err := loadRecord(t, log, n)
	if err != nil || !begins(l.Action, q.Action, ".") {
		return Entry{}, false, err
	}
	b, gone, err := s.bodyOf(log, r)
	if err != nil {
		return Entry{}, false, fmt.Errorf("entry %d: %w", n, err)
	}
	e := entryOf(n, l, b, gone)
	return e, begins(e.Actor, q.Actor, ":") && contains(e, q.Text), nil
}

func begins(whole, part, separator string) bool {
	return part == "" || whole == part || strings.HasPrefix(whole, part+separator)
}

func contains(e Entry, text string) bool {
	if text == "" {
		return true
	}
	text = strings.ToLower(text)
	for _, part := range []string{e.Actor, e.Action, e.Target, e.Outcome} {
		if strings.Contains(strings.ToLower(part), text) {
			return true
		}
	}
	for name, value := range e.Detail {
		if strings.Contains(strings.ToLower(name+" "+value), text) {
			return true
		}
	}
	return false
}

// loadRecord reads one stored record and its leaf.
func loadRecord(t tx, log string, n int64) (record, leaf, error) {
	value, err := t.Get(recordKey(log, n))
	if err != nil {
		return record{}, leaf{}, fmt.Errorf("entry %d: %w", n, err)
	}
	r, err := parseRecord(value)
	if err != nil {
		return record{}, leaf{}, fmt.Errorf("entry %d: %w", n, err)
	}
	l, err := parseLeaf(r.Leaf)
	if err != nil {
		return record{}, leaf{}, fmt.Errorf("entry %d: %w", n, err)
	}
	return r, l, nil
}

func (s *Service) entry(t tx, log string, n int64) (Entry, error) {
	r, l, err := loadRecord(t, log, n)
	if err != nil {
		return Entry{}, err
	}
	b, gone, err := s.bodyOf(log, r)
	if err != nil {
		return Entry{}, fmt.Errorf("entry %d: %w", n, err)
	}
	return entryOf(n, l, b, gone), nil
}

// bodyOf opens a record's body; gone says that it was erased or its key destroyed,
// which is no error.
func (s *Service) bodyOf(log string, r record) (b body, gone bool, err error) {
	if r.Erased {
		return body{}, true, nil
	}
	b, err = s.ciphers.open(log, s.config.Personal(owner(log)), r)
	if errors.Is(err, data.ErrDestroyed) {
		return body{}, true, nil
	}
	return b, false, err
}

func entryOf(n int64, l leaf, b body, gone bool) Entry {
	e := Entry{
		Index: n, Time: l.Time, Actor: b.Actor, Action: l.Action, Target: b.Target,
		Outcome: l.Outcome, Detail: b.Detail, Erased: gone,
	}
	if l.Position != (data.Position{}) {
		e.Position = &l.Position
	}
	return e
}

// Logs names every log that has an entry, the appliance's included.
func (s *Service) Logs(ctx context.Context) (logs []string, err error) {
	err = s.config.Vault.View(ctx, func(t *vault.Tx) error {
		return t.Walk([]byte("s/"), nil, func(key, _ []byte) (bool, error) {
			logs = append(logs, strings.TrimPrefix(string(key), "s/"))
			return true, nil
		})
	})
	return logs, err
}

// Erase takes an entry's body out of the log, for good once the vault has
// compacted; the leaf, and so every proof, stays. Erasing twice is no error.
func (s *Service) Erase(ctx context.Context, log string, n int64) error {
	if err := checkLog(log); err != nil {
		return err
	}
	return s.config.Vault.Update(ctx, func(t *vault.Tx) error {
		r, _, err := loadRecord(t, log, n)
		if err != nil {
			return fmt.Errorf("erase in audit log %s: %w", log, err)
		}
		return t.Set(recordKey(log, n), formatRecord(record{Erased: true, Generation: r.Generation, Leaf: r.Leaf}))
	})
}

// Checkpoint is a log's signed head: what to note down, so that a later proof
// has something to hold on to.
type Checkpoint struct {
	Origin     string   `json:"origin"`
	Size       int64    `json:"size"`
	Checkpoint string   `json:"checkpoint"` // signed note (C2SP tlog-checkpoint); empty for an empty log
	Keys       []string `json:"verifierKeys"`
}

// SignedWith is which of the verifier keys the checkpoint holds with: the one to note
// down beside it. It is empty for an empty log.
func (c Checkpoint) SignedWith() string {
	for _, key := range c.Keys {
		v, err := note.NewVerifier(key)
		if err != nil {
			continue
		}
		if _, err := note.Open([]byte(c.Checkpoint), note.VerifierList(v)); err == nil {
			return key
		}
	}
	return ""
}

// Checkpoint gives the newest.
func (s *Service) Checkpoint(ctx context.Context, log string) (c Checkpoint, err error) {
	if err := checkLog(log); err != nil {
		return c, err
	}
	err = s.config.Vault.View(ctx, func(t *vault.Tx) error {
		st, err := loadState(t, log)
		if err != nil {
			return err
		}
		c = Checkpoint{Origin: origin(s.name, log), Size: st.Size, Checkpoint: st.Checkpoint}
		_, c.Keys, err = verifiers(t)
		return err
	})
	return c, err
}
