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

// MaxCondemned bounds the names of one Prune; the rest is for the next one.
const MaxCondemned = 100_000

// Prune is the signed word about a chain's past: which points up to Until are
// kept, and which objects are to be deleted once its grace is over. The newest
// one counts.
type Prune struct {
	Store  string    `json:"store"`
	Number int64     `json:"number"` // from 1, in order
	Time   time.Time `json:"time"`
	Until  int64     `json:"until"`
	Points []int64   `json:"points"` // ascending, none above Until
	// Bases are the first snapshots of epochs up to Until. Their manifests stay
	// even where nothing else of them does: who was replaced as the writer of a
	// chain finds that name taken.
	Bases     []int64  `json:"bases"`
	Condemned []string `json:"condemned"` // names without the store's prefix, ascending
}

// PrunePrefix begins the names of a store's prunes.
func PrunePrefix(store string) string { return Prefix(store) + "prune/" }

// PruneName names a prune by its number: of two that begin one, one wins.
func PruneName(store string, number int64) string {
	return PrunePrefix(store) + fmt.Sprintf("%016x", number)
}

// SweptName names the empty object that says that a prune's deletions are done.
func SweptName(store string, number int64) string {
	return Prefix(store) + "swept/" + fmt.Sprintf("%016x", number)
}

// ParsePruneName returns the number in a prune's name.
func ParsePruneName(store, name string) (int64, error) {
	digits, ok := strings.CutPrefix(name, PrunePrefix(store))
	number, err := strconv.ParseInt(digits, 16, 64)
	if !ok || err != nil || number < 1 || PruneName(store, number) != name {
		return 0, fmt.Errorf("%w: prune name %q", ErrFormat, name)
	}
	return number, nil
}

// SealPrune gives the object of a prune: header, sealed body, signature.
func (c *Codec) SealPrune(p *Prune) ([]byte, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	if len(body) > MaxPlain {
		return nil, fmt.Errorf("prune of %d bytes is too large", len(body))
	}
	return c.sealSigned(Header{Kind: PruneKind, Sequence: p.Number}, PruneName(c.store, p.Number), body)
}

// OpenPrune checks the signature of the prune of that number and opens it. Errors
// are OpenManifest's.
func (c *Codec) OpenPrune(number int64, object []byte) (*Prune, error) {
	h, plain, err := c.openSigned(PruneName(c.store, number), object)
	if err != nil {
		return nil, err
	}
	p, err := ParsePrune(plain)
	if err != nil {
		return nil, err
	}
	if h.Kind != PruneKind || h.Sequence != number || p.Number != number || p.Store != c.store {
		return nil, fmt.Errorf("%w: another chain's prune", data.ErrTampered)
	}
	return p, nil
}

// ParsePrune reads a prune's body. It answers ErrFormat.
func ParsePrune(body []byte) (*Prune, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	p := new(Prune)
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("%w: prune: %v", ErrFormat, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: prune: more follows", ErrFormat)
	}
	good := p.Number > 0 && p.Until >= 0 && len(p.Condemned) <= MaxCondemned
	good = good && ascending(p.Points, p.Until) && ascending(p.Bases, p.Until)
	for i, name := range p.Condemned {
		good = good && name != "" && (i == 0 || name > p.Condemned[i-1])
	}
	if !good {
		return nil, fmt.Errorf("%w: prune: values out of range", ErrFormat)
	}
	return p, nil
}

func ascending(list []int64, most int64) bool {
	last := int64(0)
	for _, n := range list {
		if n <= last || n > most {
			return false
		}
		last = n
	}
	return true
}
