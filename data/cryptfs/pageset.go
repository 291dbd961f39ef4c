package cryptfs

import "math/bits"

// pageSet is a set of page numbers, one bit each. The zero set is empty.
type pageSet struct {
	words []uint64
	n     int
}

func (s *pageSet) add(page uint32) {
	word, bit := int(page/64), uint64(1)<<(page%64)
	for len(s.words) <= word {
		s.words = append(s.words, 0)
	}
	if s.words[word]&bit == 0 {
		s.words[word] |= bit
		s.n++
	}
}

func (s *pageSet) has(page uint32) bool {
	word := int(page / 64)
	return word < len(s.words) && s.words[word]&(1<<(page%64)) != 0
}

// addRange adds first to last.
func (s *pageSet) addRange(first, last uint32) {
	for page := first; page <= last; page++ {
		s.add(page)
	}
}

func (s *pageSet) addAll(other pageSet) {
	for page := range other.all() {
		s.add(page)
	}
}

// cut removes the pages above last.
func (s *pageSet) cut(last uint32) {
	keep := int(last/64) + 1
	if len(s.words) < keep {
		return
	}
	s.words = s.words[:keep]
	s.words[keep-1] &= 1<<(last%64+1) - 1
	s.n = 0
	for _, word := range s.words {
		s.n += bits.OnesCount64(word)
	}
}

// all yields the pages in ascending order.
func (s pageSet) all() func(yield func(uint32) bool) {
	return func(yield func(uint32) bool) {
		for i, word := range s.words {
			for ; word != 0; word &= word - 1 {
				if !yield(uint32(i*64 + bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}
