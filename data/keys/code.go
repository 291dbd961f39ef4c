package keys

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

// A code is 32 bytes and 3 of their checksum in Crockford's letters, which leave
// out those that look alike: 56 letters in groups of four.
const (
	codeCheck   = 3
	codeLetters = 56
	codeGroup   = 4
)

var codeEncoding = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// codeReading drops what people put between letters and mends what they mistake.
var codeReading = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "", "-", "", "–", "", "O", "0", "I", "1", "L", "1")

func formatCode(key [32]byte) string { return formatLetters(append(key[:], codeSum(key)...)) }

// formatLetters writes bytes, a multiple of five, in groups of letters.
func formatLetters(b []byte) string {
	letters := codeEncoding.EncodeToString(b)
	groups := make([]string, 0, len(letters)/codeGroup)
	for i := 0; i < len(letters); i += codeGroup {
		groups = append(groups, letters[i:min(i+codeGroup, len(letters))])
	}
	return strings.Join(groups, "-")
}

// parseLetters reads as many letters as want, however they were typed. Its
// errors wrap kind and never repeat what was typed.
func parseLetters(text string, want int, kind error) ([]byte, error) {
	letters := codeReading.Replace(strings.ToUpper(text))
	if len(letters) != want {
		return nil, fmt.Errorf("%d letters instead of %d: %w", len(letters), want, kind)
	}
	b, err := codeEncoding.DecodeString(letters)
	if err != nil {
		return nil, fmt.Errorf("a letter that no code has: %w", kind)
	}
	return b, nil
}

// parseCode is the inverse of formatCode for what a person typed. Its errors
// never repeat the code.
func parseCode(text string) (key [32]byte, err error) {
	b, err := parseLetters(text, codeLetters, ErrCode)
	if err != nil {
		return key, err
	}
	copy(key[:], b)
	if string(codeSum(key)) != string(b[len(key):]) {
		return [32]byte{}, fmt.Errorf("mistyped (the check letters do not fit): %w", ErrCode)
	}
	return key, nil
}

func codeSum(key [32]byte) []byte {
	sum := sha256.Sum256(append([]byte("holdfast/code/v1|"), key[:]...))
	return sum[:codeCheck]
}
