package custody

import (
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/backup"
	"holdfast/data"
	"holdfast/data/keys"
)

// Copies lie beside the chains of snapshots, never in one:
// keyring/<appliance's copy id>/<made>-<serial>-<digest>.keys
const (
	copyPrefix = "keyring/"
	copyTime   = "20060102T150405.000Z"
)

var copyName = regexp.MustCompile(`^keyring/([0-9a-f]{16})/(\d{8}T\d{6}\.\d{3}Z)-(\d{1,20})-([0-9a-f]{16})\.keys$`)

// Held is a copy of the keys on a target.
type Held struct {
	Name   string     `json:"name"`
	ID     string     `json:"id" doc:"the appliance's copy id"`
	Made   time.Time  `json:"made"`
	Serial uint64     `json:"serial" doc:"of the keyring"`
	Size   int64      `json:"size"`
	Until  *time.Time `json:"until" doc:"when it is removed at the latest; null for the newest"`

	digest string
}

func digestOf(c keys.Copy) string {
	c.Made = time.Time{} // two copies of the same keys are the same
	sum := sha256.Sum256(c.Format())
	return fmt.Sprintf("%x", sum[:8])
}

func nameOf(id string, c keys.Copy) string {
	return fmt.Sprintf("%s%s/%s-%d-%s.keys", copyPrefix, id, c.Made.UTC().Format(copyTime), c.Serial, digestOf(c))
}

// parseName is the inverse of nameOf; false for objects that are no copies.
func parseName(name string) (h Held, ok bool) {
	m := copyName.FindStringSubmatch(name)
	if m == nil {
		return h, false
	}
	made, err := time.Parse(copyTime, m[2])
	if err != nil {
		return h, false
	}
	serial, err := strconv.ParseUint(m[3], 10, 64)
	return Held{Name: name, ID: m[1], Made: made.UTC(), Serial: serial, digest: m[4]}, err == nil
}

// Copies lists the copies of the keys on a target, of one appliance or with id ""
// of all, oldest first.
func Copies(ctx context.Context, s backup.ObjectStore, id string) (all []Held, err error) {
	prefix, after := copyPrefix, ""
	if id != "" {
		prefix += id + "/"
	}
	for {
		page, err := s.List(ctx, prefix, after, 1000)
		if err != nil {
			return nil, fmt.Errorf("list copies of the keys: %w", err)
		}
		for _, o := range page {
			if h, ok := parseName(o.Name); ok {
				h.Size = o.Size
				all = append(all, h)
			}
			after = o.Name
		}
		if len(page) < 1000 {
			break
		}
	}
	slices.SortStableFunc(all, func(a, b Held) int { return a.Made.Compare(b.Made) })
	return all, nil
}

// Newest reads the newest copy on a target, of one appliance or with id "" of the
// only one there. data.ErrNotFound without one; an error that names the ids when
// there are several.
func Newest(ctx context.Context, s backup.ObjectStore, id string) (keys.Copy, Held, error) {
	all, err := Copies(ctx, s, id)
	if err != nil {
		return keys.Copy{}, Held{}, err
	}
	if len(all) == 0 {
		return keys.Copy{}, Held{}, fmt.Errorf("copies of the keys: %w", data.ErrNotFound)
	}
	newest := all[len(all)-1]
	var ids []string
	for _, h := range all {
		if !slices.Contains(ids, h.ID) {
			ids = append(ids, h.ID)
		}
	}
	if len(ids) > 1 {
		return keys.Copy{}, Held{}, fmt.Errorf("the target has copies of several appliances: choose one of %s", strings.Join(ids, ", "))
	}
	c, err := fetch(ctx, s, newest.Name)
	return c, newest, err
}

func fetch(ctx context.Context, s backup.ObjectStore, name string) (keys.Copy, error) {
	b, err := read(ctx, s, name)
	if err != nil {
		return keys.Copy{}, err
	}
	c, err := keys.ParseCopy(b)
	if err != nil {
		return keys.Copy{}, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}
