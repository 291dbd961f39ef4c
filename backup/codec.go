package backup

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"

	"holdfast/data"
)

// Bounds of an object, in bytes. A writer keeps below them, a reader refuses
// what is above: nobody can make it take more memory than this.
const (
	MaxPlain  = 17 << 20
	MaxObject = 18 << 20
)

const (
	keyInfo     = "holdfast/backup/v1/"
	streamChunk = 64 << 10
)

// Codec seals and opens the objects of one store. It is safe for concurrent use.
type Codec struct {
	store string
	keys  data.KeySource
	press *press
}

// press compresses and decompresses, for several callers at once.
type press struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// sharedPress is the one of all codecs: it keeps nothing of what it compresses, but
// each encoder keeps some 12 MiB of tables and window, which a thousand stores
// cannot have one by one.
var sharedPress = sync.OnceValues(func() (*press, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxPlain))
	return &press{enc, dec}, err
})

// NewCodec returns the codec of a store whose keys (of purpose "segments") are
// keys. It asks for no key yet.
func NewCodec(store string, keys data.KeySource) (*Codec, error) {
	if err := CheckStore(store); err != nil {
		return nil, err
	}
	press, err := sharedPress()
	if err != nil {
		return nil, err
	}
	return &Codec{store: store, keys: keys, press: press}, nil
}

// Store is the store whose objects these are.
func (c *Codec) Store() string { return c.store }

// Compress is the first half of Seal; it is safe to run for several objects at
// once.
func (c *Codec) Compress(plain []byte) []byte { return c.press.enc.EncodeAll(plain, nil) }

// Seal makes an object of plain under name. The header's generation is filled in.
func (c *Codec) Seal(h Header, name string, plain []byte) ([]byte, error) {
	return c.SealCompressed(h, name, c.Compress(plain))
}

// SealCompressed makes an object of what Compress gave.
func (c *Codec) SealCompressed(h Header, name string, compressed []byte) ([]byte, error) {
	generation, key, err := c.keys.Current()
	if err != nil {
		return nil, fmt.Errorf("seal object: %w", err)
	}
	h.Generation = generation
	return c.sealUnder(key, h, name, compressed)
}

func (c *Codec) sealUnder(key [32]byte, h Header, name string, compressed []byte) ([]byte, error) {
	header := h.Format()
	stream, err := c.stream(key)
	if err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(make([]byte, 0, len(header)+len(compressed)+len(compressed)/1024+256))
	out.Write(header)
	w, err := stream.NewEncryptingWriter(out, c.associated(name, header))
	if err != nil {
		return nil, fmt.Errorf("seal object: %w", err)
	}
	if _, err := w.Write(compressed); err != nil {
		return nil, fmt.Errorf("seal object: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal object: %w", err)
	}
	return out.Bytes(), nil
}

// Open is the inverse of Seal. It answers ErrFormat or data.ErrNewer for what is
// no object, data.ErrTampered for one that was changed, or sealed for another
// name or store, and the key source's error where there is no key.
func (c *Codec) Open(name string, object []byte) (Header, []byte, error) {
	h, err := ParseHeader(object)
	if err != nil {
		return h, nil, err
	}
	key, err := c.keys.Generation(h.Generation)
	if err != nil {
		return h, nil, fmt.Errorf("key generation %d: %w", h.Generation, err)
	}
	stream, err := c.stream(key)
	if err != nil {
		return h, nil, err
	}
	compressed, err := decrypt(stream, object[HeaderSize:], c.associated(name, object[:HeaderSize]))
	if err != nil {
		return h, nil, err
	}
	plain, err := c.press.dec.DecodeAll(compressed, nil)
	if err != nil || len(plain) > MaxPlain {
		return h, nil, fmt.Errorf("%w: decompress: %v", ErrFormat, err)
	}
	return h, plain, nil
}

func decrypt(stream *subtle.AESGCMHKDF, sealed, associated []byte) ([]byte, error) {
	r, err := stream.NewDecryptingReader(bytes.NewReader(sealed), associated)
	if err != nil {
		return nil, data.ErrTampered
	}
	out := bytes.NewBuffer(make([]byte, 0, len(sealed)))
	if _, err := io.Copy(out, r); err != nil {
		return nil, data.ErrTampered
	}
	return out.Bytes(), nil
}

// stream is the streaming AEAD under a key of this store: tink derives a key
// for each object by HKDF from a random salt and the associated data.
func (c *Codec) stream(key [32]byte) (*subtle.AESGCMHKDF, error) {
	main, err := c.derive(key, "objects")
	if err != nil {
		return nil, err
	}
	return subtle.NewAESGCMHKDF(main, "SHA256", 32, streamChunk, 0)
}

// derive gives the key for one use: no two uses and no two stores share one.
func (c *Codec) derive(key [32]byte, use string) ([]byte, error) {
	return hkdf.Key(sha256.New, key[:], nil, keyInfo+use+"|"+c.store, 32)
}

func (c *Codec) associated(name string, header []byte) []byte {
	return append([]byte(c.store+"\x00"+name+"\x00"), header...)
}

// ContentID is the keyed hash of a chunk under the current generation, which it
// returns, too: equal chunks of one store have one name, which tells nothing to
// who lacks the key.
func (c *Codec) ContentID(chunk []byte) (id string, generation uint32, err error) {
	generation, key, err := c.keys.Current()
	if err != nil {
		return "", 0, fmt.Errorf("content id: %w", err)
	}
	id, err = c.contentID(key, chunk)
	return id, generation, err
}

// SealContent makes the object of a chunk, under the generation that its id is
// of (h.Generation): the keys may have been rotated since.
func (c *Codec) SealContent(h Header, id Chunk, chunk []byte) ([]byte, error) {
	key, err := c.keys.Generation(h.Generation)
	if err != nil {
		return nil, fmt.Errorf("seal content: %w", err)
	}
	h.Kind = Files
	return c.sealUnder(key, h, ContentName(c.store, id), c.Compress(chunk))
}

func (c *Codec) contentID(key [32]byte, chunk []byte) (string, error) {
	k, err := c.derive(key, "content")
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, k)
	mac.Write(chunk)
	return hex.EncodeToString(mac.Sum(nil)), nil
}

// OpenContent opens a chunk's object and checks that its content has that id.
func (c *Codec) OpenContent(id Chunk, object []byte) ([]byte, error) {
	h, plain, err := c.Open(ContentName(c.store, id), object)
	if err != nil {
		return nil, err
	}
	key, err := c.keys.Generation(h.Generation)
	if err != nil {
		return nil, fmt.Errorf("key generation %d: %w", h.Generation, err)
	}
	got, err := c.contentID(key, plain)
	if err != nil {
		return nil, err
	}
	if h.Kind != Files || !hmac.Equal([]byte(got), []byte(id.ID)) {
		return nil, fmt.Errorf("%w: content does not have the hash in its name", data.ErrTampered)
	}
	return plain, nil
}

// signer is the key that signs manifests under one generation. It is derived,
// so that a bucket and the keyring are all that a restore needs.
func (c *Codec) signer(key [32]byte) (ed25519.PrivateKey, error) {
	seed, err := c.derive(key, "manifest-signing")
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// PublicKey is the key with which anyone can check manifests of a generation.
func (c *Codec) PublicKey(generation uint32) (ed25519.PublicKey, error) {
	key, err := c.keys.Generation(generation)
	if err != nil {
		return nil, err
	}
	private, err := c.signer(key)
	if err != nil {
		return nil, err
	}
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("no ed25519 key")
	}
	return public, nil
}
