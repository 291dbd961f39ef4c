package system

import "crypto/rand"

const (
	idLength  = 15
	idLetters = "abcdefghijklmnopqrstuvwxyz0123456789"
)

// NewID gives 15 random characters of a-z and 0-9 (77 bits), the shape of
// PocketBase's record ids.
func NewID() string {
	id := make([]byte, 0, idLength)
	var b [idLength * 2]byte
	for len(id) < idLength {
		_, _ = rand.Read(b[:])
		id = appendLetters(id, b[:])
	}
	return string(id[:idLength])
}

// appendLetters leaves out the bytes that would make some letters likelier.
func appendLetters(id, random []byte) []byte {
	for _, c := range random {
		if int(c) < 256-256%len(idLetters) {
			id = append(id, idLetters[int(c)%len(idLetters)])
		}
	}
	return id
}
