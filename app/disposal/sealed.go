package disposal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"holdfast/data"
)

// sealedCertificate is what the ledger keeps of a certificate. It names a tenant
// and persons, so it leaves this host only sealed.
type sealedCertificate struct {
	Slug        string `json:"slug"`
	Tenant      string `json:"tenant"`
	Certificate string `json:"certificate"`
	Signature   string `json:"signature"`
	VKey        string `json:"verifierKey"`
}

const sealInfo = "holdfast/disposal/v1|certificate"

func (s *Service) sealCertificate(row disposalRow) ([]byte, error) {
	generation, key, err := s.config.Sealing.Current()
	if err != nil {
		return nil, fmt.Errorf("seal certificate: %w", err)
	}
	plain, err := json.Marshal(sealedCertificate{row.Slug, row.Tenant, row.Certificate, row.Signature, row.VKey})
	if err != nil {
		return nil, err
	}
	gcm, err := certificateCipher(key)
	if err != nil {
		return nil, err
	}
	out := binary.BigEndian.AppendUint32([]byte{1}, generation)
	nonce := make([]byte, gcm.NonceSize())
	rand.Read(nonce)
	return gcm.Seal(append(out, nonce...), nonce, plain, []byte(row.ID)), nil
}

func certificateCipher(key [32]byte) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, key[:], nil, sealInfo, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// openCertificate is the inverse for the entry of a disposal.
func (s *Service) openCertificate(id string, sealed []byte) (c sealedCertificate, err error) {
	const head = 1 + 4 + 12
	if len(sealed) < head {
		return c, fmt.Errorf("open certificate: %w", errEntry)
	}
	if sealed[0] != 1 {
		return c, fmt.Errorf("open certificate: version %d: %w", sealed[0], data.ErrNewer)
	}
	key, err := s.config.Sealing.Generation(binary.BigEndian.Uint32(sealed[1:5]))
	if err != nil {
		return c, fmt.Errorf("open certificate: %w", err)
	}
	gcm, err := certificateCipher(key)
	if err != nil {
		return c, err
	}
	plain, err := gcm.Open(nil, sealed[5:head], sealed[head:], []byte(id))
	if err != nil {
		return c, fmt.Errorf("open certificate: %w", data.ErrTampered)
	}
	if err := json.Unmarshal(plain, &c); err != nil {
		return c, fmt.Errorf("open certificate: %w", errEntry)
	}
	_, err = CheckCertificate([]byte(c.Certificate), []byte(c.Signature), c.VKey)
	return c, err
}

// nameOf is the name in a verifier key: "<name>+<hash>+<key>".
func nameOf(vkey string) string {
	name, _, _ := strings.Cut(vkey, "+")
	return name
}

// parseNote reads an entry of our own table: the database is sealed, so its
// signature needs no second look.
func parseNote(signed string) (entry, error) {
	text, _, ok := strings.Cut(signed, "\n\n")
	if !ok {
		return entry{}, errEntry
	}
	return parseEntry(text + "\n")
}
