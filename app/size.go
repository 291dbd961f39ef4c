package app

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// size is a number of bytes as an operator writes it: "512MiB", "2GiB", "1000000".
// 0 means the default.
type size int64

var units = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

// String is the inverse of Set.
func (s *size) String() string {
	for _, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if n := units[unit]; *s != 0 && int64(*s)%n == 0 {
			return strconv.FormatInt(int64(*s)/n, 10) + unit
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Set reads a size.
func (s *size) Set(text string) error {
	digits := strings.TrimRight(text, "BKMGTi")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit, known := units[strings.TrimSpace(text[len(digits):])]
	if err != nil || !known || n < 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("%q is no size: want a number and KiB, MiB, GiB or TiB", text)
	}
	*s = size(n * unit)
	return nil
}

// Type is what help calls the value.
func (s *size) Type() string { return "SIZE" }
