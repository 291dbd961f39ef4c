package faultfs

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// Random is what of math/rand/v2's Rand a Cut needs.
type Random interface {
	// IntN is at least 0 and less than n.
	IntN(n int) int
}

// sector is what a disk writes whole or not at all.
const sector = 512

// power knows what a power cut would leave: of each file what was synced, and the
// changes since, of which any may have reached the disk, in part; of each name
// whether it was synced. Its methods may be called on nil.
type power struct {
	mu      sync.Mutex
	files   map[string]*node // as the process sees them, by path
	durable map[string]*node // as they are on disk
	off     bool
}

// node is a file.
type node struct {
	power   *power
	content []byte   // that was synced
	since   []change // what was written after that
	dropped int      // how many changes are no longer in since
}

// change is a write; data nil: the file was cut, or lengthened, to off.
type change struct {
	off  int64
	data []byte
}

func newPower() *power { return &power{files: map[string]*node{}, durable: map[string]*node{}} }

func (c change) apply(b []byte) []byte {
	if c.data == nil {
		return append(b[:min(len(b), int(c.off))], make([]byte, max(0, int(c.off)-len(b)))...)
	}
	if end := int(c.off) + len(c.data); end > len(b) {
		b = append(b, make([]byte, end-len(b))...)
	}
	copy(b[c.off:], c.data)
	return b
}

// opened gives the node of a file that exists. What it holds when it is first
// seen counts as synced, for a new file is empty then.
func (p *power) opened(path string) (*node, error) {
	if p == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.files[path]; n != nil {
		return n, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	n := &node{power: p, content: b}
	p.files[path] = n
	if len(b) > 0 {
		p.durable[path] = n
	}
	return n, nil
}

func (p *power) removed(path string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.files, path)
}

// syncedDir makes the names in a folder durable.
func (p *power) syncedDir(dir string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for path := range p.durable {
		if filepath.Dir(path) == dir && p.files[path] == nil {
			delete(p.durable, path)
		}
	}
	for path, n := range p.files {
		if filepath.Dir(path) == dir {
			p.durable[path] = n
		}
	}
}

func (n *node) write(c change) {
	if n == nil {
		return
	}
	n.power.mu.Lock()
	defer n.power.mu.Unlock()
	n.since = append(n.since, c)
}

// pending is how many changes there were ever.
func (n *node) pending() int {
	if n == nil {
		return 0
	}
	n.power.mu.Lock()
	defer n.power.mu.Unlock()
	return n.dropped + len(n.since)
}

// synced makes the first changes durable, if the power is still on.
func (n *node) synced(upTo int) error {
	if n == nil {
		return nil
	}
	n.power.mu.Lock()
	defer n.power.mu.Unlock()
	if n.power.off {
		return errOff
	}
	count := max(0, upTo-n.dropped)
	for _, c := range n.since[:count] {
		n.content = c.apply(n.content)
	}
	n.since, n.dropped = slices.Delete(n.since, 0, count), n.dropped+count
	return nil
}

// lose forgets the changes that no sync will write any more.
func (n *node) lose() {
	if n == nil {
		return
	}
	n.power.mu.Lock()
	defer n.power.mu.Unlock()
	n.dropped, n.since = n.dropped+len(n.since), nil
}

// survive gives what may be left of a file.
func (n *node) survive(r Random) []byte {
	b := slices.Clone(n.content)
	for _, c := range n.since {
		switch r.IntN(3) {
		case 0:
			b = c.apply(b)
		case 1: // torn between sectors
			if sectors := len(c.data) / sector; sectors > 0 {
				b = change{c.off, c.data[:sector*r.IntN(sectors)]}.apply(b)
			}
		}
	}
	return b
}

var errOff = fmt.Errorf("faultfs: the power is off: %w", syscall.EIO)

// Off turns the power off: every call fails from now on, a sync that is under way
// included. A Cut after it leaves what was there at that moment.
func (d *Disk) Off() {
	if d.power != nil {
		d.power.mu.Lock()
		defer d.power.mu.Unlock()
		d.power.off = true
	}
}

// on is nil while there is power.
func (p *power) on() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return errOff
	}
	return nil
}

// Cut fills an empty folder with what a power cut at this moment would leave of
// the files of another: a random choice of what was not synced. It may be called
// from a Plan.
func (d *Disk) Cut(r Random, from, to string) error {
	p := d.power
	if p == nil {
		return errors.New("faultfs: the disk is not volatile")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	names := map[string]bool{}
	for path := range p.files {
		names[path] = true
	}
	for path := range p.durable {
		names[path] = true
	}
	for _, path := range slices.Sorted(maps.Keys(names)) {
		if filepath.Dir(path) != from {
			continue
		}
		if n := p.left(r, path); n != nil {
			if err := os.WriteFile(filepath.Join(to, filepath.Base(path)), n.survive(r), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// left is the file that a name is of after a power cut: the durable one, or the
// one that the process saw last.
func (p *power) left(r Random, path string) *node {
	if r.IntN(2) == 0 {
		return p.files[path]
	}
	return p.durable[path]
}
