package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/data"
)

// errLeaf is what every malformed leaf answers.
var errLeaf = errors.New("malformed audit leaf")

const leafTitle = "holdfast audit leaf v1"

// isWord says whether a text fits between the spaces of a leaf.
func isWord(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '@', c == '-':
		default:
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// leaf is what the tree hashes: the facts of an entry that are nobody's personal
// data, and a commitment to the rest. It stays when the rest is erased.
type leaf struct {
	Time       time.Time
	Action     string
	Outcome    string
	Position   data.Position // of a change; where a life began; zero for all else
	Commitment [32]byte
}

// formatLeaf gives the five lines that are hashed into the tree.
func formatLeaf(l leaf) ([]byte, error) {
	if !isWord(l.Action) || !isWord(l.Outcome) {
		return nil, fmt.Errorf("format audit leaf: action %q, outcome %q: want words of letters, digits and ._@-", l.Action, l.Outcome)
	}
	position, err := formatPosition(l.Position)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s\n%s\n%s %s\n%s\n%s\n", leafTitle, l.Time.UTC().Format(time.RFC3339Nano),
		l.Action, l.Outcome, position, base64.StdEncoding.EncodeToString(l.Commitment[:])), nil
}

func formatPosition(p data.Position) (string, error) {
	if p == (data.Position{}) {
		return "-", nil
	}
	if !isWord(p.Incarnation) || p.Sequence < 0 {
		return "", fmt.Errorf("format audit leaf: bad position %+v", p)
	}
	return p.Incarnation + " " + strconv.FormatInt(p.Sequence, 10), nil
}

// parseLeaf accepts exactly what formatLeaf writes: one leaf has one text.
func parseLeaf(text []byte) (leaf, error) {
	lines := strings.Split(string(text), "\n")
	if len(lines) != 6 || lines[0] != leafTitle || lines[5] != "" {
		return leaf{}, errLeaf
	}
	l, err := parseFacts(lines[1:5])
	if err != nil {
		return leaf{}, err
	}
	if again, err := formatLeaf(l); err != nil || string(again) != string(text) {
		return leaf{}, errLeaf
	}
	return l, nil
}

func parseFacts(lines []string) (l leaf, err error) {
	if l.Time, err = time.Parse(time.RFC3339Nano, lines[0]); err != nil {
		return l, fmt.Errorf("%w: time: %w", errLeaf, err)
	}
	var ok bool
	if l.Action, l.Outcome, ok = strings.Cut(lines[1], " "); !ok {
		return l, fmt.Errorf("%w: outcome", errLeaf)
	}
	if l.Position, err = parsePosition(lines[2]); err != nil {
		return l, err
	}
	commitment, err := base64.StdEncoding.Strict().DecodeString(lines[3])
	if err != nil || len(commitment) != len(l.Commitment) {
		return l, fmt.Errorf("%w: commitment", errLeaf)
	}
	copy(l.Commitment[:], commitment)
	return l, nil
}

func parsePosition(s string) (p data.Position, err error) {
	if s == "-" {
		return p, nil
	}
	incarnation, sequence, ok := strings.Cut(s, " ")
	if !ok {
		return p, fmt.Errorf("%w: position", errLeaf)
	}
	p.Incarnation = incarnation
	if p.Sequence, err = strconv.ParseInt(sequence, 10, 64); err != nil {
		return p, fmt.Errorf("%w: position: %w", errLeaf, err)
	}
	return p, nil
}
