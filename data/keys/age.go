package keys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"

	"holdfast/data"
)

// An age slot holds a random secret, as a code's letters, encrypted to an age
// recipient. Only the public half need ever be on this host: who holds the
// identity decrypts the slot's file elsewhere and hands the code back.

// ageBody is the body of an age slot.
type ageBody struct {
	recipient string
	file      []byte // an age file
}

func (b ageBody) format() []byte {
	out := binary.BigEndian.AppendUint16(nil, uint16(len(b.recipient)))
	return append(append(out, b.recipient...), b.file...)
}

func parseAgeBody(raw []byte) (ageBody, error) {
	if len(raw) < 2 || len(raw) < 2+int(binary.BigEndian.Uint16(raw)) {
		return ageBody{}, fmt.Errorf("age slot: %w", data.ErrTampered)
	}
	n := 2 + int(binary.BigEndian.Uint16(raw))
	return ageBody{string(raw[2:n]), raw[n:]}, nil
}

// sealTo makes the body and the secret of a new age slot.
func sealTo(recipient string) (ageBody, [32]byte, error) {
	to, err := parseRecipient(recipient)
	if err != nil {
		return ageBody{}, [32]byte{}, err
	}
	key := random32()
	var file bytes.Buffer
	w, err := age.Encrypt(&file, to)
	if err == nil {
		_, err = io.WriteString(w, formatCode(key))
	}
	if err == nil {
		err = w.Close()
	}
	return ageBody{recipient, file.Bytes()}, key, err
}

func parseRecipient(text string) (age.Recipient, error) {
	list, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(list) != 1 {
		return nil, fmt.Errorf("want one recipient, age1... or age1pq1...: %w", ErrIdentity)
	}
	return list[0], nil
}

// ageIdentity is the private half, given by a person.
type ageIdentity struct{ text string }

// AgeIdentity is a slot opened by an age identity ("AGE-SECRET-KEY-1..." or
// "AGE-SECRET-KEY-PQ-1...", as age-keygen writes it, comments allowed). Making the
// slot keeps the recipient alone. ErrIdentity for what is none.
func AgeIdentity(text string) Slot { return ageIdentity{text} }

func (ageIdentity) Kind() Kind { return KindAge }

func (a ageIdentity) parse() ([]age.Identity, error) {
	list, err := age.ParseIdentities(strings.NewReader(strings.ReplaceAll(a.text, "\r", "")))
	if err != nil { // its text may tell of the secret
		return nil, fmt.Errorf("want AGE-SECRET-KEY-...: %w", ErrIdentity)
	}
	return list, nil
}

func (a ageIdentity) prepare(c *cell) error {
	recipient, err := RecipientOf(a.text)
	if err != nil {
		return err
	}
	body, _, err := sealTo(recipient)
	c.body = body.format()
	return err
}

// RecipientOf is the public half of an identity's text, that which AgeIdentity keeps.
// ErrIdentity for what is none.
func RecipientOf(identity string) (string, error) {
	list, err := ageIdentity{identity}.parse()
	if err != nil {
		return "", err
	}
	return recipientOf(list[0])
}

func recipientOf(id age.Identity) (string, error) {
	switch id := id.(type) {
	case *age.X25519Identity:
		return id.Recipient().String(), nil
	case *age.HybridIdentity:
		return id.Recipient().String(), nil
	}
	return "", ErrIdentity
}

func (a ageIdentity) secret(c cell) ([]byte, error) {
	list, err := a.parse()
	if err != nil {
		return nil, err
	}
	body, err := parseAgeBody(c.body)
	if err != nil {
		return nil, err
	}
	key, err := decryptCode(body.file, list)
	if err != nil {
		return nil, err
	}
	return wrapKey(key, c), nil
}

// decryptCode opens an age slot's file. age's own errors are kept back: they
// could tell of the identity.
func decryptCode(file []byte, ids []age.Identity) (key [32]byte, err error) {
	r, err := age.Decrypt(bytes.NewReader(file), ids...)
	var other *age.NoIdentityMatchError
	if errors.As(err, &other) {
		return key, errors.New("the age identity does not open its slot")
	}
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(r, 2*codeLetters))
	}
	if err == nil {
		key, err = parseCode(string(text))
	}
	if err != nil {
		return key, fmt.Errorf("the file of the age slot: %w", data.ErrTampered)
	}
	return key, nil
}

// ageRecipient makes a slot for a recipient whose identity is not here.
type ageRecipient struct {
	recipient string
	key       *[32]byte // of the slot that prepare made last
}

// AgeRecipient is a slot for an age recipient alone ("age1..." or "age1pq1...").
// Begin makes a slot of it that somebody has to prove; RotateRoot takes it as it
// is, for a recipient that was proven before. It opens nothing.
func AgeRecipient(recipient string) Slot {
	return &ageRecipient{recipient: strings.TrimSpace(recipient)}
}

func (*ageRecipient) Kind() Kind { return KindAge }

func (a *ageRecipient) prepare(c *cell) error {
	body, key, err := sealTo(a.recipient)
	a.key, c.body = &key, body.format()
	return err
}

func (a *ageRecipient) secret(c cell) ([]byte, error) {
	if a.key == nil {
		return nil, errors.New("a recipient opens nothing: give the identity")
	}
	return wrapKey(*a.key, c), nil
}

// ageAnswer is what the slot's file held, decrypted elsewhere.
type ageAnswer struct{ code string }

// AgeAnswer is a slot opened by the content of its age file, which the identity's
// holder decrypted elsewhere. A typo is ErrCode.
func AgeAnswer(code string) Slot { return ageAnswer{code} }

func (ageAnswer) Kind() Kind { return KindAge }

func (ageAnswer) prepare(*cell) error { return ErrUnproven }

func (a ageAnswer) secret(c cell) ([]byte, error) {
	key, err := parseCode(a.code)
	if err != nil {
		return nil, err
	}
	return wrapKey(key, c), nil
}

// Format hides what a slot is opened with.
func (ageIdentity) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, "age identity ", redacted) }

// Format hides what a slot is opened with.
func (a *ageRecipient) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, "age ", a.recipient) }

// Format hides what a slot is opened with.
func (ageAnswer) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, "age answer ", redacted) }
