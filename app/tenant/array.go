package tenant

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// jsonArray reads the objects of one JSON array without holding it in memory.
type jsonArray struct {
	in    *json.Decoder
	lines *lineCounter
}

func openArray(r io.Reader) (*jsonArray, error) {
	lines := &lineCounter{in: r}
	a := &jsonArray{json.NewDecoder(lines), lines}
	a.in.UseNumber()
	token, err := a.in.Token()
	if errors.Is(err, io.EOF) {
		return nil, errFile{1, "the file is empty: want a JSON array"}
	}
	if err != nil {
		return nil, a.broken(err)
	}
	if token != json.Delim('[') {
		return nil, errFile{a.line(), "want a JSON array of objects"}
	}
	return a, nil
}

func (a *jsonArray) next() (map[string]any, int, error) {
	if !a.in.More() {
		return nil, a.line(), a.end()
	}
	before := a.in.InputOffset()
	var text json.RawMessage
	if err := a.in.Decode(&text); err != nil {
		return nil, a.line(), a.broken(err)
	}
	if a.in.InputOffset()-before > maxRecord {
		return nil, a.line(), errFile{a.line(), errLong.Error()}
	}
	line := a.lines.at(a.in.InputOffset() - int64(len(text)))
	row, err := object(text)
	return row, line, err
}

// end wants the closing bracket and nothing after it.
func (a *jsonArray) end() error {
	if _, err := a.in.Token(); err != nil {
		return a.broken(err)
	}
	if _, err := a.in.Token(); err == nil {
		return errFile{a.line(), "there is something after the array"}
	} else if !errors.Is(err, io.EOF) {
		return a.broken(err)
	}
	return io.EOF
}

func (a *jsonArray) line() int { return a.lines.at(a.in.InputOffset()) }

// broken gives the line where the array stops being JSON.
func (a *jsonArray) broken(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return errFile{a.line(), jsonReason(err)}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errFile{a.lines.last(), "the JSON ends too early"}
	}
	return fmt.Errorf("read the array: %w", err)
}

// lineCounter remembers where lines begin in what the decoder has read ahead.
type lineCounter struct {
	in     io.Reader
	read   int64
	breaks []int64 // offsets behind the line feeds not yet passed
	passed int     // line feeds before those
}

func (c *lineCounter) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.breaks = append(c.breaks, c.read+int64(i)+1)
		}
	}
	c.read += int64(n)
	return n, err
}

// last is the line that the file ends on.
func (c *lineCounter) last() int { return c.passed + len(c.breaks) + 1 }

// at gives the line of an offset; offsets may not go back.
func (c *lineCounter) at(offset int64) int {
	done := 0
	for done < len(c.breaks) && c.breaks[done] <= offset {
		done++
	}
	c.passed += done
	c.breaks = append(c.breaks[:0], c.breaks[done:]...)
	return c.passed + 1
}
