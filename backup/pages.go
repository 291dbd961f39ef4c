package backup

import (
	"encoding/binary"
	"fmt"

	"holdfast/data"
)

// PagesPerPart is the most pages that one object holds (16 MiB).
const PagesPerPart = 4096

// PageList is the plaintext of a pages object: page numbers in ascending order,
// then the images in the same order.
type PageList struct {
	Numbers []uint32
	Images  []byte // PageSize bytes each
}

// Add appends a page.
func (l *PageList) Add(pgno uint32, page []byte) {
	l.Numbers = append(l.Numbers, pgno)
	l.Images = append(l.Images, page...)
}

// Image is the i-th page's.
func (l *PageList) Image(i int) []byte { return l.Images[i*data.PageSize : (i+1)*data.PageSize] }

// Format gives the bytes: count, numbers (4 bytes each, big endian), images.
func (l *PageList) Format() []byte {
	b := make([]byte, 0, 4+4*len(l.Numbers)+len(l.Images))
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.Numbers))) //nolint:gosec // at most PagesPerPart
	for _, n := range l.Numbers {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return append(b, l.Images...)
}

// ParsePages is the inverse of Format; the images share b. It answers ErrFormat.
func ParsePages(b []byte) (*PageList, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("%w: pages cut short", ErrFormat)
	}
	count := int(binary.BigEndian.Uint32(b))
	if count > PagesPerPart || len(b) != 4+count*(4+data.PageSize) {
		return nil, fmt.Errorf("%w: %d bytes for %d pages", ErrFormat, len(b), count)
	}
	l := &PageList{Numbers: make([]uint32, count), Images: b[4+4*count:]}
	var last uint32
	for i := range l.Numbers {
		n := binary.BigEndian.Uint32(b[4+4*i:])
		if n <= last || n == LockPage {
			return nil, fmt.Errorf("%w: page %d after page %d", ErrFormat, n, last)
		}
		l.Numbers[i], last = n, n
	}
	return l, nil
}
