package disposal

import (
	"errors"
	"fmt"
	"time"

	"holdfast/app/api/signed"
)

// ErrCertificate is what everything answers that is no certificate of disposal in
// its one spelling, or not signed with the key that was named.
var ErrCertificate = errors.New("not a valid certificate of disposal")

var certificateForm = signed.Form{Family: "holdfast certificate of disposal v", Version: "1", Invalid: ErrCertificate}

// Certificate says what was destroyed. Its canonical JSON is what is signed.
type Certificate struct {
	Format        string        `json:"format"`
	ID            string        `json:"id"`
	Appliance     string        `json:"appliance" doc:"name under which it is signed"`
	Tenant        Subject       `json:"tenant"`
	Asked         Step          `json:"asked" doc:"who asked for the deletion, and when"`
	CarriedOut    Step          `json:"carriedOut" doc:"who carried it out, and when it was complete"`
	How           string        `json:"how" enum:"window,now,ledger" doc:"after the undelete window, at once, or again because the ledger says so"`
	Stores        []Destruction `json:"stores"`
	Revoked       Revoked       `json:"revoked"`
	Copies        []Copy        `json:"copies" doc:"what remains elsewhere"`
	Ledger        string        `json:"ledger" doc:"hash of the entry in the ledger of destructions"`
	CannotPromise []string      `json:"cannotPromise"`
}

// Subject is whose data it was.
type Subject struct {
	ID   string `json:"id"`
	Slug string `json:"slug"`
}

// Step is something that somebody did.
type Step struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// Destruction is what was destroyed of one store. Files and bytes are as they were
// on this host before.
type Destruction struct {
	Store       string `json:"store"`
	Environment string `json:"environment"`
	Files       int64  `json:"files"`
	Bytes       int64  `json:"bytes" doc:"sealed, on disk"`
	Keys        []Key  `json:"keys"`
}

// Key is a destroyed key: its fingerprint tells nothing of it, but whoever has a
// copy of the keyring can find it there.
type Key struct {
	Purpose     string    `json:"purpose"`
	Generation  uint32    `json:"generation"`
	Fingerprint string    `json:"fingerprint"`
	Created     time.Time `json:"created"`
	Destroyed   time.Time `json:"destroyed"`

	Gone bool `json:"-"` // its state is destroyed
}

// Revoked counts what let people and programs in.
type Revoked struct {
	APIKeys int `json:"apiKeys"`
	Grants  int `json:"grants"`
}

// Copy is something that remains: off this host, or as a tenant of its own.
type Copy struct {
	Kind     string     `json:"kind" enum:"snapshots,keyring,store"`
	Where    string     `json:"where" doc:"name of the target, or of the tenant's store"`
	Objects  int64      `json:"objects" doc:"snapshots, copies of the keyring, or stores"`
	Newest   *time.Time `json:"newest"`
	Until    *time.Time `json:"until" doc:"when it is gone at the latest; null: nothing here removes it"`
	Readable bool       `json:"readable" doc:"whether the keys that were destroyed can be had from it until then"`
	Note     string     `json:"note"`
}

// cannotPromise is said in every certificate.
var cannotPromise = []string{
	"Flash storage, copy-on-write file systems and snapshots of a file system may keep blocks that were overwritten. " +
		"Who has such a block of the keyring and the root key could still unwrap a key that was destroyed; rotating the root key ends that.",
	"Copies that people made of the keyring or of the data, outside of what is named here, are not known to this appliance.",
	"Objects that remain on targets cannot be read without the destroyed keys. They are ciphertext (AES-256), not deleted objects.",
}

// text is the certificate's one spelling.
func (c Certificate) text() ([]byte, error) { return signed.Text(c) }

// ParseCertificate reads a certificate in its one spelling: ErrCertificate for any
// other bytes, data.ErrNewer for a later format.
func ParseCertificate(b []byte) (Certificate, error) {
	if len(b) > maxEntry {
		return Certificate{}, fmt.Errorf("%w: too large", ErrCertificate)
	}
	return signed.Parse(certificateForm, b, formatOf)
}

func formatOf(c Certificate) string { return c.Format }

// CheckCertificate verifies a certificate and its detached signature with a
// verifier key, which must come from somewhere else than the two. It needs no
// appliance.
func CheckCertificate(certificate, signature []byte, verifierKey string) (Certificate, error) {
	c, err := ParseCertificate(certificate)
	if err != nil {
		return Certificate{}, err
	}
	name, err := signed.Check(certificate, signature, verifierKey)
	if err != nil {
		return Certificate{}, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	if c.Appliance != name {
		return Certificate{}, fmt.Errorf("%w: it is of %q, the key is %q's", ErrCertificate, c.Appliance, name)
	}
	return c, nil
}
