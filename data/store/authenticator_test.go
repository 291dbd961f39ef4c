package store

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/go-webauthn/webauthn/protocol"
)

// authenticator is a passkey in software, which can be told to lie.
type authenticator struct {
	t       testing.TB
	key     *ecdsa.PrivateKey
	id      []byte
	handle  []byte // of the person
	host    string // what it was made for
	origin  string // what it says that the page's is
	counter uint32
	uv      bool
}

func newAuthenticator(t testing.TB, host, origin string) *authenticator {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	failOn(t, err)
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	return &authenticator{t: t, key: key, id: id, host: host, origin: origin, uv: true}
}

var b64 = base64.RawURLEncoding

func (a *authenticator) clientData(kind, challenge string) []byte {
	data, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": a.origin, "crossOrigin": false})
	failOn(a.t, err)
	return data
}

// data is the authenticator data: host, flags, counter.
func (a *authenticator) data(flags byte) []byte {
	host := sha256.Sum256([]byte(a.host))
	if a.uv {
		flags |= 0x04
	}
	return binary.BigEndian.AppendUint32(append(host[:], flags|0x01), a.counter)
}

// make answers the options of a new passkey.
func (a *authenticator) make(options []byte) json.RawMessage {
	var in struct {
		PublicKey struct {
			Challenge string `json:"challenge"`
			User      struct {
				ID string `json:"id"`
			} `json:"user"`
		} `json:"publicKey"`
	}
	failOn(a.t, json.Unmarshal(options, &in))
	handle, err := b64.DecodeString(in.PublicKey.User.ID)
	failOn(a.t, err)
	a.handle = handle
	public, err := a.key.PublicKey.Bytes() // 4, x, y
	failOn(a.t, err)
	cose, err := cbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: public[1:33], -3: public[33:]})
	failOn(a.t, err)
	auth := append(a.data(0x40), make([]byte, 16)...)
	auth = append(binary.BigEndian.AppendUint16(auth, uint16(len(a.id))), a.id...)
	object, err := cbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": append(auth, cose...)})
	failOn(a.t, err)
	return a.credential(map[string]any{
		"clientDataJSON":    b64.EncodeToString(a.clientData(string(protocol.CreateCeremony), in.PublicKey.Challenge)),
		"attestationObject": b64.EncodeToString(object), "transports": []string{"internal"},
	})
}

// show answers the options of a sign-in.
func (a *authenticator) show(options []byte) json.RawMessage {
	var in struct {
		PublicKey struct {
			Challenge string `json:"challenge"`
		} `json:"publicKey"`
	}
	failOn(a.t, json.Unmarshal(options, &in))
	a.counter++
	client, auth := a.clientData(string(protocol.AssertCeremony), in.PublicKey.Challenge), a.data(0)
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(auth[:len(auth):len(auth)], hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, digest[:])
	failOn(a.t, err)
	return a.credential(map[string]any{
		"clientDataJSON": b64.EncodeToString(client), "authenticatorData": b64.EncodeToString(auth),
		"signature": b64.EncodeToString(signature), "userHandle": b64.EncodeToString(a.handle),
	})
}

func (a *authenticator) credential(response map[string]any) json.RawMessage {
	out, err := json.Marshal(map[string]any{"id": b64.EncodeToString(a.id), "rawId": b64.EncodeToString(a.id), "type": "public-key",
		"clientExtensionResults": map[string]any{}, "response": response})
	failOn(a.t, err)
	return out
}

func failOn(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
