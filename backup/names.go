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

// ContentName names a chunk of file content by its keyed hash.
func ContentName(store, id string) string { return Prefix(store) + "files/" + id }
