package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/app/recovery"
	"holdfast/backup/restore"
	"holdfast/data"
	"holdfast/data/cryptfs"
	"holdfast/data/keys"
	"holdfast/data/system"
	"holdfast/data/vault"
)

// read says how a chain of the appliance itself is read.
func (b *bare) read(chain string) restore.Config {
	return restore.Config{
		Source: b.source, Store: chain, Keys: b.ring.Archive(keys.System, keys.Segments),
		Scratch: b.folder.in(restoringDir), Resume: b.folder.in(restoringDir, chain+".objects"), Progress: b.progress(chain),
	}
}

// system brings the system database back. It is sealed under a new key: how often the
// key sealed is counted in a file that is lost.
func (b *bare) system(ctx context.Context) error {
	if exists(b.folder.in(system.Database)) {
		return nil
	}
	dir := b.folder.in(restoringDir, "system")
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), b.ring.Rotate(keys.System, keys.Pages)); err != nil {
		return err
	}
	sink := databaseSink{cryptfs.Config{Dir: dir, Identity: system.Identity, Keys: b.ring.Source(keys.System, keys.Pages)}}
	got, err := restore.Run(ctx, b.read(recovery.SystemChain), sink)
	if err != nil {
		return fmt.Errorf("bring the system database back: %w", err)
	}
	b.result.System = chainPoint{got.Sequence, got.Time}
	if err := b.note(); err != nil {
		return err
	}
	return b.moveAll(dir, system.Database)
}

// moveAll moves what lies beside a database into the data folder, and the database last.
func (b *bare) moveAll(dir, last string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != last {
			if err := renameDurably(filepath.Join(dir, e.Name()), b.folder.in(e.Name())); err != nil {
				return err
			}
		}
	}
	return renameDurably(filepath.Join(dir, last), b.folder.in(last))
}

type databaseSink struct{ config cryptfs.Config }

func (s databaseSink) Pages(ctx context.Context, total uint32, next func(uint32, []byte) error) error {
	return cryptfs.WriteDatabase(ctx, s.config, system.Database, total, next)
}

func (s databaseSink) File(context.Context, data.FileInfo, io.Reader) error {
	return errors.New("a file in the chain of the system database")
}

// vault brings the vault back, of the stretches that it was shipped in.
func (b *bare) vault(ctx context.Context) error {
	if exists(b.folder.in("vault")) {
		return nil
	}
	dir := b.folder.in(restoringDir, "vault")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	got, err := loadVault(ctx, b.read(recovery.VaultChain), dir, b.ring.Source(keys.System, keys.Vault))
	if err != nil {
		return fmt.Errorf("bring the vault back: %w", err)
	}
	b.result.Vault = chainPoint{got.Sequence, got.Time}
	if err := b.note(); err != nil {
		return err
	}
	return renameDurably(dir, b.folder.in("vault"))
}

func loadVault(ctx context.Context, c restore.Config, dir string, source data.KeySource) (restore.Result, error) {
	s := &stretches{next: make(chan io.Reader), read: make(chan struct{}), ended: make(chan struct{})}
	var failed error
	go func() {
		defer close(s.ended)
		failed = vault.Load(ctx, dir, source, s.take)
	}()
	got, err := restore.Run(ctx, c, s)
	s.broken = err
	close(s.next)
	<-s.ended
	return got, errors.Join(failed, err)
}

// stretches hands the files of a vault's chain to who loads them.
type stretches struct {
	next   chan io.Reader
	read   chan struct{}
	ended  chan struct{}
	given  bool
	broken error // why there is no next one; set before next is closed
}

func (s *stretches) Pages(_ context.Context, total uint32, _ func(uint32, []byte) error) error {
	if total > 0 {
		return errors.New("pages in the chain of the vault")
	}
	return nil
}

var errUnloaded = errors.New("the vault takes no more")

func (s *stretches) File(_ context.Context, _ data.FileInfo, r io.Reader) error {
	select {
	case s.next <- r:
	case <-s.ended:
		return errUnloaded
	}
	select {
	case <-s.read:
		return nil
	case <-s.ended:
		return errUnloaded
	}
}

// take is called by the loading side alone.
func (s *stretches) take() (io.Reader, error) {
	if s.given {
		s.read <- struct{}{}
	}
	r, ok := <-s.next
	s.given = ok
	switch {
	case ok:
		return r, nil
	case s.broken != nil:
		return nil, s.broken
	}
	return nil, io.EOF
}
