package backup

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"holdfast/data"
)

const signContext = "holdfast/backup/v1/manifest"

// Snapshot is what a manifest says: the state of the store at one moment, and
// the objects that lead to it from the snapshot before (all of them for the
// first of an epoch, a base).
type Snapshot struct {
	Store    string        `json:"store"`
	Epoch    string        `json:"epoch"`
	Sequence int64         `json:"sequence"`
	Base     int64         `json:"base"` // sequence of the epoch's first snapshot
	Time     time.Time     `json:"time"` // never before the predecessor's
	Position data.Position `json:"position"`
	SumKey   []byte        `json:"sumKey"` // of the epoch's page checksums
	Pages    PagesState    `json:"pages"`
	Files    FilesState    `json:"files"`
	Objects  []Ref         `json:"objects"` // pages and tree, in order of kind and part
}

// PagesState is the database: Before and After are its whole-database checksums
// (Sums.Root) in the predecessor and here.
type PagesState struct {
	Total   uint32 `json:"total"`
	Changed int    `json:"changed"`
	Before  Hash   `json:"before"`
	After   Hash   `json:"after"`
}

// FilesState is the file tree. Missing counts files that were deleted while they
// were being read; a record of this snapshot may refer to them.
type FilesState struct {
	Count   int   `json:"count"`
	Bytes   int64 `json:"bytes"`
	Changed int   `json:"changed"`
	Missing int   `json:"missing,omitempty"`
	Before  Hash  `json:"before"`
	After   Hash  `json:"after"`
}

// Ref names an object and pins its bytes.
type Ref struct {
	Name   string `json:"name"`
	Kind   Kind   `json:"kind"`
	Part   uint32 `json:"part"`
	Size   int64  `json:"size"`
	SHA256 Hash   `json:"sha256"`
	// First and Last are the page numbers between which the pages of a large part
	// lie, so that merging can take it over unread. 0 where it does not say.
	First uint32 `json:"first,omitempty"`
	Last  uint32 `json:"last,omitempty"`
}

// SetRange says between which pages the part lies, if it is worth knowing.
func (r *Ref) SetRange(numbers []uint32) {
	if len(numbers) >= PagesPerPart/4 {
		r.First, r.Last = numbers[0], numbers[len(numbers)-1]
	}
}

// IsBase reports whether the snapshot holds everything by itself.
func (s *Snapshot) IsBase() bool { return s.Sequence == s.Base }

// Bytes is the size of the objects that the manifest lists.
func (s *Snapshot) Bytes() (n int64) {
	for _, o := range s.Objects {
		n += o.Size
	}
	return n
}

// SealManifest gives the manifest object of s: header, sealed body, signature.
func (c *Codec) SealManifest(s *Snapshot, previous Hash) ([]byte, error) {
	epoch, err := ParseEpoch(s.Epoch)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if len(body) > MaxPlain {
		return nil, fmt.Errorf("manifest of %d bytes is too large", len(body))
	}
	h := Header{Kind: Manifest, Epoch: epoch, Sequence: s.Sequence, Previous: previous}
	return c.sealSigned(h, ManifestName(c.store, s.Sequence), body)
}

func (c *Codec) sealSigned(h Header, name string, body []byte) ([]byte, error) {
	object, err := c.Seal(h, name, body)
	if err != nil {
		return nil, err
	}
	return c.sign(name, object)
}

func (c *Codec) sign(name string, object []byte) ([]byte, error) {
	h, err := ParseHeader(object)
	if err != nil {
		return nil, err
	}
	key, err := c.keys.Generation(h.Generation)
	if err != nil {
		return nil, err
	}
	private, err := c.signer(key)
	if err != nil {
		return nil, err
	}
	return append(object, ed25519.Sign(private, c.signed(name, object))...), nil
}

func (c *Codec) signed(name string, object []byte) []byte {
	sum := sha256.Sum256(object)
	return append([]byte(signContext+"\x00"+c.store+"\x00"+name+"\x00"), sum[:]...)
}

// OpenManifest checks the signature of the manifest object for sequence, opens
// it and checks that it is what its name says. Errors are Open's;
// data.ErrTampered also stands for a wrong signature.
func (c *Codec) OpenManifest(sequence int64, object []byte) (Header, *Snapshot, error) {
	h, plain, err := c.openSigned(ManifestName(c.store, sequence), object)
	if err != nil {
		return h, nil, err
	}
	s, err := ParseSnapshot(plain)
	if err == nil {
		err = c.check(s, h, sequence)
	}
	return h, s, err
}

// openSigned checks a signature, then opens what it is for.
func (c *Codec) openSigned(name string, object []byte) (Header, []byte, error) {
	h, err := ParseHeader(object)
	if err != nil {
		return h, nil, err
	}
	if len(object) < HeaderSize+ed25519.SignatureSize {
		return h, nil, fmt.Errorf("%w: cut short", ErrFormat)
	}
	public, err := c.PublicKey(h.Generation)
	if err != nil {
		return h, nil, fmt.Errorf("key generation %d: %w", h.Generation, err)
	}
	body, signature := object[:len(object)-ed25519.SignatureSize], object[len(object)-ed25519.SignatureSize:]
	if !ed25519.Verify(public, c.signed(name, body), signature) {
		return h, nil, fmt.Errorf("signature: %w", data.ErrTampered)
	}
	return c.Open(name, body)
}

// check compares what the manifest says with where it was found.
func (c *Codec) check(s *Snapshot, h Header, sequence int64) error {
	if h.Kind != Manifest || h.Sequence != sequence || s.Sequence != sequence {
		return fmt.Errorf("%w: a manifest of another snapshot", data.ErrTampered)
	}
	if s.Store != c.store || s.Epoch != h.Epoch.String() {
		return fmt.Errorf("%w: a manifest of another chain", data.ErrTampered)
	}
	for _, o := range s.Objects {
		want := PartName(c.store, Header{Kind: o.Kind, Epoch: h.Epoch, Sequence: sequence, Part: o.Part})
		if o.Name != want {
			return fmt.Errorf("%w: it lists %q", ErrFormat, o.Name)
		}
	}
	return nil
}

// ParseSnapshot reads a manifest's body. It answers ErrFormat.
func ParseSnapshot(body []byte) (*Snapshot, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields() // a new field is a new version of the format
	s := new(Snapshot)
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("%w: manifest: %v", ErrFormat, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: manifest: more follows", ErrFormat)
	}
	return s, s.validate()
}

func (s *Snapshot) validate() error {
	if err := s.validState(); err != nil {
		return err
	}
	next := map[Kind]uint32{}
	for i, o := range s.Objects {
		if o.Part != next[o.Kind] {
			return fmt.Errorf("%w: manifest: object %d", ErrFormat, i)
		}
		next[o.Kind]++
	}
	return validRefs(s.Objects)
}

func (s *Snapshot) validState() error {
	_, err := ParseEpoch(s.Epoch)
	if err != nil || s.Base < 1 || s.Sequence < s.Base || len(s.SumKey) != 32 || s.Files.Count < 0 || s.Files.Bytes < 0 {
		return fmt.Errorf("%w: manifest: values out of range", ErrFormat)
	}
	return nil
}

func validRefs(refs []Ref) error {
	for i, o := range refs {
		inOrder := i == 0 || o.Kind >= refs[i-1].Kind
		if (o.Kind != Pages && o.Kind != Tree) || !inOrder || o.Size < HeaderSize || o.Size > MaxObject || o.First > o.Last {
			return fmt.Errorf("%w: manifest: object %d", ErrFormat, i)
		}
	}
	return nil
}
