package disposal

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/data"
)

// The kinds of a ledger entry.
const (
	kindDestroy     = "destroy"     // stores whose keys were destroyed
	kindCertificate = "certificate" // the certificate of a destruction, sealed
	kindErase       = "erase"       // records that must not come back
	kindKey         = "key"         // a new signing key, vouched for by the one before
)

// errEntry is what everything answers that is not an entry of the ledger.
var errEntry = errors.New("not an entry of the ledger")

// entry is one statement of the ledger. It holds nobody's personal data: stores and
// collections by id, records as keyed hashes.
type entry struct {
	Number  int64 // one more than the highest that its writer knew
	Time    time.Time
	Kind    string
	ID      string         // of the disposal or erasure
	Stores  []data.StoreID // destroy: one or more; erase: one
	Records []record       // erase
	Sealed  []byte         // certificate
	Key     string         // key: the new verifier key
	Links   []string       // hashes of the entries before it that nothing linked to yet
}

// record names an erased record without telling which it was.
type record struct {
	Collection string // PocketBase's collection id
	Generation uint32 // of the store's personal key
	Hash       [32]byte
}

// Bounds of an entry.
const (
	maxEntry   = 256 << 10 // bytes
	maxRecords = 1000      // of one entry
)

const (
	entryTitle = "holdfast ledger entry v1"
	timeLayout = "2006-01-02T15:04:05.000Z"
)

// format gives the text that is signed and hashed; an entry has one text only.
func (e entry) format() string {
	var b strings.Builder
	line := func(word, value string) { b.WriteString(word + " " + value + "\n") }
	b.WriteString(entryTitle + "\n")
	line("number", strconv.FormatInt(e.Number, 10))
	line("time", e.Time.UTC().Format(timeLayout))
	line("kind", e.Kind)
	if e.ID != "" {
		line("id", e.ID)
	}
	for _, s := range e.Stores {
		line("store", s.String())
	}
	for _, r := range e.Records {
		line("record", fmt.Sprintf("%s %d %x", r.Collection, r.Generation, r.Hash))
	}
	if e.Sealed != nil {
		line("sealed", base64.StdEncoding.EncodeToString(e.Sealed))
	}
	if e.Key != "" {
		line("key", e.Key)
	}
	for _, l := range e.Links {
		line("link", l)
	}
	return b.String()
}

// hashOf names an entry by its text.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// parseEntry is the inverse of format and takes nothing else.
func parseEntry(text string) (entry, error) {
	e, err := readEntry(text)
	if err == nil && e.format() != text {
		err = errEntry
	}
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return entry{}, fmt.Errorf("parse ledger entry: %w", err)
	}
	return e, nil
}

func readEntry(text string) (e entry, err error) {
	lines := strings.Split(text, "\n")
	if len(text) > maxEntry || len(lines) < 5 || !strings.HasPrefix(lines[0], "holdfast ledger entry v") {
		return e, errEntry
	}
	if lines[0] != entryTitle {
		return e, fmt.Errorf("%q: %w", lines[0], data.ErrNewer)
	}
	for _, line := range lines[1 : len(lines)-1] {
		word, value, _ := strings.Cut(line, " ")
		if err := e.set(word, value); err != nil {
			return e, fmt.Errorf("%w: %s: %w", errEntry, word, err)
		}
	}
	return e, nil
}

func (e *entry) set(word, value string) (err error) {
	switch word {
	case "number":
		e.Number, err = strconv.ParseInt(value, 10, 64)
	case "time":
		e.Time, err = time.Parse(timeLayout, value)
	case "kind":
		e.Kind = value
	case "id":
		e.ID = value
	case "store":
		var id data.StoreID
		id, err = data.ParseStoreID(value)
		e.Stores = append(e.Stores, id)
	case "record":
		var r record
		r, err = parseRecord(value)
		e.Records = append(e.Records, r)
	case "sealed":
		e.Sealed, err = base64.StdEncoding.DecodeString(value)
	case "key":
		e.Key = value
	case "link":
		e.Links = append(e.Links, value)
	default:
		err = errEntry
	}
	return err
}

func parseRecord(value string) (r record, err error) {
	parts := strings.Split(value, " ")
	if len(parts) != 3 || !word.MatchString(parts[0]) {
		return r, errEntry
	}
	generation, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return r, err
	}
	sum, err := hex.DecodeString(parts[2])
	if err != nil || len(sum) != len(r.Hash) {
		return r, errEntry
	}
	return record{parts[0], uint32(generation), [32]byte(sum)}, nil
}

var (
	word     = regexp.MustCompile(`^[A-Za-z0-9_]{1,100}$`)
	hashText = regexp.MustCompile(`^[0-9a-f]{64}$`)
	storeID  = regexp.MustCompile(`^[a-z0-9]{1,40}/[a-z]{1,20}$`)
)

// check says whether an entry has what its kind needs, and nothing else.
func (e entry) check() error {
	for _, s := range e.Stores {
		if !storeID.MatchString(s.String()) {
			return fmt.Errorf("%w: store", errEntry)
		}
	}
	sorted := slices.IsSorted(e.Links) && len(slices.Compact(slices.Clone(e.Links))) == len(e.Links)
	bad := slices.ContainsFunc(e.Links, func(l string) bool { return !hashText.MatchString(l) })
	if e.Number < 1 || e.Time.IsZero() || !sorted || bad || len(e.Records) > maxRecords {
		return errEntry
	}
	if !e.fits() {
		return fmt.Errorf("%w: parts of kind %q", errEntry, e.Kind)
	}
	return nil
}

func (e entry) fits() bool {
	has := func(id, stores, records, sealed, key bool) bool {
		return word.MatchString(e.ID) == id && (len(e.Stores) > 0) == stores && (len(e.Records) > 0) == records &&
			(len(e.Sealed) > 0) == sealed && (e.Key != "") == key
	}
	switch e.Kind {
	case kindDestroy:
		return has(true, true, false, false, false) && e.oneTenant()
	case kindCertificate:
		return has(true, false, false, true, false)
	case kindErase:
		return has(true, true, true, false, false) && len(e.Stores) == 1
	case kindKey:
		return has(false, false, false, false, true)
	}
	return false
}

func (e entry) oneTenant() bool {
	return !slices.ContainsFunc(e.Stores, func(s data.StoreID) bool { return s.Tenant != e.Stores[0].Tenant })
}

// objectName is where an entry lies on a target: below its signer, so that two
// appliances in one bucket do not meet, and under its own hash, so that a name
// never has another content.
func objectName(key string, number int64, hash string) string {
	return fmt.Sprintf("%s%016x-%s", objectPrefix(key), number, hash)
}

func objectPrefix(key string) string { return "ledger/" + key + "/" }

// parseObjectName gives the hash in an object's name.
func parseObjectName(key, name string) (hash string, err error) {
	number, hash, ok := strings.Cut(strings.TrimPrefix(name, objectPrefix(key)), "-")
	n, err := strconv.ParseInt(number, 16, 64)
	if !ok || err != nil || !hashText.MatchString(hash) || objectName(key, n, hash) != name {
		return "", fmt.Errorf("%w: object %.100q", errEntry, name)
	}
	return hash, nil
}
