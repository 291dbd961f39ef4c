package identity

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A session in the vault is read at the first request after a restart, or after two
// minutes of rest, and then most of the time went into JSON. So it is a row of bytes:
//
//	1            version
//	strings      id, person, address, agent, method, scope; number of barred, and each;
//	             a string is its length (uvarint) and its bytes
//	times        created, seen, fresh: Unix nanoseconds (varint), 0 for none
//	1            strong: 0 or 1
//	durations    idle, absolute: nanoseconds (varint)
//
// What begins with "{" is JSON of an older program, and is written anew with its next use.
const sessionVersion = 1

const mostBarred = 10_000 // bounds what a damaged number can ask for

var errSessionBytes = errors.New("not a session")

func (s Session) bytes() []byte {
	b := append(make([]byte, 0, 256), sessionVersion)
	for _, text := range []string{s.ID, s.Person, s.Address, s.Agent, string(s.Method), s.Scope} {
		b = appendText(b, text)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Barred)))
	for _, tenant := range s.Barred {
		b = appendText(b, tenant)
	}
	for _, at := range []time.Time{s.Created, s.Seen, s.Fresh} {
		b = binary.AppendVarint(b, nanos(at))
	}
	b = append(b, map[bool]byte{true: 1}[s.Strong])
	b = binary.AppendVarint(b, int64(s.Idle))
	return binary.AppendVarint(b, int64(s.Absolute))
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// parseSession reads either form.
func parseSession(b []byte) (s Session, err error) {
	if len(b) > 0 && b[0] == '{' {
		err = json.Unmarshal(b, &s)
	} else {
		r := sessionReader{left: b}
		s = r.session()
		err = r.err
	}
	if err != nil {
		return Session{}, fmt.Errorf("read session: %w", err)
	}
	return s, nil
}

// sessionReader takes one part after the other, and nothing more after an error.
type sessionReader struct {
	left []byte
	err  error
}

func (r *sessionReader) session() (s Session) {
	if v := r.byte(); v != sessionVersion {
		r.err = errSessionBytes
	}
	s.ID, s.Person, s.Address, s.Agent = r.text(), r.text(), r.text(), r.text()
	s.Method, s.Scope = Method(r.text()), r.text()
	n := r.uvarint()
	if n > mostBarred {
		r.err = errSessionBytes
	}
	for i := uint64(0); i < n && r.err == nil; i++ {
		s.Barred = append(s.Barred, r.text())
	}
	s.Created, s.Seen, s.Fresh = r.time(), r.time(), r.time()
	s.Strong = r.byte() == 1
	s.Idle, s.Absolute = time.Duration(r.varint()), time.Duration(r.varint())
	if len(r.left) > 0 {
		r.err = errSessionBytes
	}
	return s
}

func (r *sessionReader) byte() (b byte) {
	if r.err == nil && len(r.left) == 0 {
		r.err = errSessionBytes
	}
	if r.err != nil {
		return 0
	}
	b, r.left = r.left[0], r.left[1:]
	return b
}

func (r *sessionReader) text() (s string) {
	n := r.uvarint()
	if r.err == nil && n > uint64(len(r.left)) {
		r.err = errSessionBytes
	}
	if r.err != nil {
		return ""
	}
	s, r.left = string(r.left[:n]), r.left[n:]
	return s
}

func (r *sessionReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.left)
	return v * uint64(r.took(n))
}

func (r *sessionReader) varint() int64 {
	v, n := binary.Varint(r.left)
	return v * int64(r.took(n))
}

// took lets go of the bytes of a number; it is 0 where there was none, else 1.
func (r *sessionReader) took(n int) int {
	if r.err == nil && n <= 0 {
		r.err = errSessionBytes
	}
	if r.err != nil {
		return 0
	}
	r.left = r.left[n:]
	return 1
}

func (r *sessionReader) time() time.Time {
	ns := r.varint()
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
