package backup

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var storeName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}(/[a-z0-9][a-z0-9-]{0,62})?$`)

// CheckStore refuses store names that cannot be part of an object's name. A
// store is "<tenant id>/<environment>", or one word such as "system".
func CheckStore(store string) error {
	if !storeName.MatchString(store) {
		return fmt.Errorf("store name %q", store)
	}
	return nil
}

// Prefix begins the names of all objects of a store.
func Prefix(store string) string { return "t/" + store + "/" }

// ManifestPrefix begins the names of all manifests of a store.
func ManifestPrefix(store string) string { return Prefix(store) + "manifest/" }

// ManifestName names the manifest of a snapshot. It carries the sequence and
// nothing else, so that of two writers only one can create it.
func ManifestName(store string, sequence int64) string {
	return ManifestPrefix(store) + fmt.Sprintf("%016x", sequence)
}

// ParseManifestName returns the sequence in a manifest's name.
func ParseManifestName(store, name string) (int64, error) {
	digits, ok := strings.CutPrefix(name, ManifestPrefix(store))
	sequence, err := strconv.ParseInt(digits, 16, 64)
	if !ok || err != nil || sequence < 1 || ManifestName(store, sequence) != name {
		return 0, fmt.Errorf("%w: manifest name %q", ErrFormat, name)
	}
	return sequence, nil
}

// PartName names one object of pages or tree. It carries the epoch, so that
// leftovers of a run that never got its manifest are in nobody's way.
func PartName(store string, h Header) string {
	return fmt.Sprintf("%s%s/%016x-%s-%08x", Prefix(store), h.Kind, h.Sequence, h.Epoch, h.Part)
}

// ParsePartName is the inverse of PartName: kind, epoch, sequence and part.
func ParsePartName(store, name string) (h Header, err error) {
	rest, _ := strings.CutPrefix(name, Prefix(store))
	kind, rest, _ := strings.Cut(rest, "/")
	for _, k := range [...]Kind{Pages, Tree} {
		if kind == k.String() {
			h.Kind = k
		}
	}
	fields := strings.Split(rest, "-")
	if h.Kind == 0 || len(fields) != 3 {
		return Header{}, fmt.Errorf("%w: part name %q", ErrFormat, name)
	}
	sequence, err1 := strconv.ParseInt(fields[0], 16, 64)
	epoch, err2 := ParseEpoch(fields[1])
	part, err3 := strconv.ParseUint(fields[2], 16, 32)
	h.Sequence, h.Epoch, h.Part = sequence, epoch, uint32(part)
	if err1 != nil || err2 != nil || err3 != nil || sequence < 1 || PartName(store, h) != name {
		return Header{}, fmt.Errorf("%w: part name %q", ErrFormat, name)
	}
	return h, nil
}

// ContentName names a chunk of file content by its keyed hash.
func ContentName(store string, c Chunk) string { return Prefix(store) + c.Name() }
