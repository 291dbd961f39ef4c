package store

import (
	"context"
	"io"
	"path/filepath"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// installTarget seals what comes into a scratch folder with the new store's keys.
type installTarget struct {
	config Config
	id     data.StoreID
	dir    string
	files  *cryptfs.Files // opened with the first file
	amend  []func(context.Context, *Store) error
}

var _ InstallTarget = (*installTarget)(nil)

func (t *installTarget) Pages(ctx context.Context, total uint32, next func(uint32, []byte) error) error {
	c := cryptfs.Config{Dir: t.dir, Identity: t.id.String(), Keys: t.config.Keys.Pages(t.id)}
	return cryptfs.WriteDatabase(ctx, c, dataFile, total, next)
}

func (t *installTarget) Amend(fn func(context.Context, *Store) error) { t.amend = append(t.amend, fn) }

func (t *installTarget) File(ctx context.Context, info data.FileInfo, r io.Reader) error {
	if t.files == nil {
		files, err := cryptfs.OpenFiles(filepath.Join(t.dir, filesDir), t.id.String(), t.config.Keys.Files(t.id))
		if err != nil {
			return err
		}
		t.files = files
	}
	_, err := t.files.Put(ctx, info, r)
	return err
}
