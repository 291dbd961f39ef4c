package custody

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"holdfast/backup"
	"holdfast/data"
	"holdfast/data/keys"
)

// Bounds of what is kept and read.
const (
	mostHeld    = 12 // copies of a target, the newest among them
	copyMaximum = 300 << 20
	readAgain   = 24 * time.Hour // how often the newest copy is read back
)

// seen is what the last visit to a target found, and what it still has to do.
type seen struct {
	Held     []Held    `json:"held"`
	Checked  time.Time `json:"checked"`  // of the last visit that ended well
	ReadBack time.Time `json:"readBack"` // when the newest copy was last compared
	Purge    bool      `json:"purge"`    // the older copies must go, whatever their age
	Error    string    `json:"error"`
	Versions bool      `json:"versions"`
	Locked   bool      `json:"locked"`
	Unsaid   bool      `json:"unsaid"`
}

// visit is one look at a target: the newest copy is put there if it is not, and
// what is past its horizon is removed.
type visit struct {
	config Config
	id     string
	store  backup.ObjectStore
	copy   keys.Copy
	now    time.Time
}

func (v *visit) run(ctx context.Context, s *seen) error {
	kept, err := v.config.Kept(ctx, v.store)
	if err != nil {
		return err
	}
	s.Versions, s.Locked, s.Unsaid = kept.Versions, kept.Locked, kept.Unknown
	if kept.Locked {
		return errors.New("the bucket locks new objects: no copy of the keys is put where it cannot be deleted")
	}
	held, err := Copies(ctx, v.store, v.id)
	if err != nil {
		return err
	}
	if held, err = v.bring(ctx, s, held); err != nil {
		return err
	}
	s.Held = held
	if s.Held, err = v.prune(ctx, held, s.Purge); err != nil {
		return err
	}
	s.Purge, s.Checked = false, v.now
	return nil
}

// bring sees to it that the newest copy there is of the keys as they are.
func (v *visit) bring(ctx context.Context, s *seen, held []Held) ([]Held, error) {
	if n := len(held); n > 0 && held[n-1].digest == digestOf(v.copy) {
		if v.now.Sub(s.ReadBack) < readAgain {
			return held, nil
		}
		c, err := fetch(ctx, v.store, held[n-1].Name)
		if err == nil && digestOf(c) == held[n-1].digest {
			s.ReadBack = v.now
			return held, nil
		}
		if err != nil && !errors.Is(err, data.ErrTampered) {
			return held, err
		}
		v.config.Logger.ErrorContext(ctx, "a copy of the keys was damaged; another one is made", "copy", held[n-1].Name, "error", err)
	}
	c := v.copy
	if n := len(held); n > 0 && !c.Made.After(held[n-1].Made) { // a clock that was set back
		c.Made = held[n-1].Made.Add(time.Millisecond)
	}
	h, err := v.put(ctx, c)
	if err != nil {
		return held, err
	}
	s.ReadBack = v.now
	return append(held, h), nil
}

// put writes a copy and reads it back.
func (v *visit) put(ctx context.Context, c keys.Copy) (Held, error) {
	name, body := nameOf(v.id, c), c.Format()
	err := v.store.Put(ctx, name, bytes.NewReader(body), int64(len(body)), backup.PutOptions{IfNoneMatch: true})
	if err != nil && !errors.Is(err, data.ErrExists) {
		return Held{}, fmt.Errorf("write a copy of the keys: %w", err)
	}
	back, err := read(ctx, v.store, name)
	if err != nil {
		return Held{}, fmt.Errorf("read the copy of the keys back: %w", err)
	}
	if !bytes.Equal(back, body) {
		return Held{}, fmt.Errorf("read the copy of the keys back: %w", data.ErrTampered)
	}
	h, _ := parseName(name)
	h.Size = int64(len(body))
	return h, nil
}

func read(ctx context.Context, s backup.ObjectStore, name string) ([]byte, error) {
	r, err := s.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(r, copyMaximum))
}

// prune removes what is past the horizon, or with all everything but the newest,
// and makes sure that it is gone. It gives what is left, with its end.
func (v *visit) prune(ctx context.Context, held []Held, all bool) (left []Held, err error) {
	var gone []Held
	for i, h := range held {
		if i == len(held)-1 {
			left = append(left, h)
			continue
		}
		until := held[i+1].Made.Add(v.config.Horizon)
		h.Until = &until
		if all || !v.now.Before(until) || i < len(held)-mostHeld {
			gone = append(gone, h)
		} else {
			left = append(left, h)
		}
	}
	if err := v.remove(ctx, gone); err != nil {
		return held, err
	}
	return left, nil
}

// remove deletes copies, asks for each by its name and looks whether any is still
// listed.
func (v *visit) remove(ctx context.Context, gone []Held) error {
	if len(gone) == 0 {
		return nil
	}
	names := map[string]bool{}
	for _, h := range gone {
		if err := v.store.Delete(ctx, h.Name); err != nil {
			return fmt.Errorf("delete an old copy of the keys: %w", err)
		}
		if _, err := v.store.Stat(ctx, h.Name); !errors.Is(err, data.ErrNotFound) {
			return fmt.Errorf("the target keeps %s, which was deleted: %w", h.Name, errors.Join(err, data.ErrExists))
		}
		names[h.Name] = true
	}
	after, err := Copies(ctx, v.store, v.id)
	if err != nil {
		return err
	}
	for _, h := range after {
		if names[h.Name] {
			return fmt.Errorf("the target still lists %s, which was deleted: %w", h.Name, data.ErrExists)
		}
	}
	return nil
}
