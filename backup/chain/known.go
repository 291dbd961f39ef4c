package chain

import (
	"errors"
	"fmt"

	"holdfast/backup"
	"holdfast/data"
)

// Known is the newest snapshot as the chain remembers it: what each page and each
// file of the store was when it was shipped. It stays as it is while the chain
// goes on. It is for one goroutine.
type Known struct {
	Epoch    string
	Sequence int64
	sums     *backup.Sums
	tree     *backup.FileTree
}

// Known gives the newest snapshot, nil where the chain would begin an epoch. It
// waits for a running Ship.
func (c *Chain) Known() (*Known, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == nil {
		return nil, nil
	}
	sums, err := backup.NewSums(c.state.SumKey)
	if err != nil {
		return nil, err
	}
	for pgno := uint32(1); pgno <= c.state.sums.Total(); pgno++ {
		sum, _ := c.state.sums.Get(pgno)
		sums.Put(pgno, sum)
	}
	return &Known{c.state.Epoch.String(), c.state.Sequence, sums, c.state.tree.Clone()}, nil
}

// Errors of a page or a file that is not what was shipped.
var (
	ErrOtherPage = errors.New("its checksum is not that of the shipped page")
	ErrOlderFile = errors.New("it is older than the shipped file")
)

// Page says whether a page is what was shipped; it must not have changed since.
func (k *Known) Page(pgno uint32, page []byte) error {
	want, ok := k.sums.Get(pgno)
	if pgno == backup.LockPage || ok && k.sums.Of(pgno, page) == want {
		return nil
	}
	return ErrOtherPage
}

// File says whether a file is not older than what was shipped under its name.
// Files that are new since, or newer, pass.
func (k *Known) File(info data.FileInfo) error {
	shipped, ok := k.tree.Get(info.Name)
	if !ok || !info.Modified.Before(shipped.Modified) {
		return nil
	}
	return fmt.Errorf("%w of %s", ErrOlderFile, shipped.Modified.UTC().Format("2006-01-02T15:04:05Z"))
}
