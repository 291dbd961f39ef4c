package signin

import (
	"encoding/json"
	"math"
	"strings"
	"sync"
	"unicode"

	"github.com/ccojocar/zxcvbn-go/data"
)

// The lists are zxcvbn's, the likeliest first. Its own estimator is not used: it
// would read a megabyte of JSON at every start of the program, and takes seconds
// for 256 characters.
type wordlist struct {
	rank   map[string]int
	common map[string]bool
	ok     bool
}

const longestWord = 24 // in characters

// words are read when the first password is judged.
var words = sync.OnceValue(loadWords)

func loadWords() wordlist {
	w := wordlist{rank: map[string]int{}, common: map[string]bool{}}
	for i, name := range []string{"data/Passwords.json", "data/English.json"} {
		list, err := readWords(name)
		if err != nil {
			return w // TestLists would fail
		}
		for n, word := range list {
			if known, ok := w.rank[word]; !ok || n+1 < known {
				w.rank[word] = n + 1
			}
			w.common[word] = w.common[word] || i == 0
		}
	}
	w.ok = true
	return w
}

func readWords(name string) ([]string, error) {
	text, err := data.Asset(name)
	if err != nil {
		return nil, err
	}
	var list struct{ List []string }
	err = json.Unmarshal(text, &list)
	return list.List, err
}

// What people write for letters.
var unleet = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "8", "b", "@", "a", "$", "s", "!", "i")

// Common says that a password is a common one, whatever is hung onto it.
func Common(password string) bool {
	lower := strings.ToLower(password)
	bare := strings.TrimFunc(lower, func(r rune) bool { return !unicode.IsLetter(r) })
	for _, form := range []string{lower, unleet.Replace(lower), bare, unleet.Replace(bare), repeated(lower), repeated(bare)} {
		if words().common[form] {
			return true
		}
	}
	return false
}

// repeated is what a text is a repetition of, or the text.
func repeated(s string) string {
	if i := strings.Index((s + s)[min(1, len(s)):], s); i >= 0 && i+1 < len(s) {
		return s[:i+1]
	}
	return s
}

// Bits estimates what a password is worth to somebody who guesses words, common
// passwords, sequences and years first: the cheapest way to put it together
// out of words, sequences, repetitions, years and single characters.
func Bits(password string) float64 {
	text := []rune(strings.ToLower(password))
	best := make([]float64, len(text)+1)
	for end := 1; end <= len(text); end++ {
		best[end] = best[end-1] + characterBits
		for begin := max(0, end-longestWord); begin < end; begin++ {
			if bits, ok := pieceBits(text, begin, end); ok {
				best[end] = min(best[end], best[begin]+bits)
			}
		}
	}
	return best[len(text)] + caseBits(password)
}

// characterBits is what a character that is part of nothing costs.
const characterBits = 3.4

// pieceBits is what a piece of the text costs as one thing.
func pieceBits(text []rune, begin, end int) (float64, bool) {
	piece := string(text[begin:end])
	if rank, ok := words().rank[piece]; ok {
		return math.Log2(float64(rank)) + 1, true
	}
	if plain := unleet.Replace(piece); plain != piece {
		if rank, ok := words().rank[plain]; ok {
			return math.Log2(float64(rank)) + 2, true
		}
	}
	n := end - begin
	switch {
	case n >= 3 && isSequence(text[begin:end]), n >= 4 && isRow(piece):
		return 4 + math.Log2(float64(n)), true
	case n >= 2 && begin >= n && string(text[begin-n:begin]) == piece: // the same again
		return 1, true
	case n == 4 && (strings.HasPrefix(piece, "19") || strings.HasPrefix(piece, "20")) && isDigits(piece):
		return 7, true
	}
	return 0, false
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// isSequence: abcd, 9876, aaaa.
func isSequence(text []rune) bool {
	step := text[1] - text[0]
	if step < -1 || step > 1 {
		return false
	}
	for i := 2; i < len(text); i++ {
		if text[i]-text[i-1] != step {
			return false
		}
	}
	return true
}

// isRow: a run along the keyboard, either way.
func isRow(piece string) bool {
	for _, row := range []string{"qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "azertyuiop", "1234567890"} {
		if strings.Contains(row, piece) || strings.Contains(backwards(row), piece) {
			return true
		}
	}
	return false
}

func backwards(s string) string {
	var b strings.Builder
	for i := len(s) - 1; i >= 0; i-- {
		b.WriteByte(s[i])
	}
	return b.String()
}

// caseBits: capitals that are not just the first letter are worth a little.
func caseBits(password string) float64 {
	upper := 0
	for i, r := range password {
		if i > 0 && unicode.IsUpper(r) {
			upper++
		}
	}
	return math.Log2(float64(1 + upper))
}
