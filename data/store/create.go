package store

import (
	"context"
	"fmt"
	"io"
	"os"

	"holdfast/data"
)

// Create makes a new, empty store with secrets of its own. Its keys must exist.
// It answers data.ErrExists where there is one.
func (p *Pool) Create(ctx context.Context, id data.StoreID) error {
	return p.install(ctx, id, "created", p.template.write)
}

type template struct{}

func (template) write(context.Context, string, InstallTarget) error { return nil }

type installTarget struct {
	pool *Pool
	id   data.StoreID
	dir  string
}

func (t *installTarget) Pages(ctx context.Context, total uint32, next func(uint32, []byte) error) error {
	f, err := os.Create(t.dir + "/" + dataFile)
	if err != nil {
		return err
	}
	defer f.Close()
	page := make([]byte, data.PageSize)
	for n := uint32(1); n <= total; n++ {
		if err := next(n, page); err != nil {
			return err
		}
		if _, err := f.Write(page); err != nil {
			return err
		}
	}
	return nil
}

func (t *installTarget) File(context.Context, data.FileInfo, io.Reader) error {
	return fmt.Errorf("files are not there yet")
}
