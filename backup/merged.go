package backup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"holdfast/data"
)

// The levels of merged segments, by the stretch of time that one stands for.
const (
	Minute = 1
	Hour   = 2
	Image  = 3 // the whole state, from the beginning of its epoch; made daily
)

// Merged says what the manifests First to Sequence say together: the state after
// Sequence, and the objects that lead to it from the state before First. Readers
// take it in the place of those manifests, which may then be pruned.
//
// Objects may be parts of the manifests that it stands for, or of other merged
// ones: all are pinned by their hash, and found by their name.
type Merged struct {
	Snapshot
	First int64  `json:"first"`
	Level int    `json:"level"`
	Low   uint32 `json:"low"`   // smallest size of the database on the way, in pages
	Start Hash   `json:"start"` // manifest before First
	End   Hash   `json:"end"`   // manifest of Sequence
}

// MergedName is what the name of a merged manifest says. Nobody vouches for it
// until the manifest is opened.
type MergedName struct {
	First, Last int64
	Level       int
	Time        time.Time // of the last snapshot, to the millisecond
}

// MergedPrefix begins the names of all merged manifests of a store.
func MergedPrefix(store string) string { return Prefix(store) + "merged/" }

// In gives the object's name in a store. Names sort by their last sequence.
func (n MergedName) In(store string) string {
	return fmt.Sprintf("%s%016x-%016x-%d-%012x", MergedPrefix(store), n.Last, n.First, n.Level, n.Time.UnixMilli())
}

// ParseMergedName is the inverse of In.
func ParseMergedName(store, name string) (n MergedName, err error) {
	rest, ok := strings.CutPrefix(name, MergedPrefix(store))
	fields := strings.Split(rest, "-")
	if !ok || len(fields) != 4 {
		return n, fmt.Errorf("%w: merged name %q", ErrFormat, name)
	}
	var v [4]int64
	for i, base := range [...]int{16, 16, 10, 16} {
		if v[i], err = strconv.ParseInt(fields[i], base, 64); err != nil {
			return n, fmt.Errorf("%w: merged name %q", ErrFormat, name)
		}
	}
	n = MergedName{First: v[1], Last: v[0], Level: int(v[2]), Time: time.UnixMilli(v[3]).UTC()}
	if n.First < 1 || n.Last < n.First || n.Level < Minute || n.Level > Image || n.In(store) != name {
		return MergedName{}, fmt.Errorf("%w: merged name %q", ErrFormat, name)
	}
	return n, nil
}

// Name is what the manifest's name must say.
func (m *Merged) Name() MergedName {
	return MergedName{First: m.First, Last: m.Sequence, Level: m.Level, Time: m.Time}
}

// SealMerged gives the object of a merged manifest: header, sealed body, signature.
func (c *Codec) SealMerged(m *Merged) ([]byte, error) {
	epoch, err := ParseEpoch(m.Epoch)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(body) > MaxPlain {
		return nil, fmt.Errorf("merged manifest of %d bytes is too large", len(body))
	}
	h := Header{Kind: MergedKind, Epoch: epoch, Sequence: m.Sequence, Part: uint32(m.Level), Previous: m.Start} //nolint:gosec // 1 to 3
	return c.sealSigned(h, m.Name().In(c.store), body)
}

// OpenMerged checks the signature of the merged manifest of that name, opens it
// and checks that it is what its name says. Errors are OpenManifest's.
func (c *Codec) OpenMerged(n MergedName, object []byte) (Header, *Merged, error) {
	h, plain, err := c.openSigned(n.In(c.store), object)
	if err != nil {
		return h, nil, err
	}
	m, err := ParseMerged(plain)
	if err == nil {
		err = c.checkMerged(m, h, n)
	}
	return h, m, err
}

func (c *Codec) checkMerged(m *Merged, h Header, n MergedName) error {
	same := m.First == n.First && m.Sequence == n.Last && m.Level == n.Level && m.Time.UnixMilli() == n.Time.UnixMilli()
	if h.Kind != MergedKind || h.Sequence != n.Last || int(h.Part) != n.Level || !same {
		return fmt.Errorf("%w: a merged manifest of another stretch", data.ErrTampered)
	}
	if m.Store != c.store || m.Epoch != h.Epoch.String() || m.Start != h.Previous {
		return fmt.Errorf("%w: a manifest of another chain", data.ErrTampered)
	}
	for _, o := range m.Objects {
		p, err := ParsePartName(c.store, o.Name)
		if err != nil || p.Kind != o.Kind || p.Part != o.Part {
			return fmt.Errorf("%w: it lists %q", ErrFormat, o.Name)
		}
	}
	return nil
}

// ParseMerged reads a merged manifest's body. It answers ErrFormat.
func ParseMerged(body []byte) (*Merged, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	m := new(Merged)
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("%w: merged manifest: %v", ErrFormat, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: merged manifest: more follows", ErrFormat)
	}
	if err := m.validState(); err != nil {
		return nil, err
	}
	if m.First < m.Base || m.First > m.Sequence || m.Level < Minute || m.Level > Image || (m.Level == Image) != (m.First == m.Base) || m.Low > m.Pages.Total {
		return nil, fmt.Errorf("%w: merged manifest: values out of range", ErrFormat)
	}
	return m, validRefs(m.Objects)
}
