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

func formatCode(key [32]byte) string {
	letters := codeEncoding.EncodeToString(append(key[:], codeSum(key)...))
	groups := make([]string, 0, codeLetters/codeGroup)
	for i := 0; i < len(letters); i += codeGroup {
		groups = append(groups, letters[i:i+codeGroup])
	}
	return strings.Join(groups, "-")
}

// parseCode is the inverse of formatCode for what a person typed. Its errors
// never repeat the code.
func parseCode(text string) (key [32]byte, err error) {
	letters := codeReading.Replace(strings.ToUpper(text))
	if len(letters) != codeLetters {
		return key, fmt.Errorf("%d letters instead of %d: %w", len(letters), codeLetters, ErrCode)
	}
	b, err := codeEncoding.DecodeString(letters)
	if err != nil {
		return key, fmt.Errorf("a letter that no code has: %w", ErrCode)
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
