package tenant

import (
	"bufio"
	"io"
)

// keepReturns keeps the carriage returns in quoted CSV fields: encoding/csv turns
// "\r\n" into "\n" there, which would change a text on its way out and in. It
// takes one return off each line's end, so one more is put before it.
func keepReturns(r io.Reader) io.Reader { return &returns{in: bufio.NewReader(r)} }

type returns struct {
	in     *bufio.Reader
	quoted bool
	spare  bool // a return to be given once more
}

func (r *returns) Read(p []byte) (n int, err error) {
	for n < len(p) {
		b, err := r.next()
		if err != nil {
			if n > 0 && err == io.EOF {
				return n, nil
			}
			return n, err
		}
		p[n] = b
		n++
		if n > 0 && r.in.Buffered() == 0 && !r.spare {
			return n, nil // do not wait for more
		}
	}
	return n, nil
}

func (r *returns) next() (byte, error) {
	if r.spare {
		r.spare = false
		return '\r', nil
	}
	b, err := r.in.ReadByte()
	switch {
	case err != nil:
		return 0, err
	case b == '"':
		r.quoted = !r.quoted
	case b == '\r' && r.quoted:
		following, _ := r.in.Peek(1) // at the end there is none
		r.spare = len(following) == 1 && following[0] == '\n'
	}
	return b, nil
}
