package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"

	"holdfast/data"
)

// Create makes a new, empty store with secrets of its own. Its keys must exist.
// It answers data.ErrExists where there is one.
func (p *Pool) Create(ctx context.Context, id data.StoreID) error {
	return p.install(ctx, id, "created", p.template.write)
}

// template is the image of a store in which PocketBase's migrations have run: a
// new store is a copy of it, sealed with its own keys and given its own secrets,
// in a third of the time. It is made on first use and kept in memory.
type template struct {
	build func(context.Context) ([][]byte, error)

	mu    sync.Mutex
	pages [][]byte
}

func (t *template) image(ctx context.Context) ([][]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pages == nil {
		pages, err := t.build(ctx)
		if err != nil {
			return nil, fmt.Errorf("template store: %w", err)
		}
		t.pages = pages
	}
	return t.pages, nil
}

func (t *template) write(ctx context.Context, _ string, to InstallTarget) error {
	pages, err := t.image(ctx)
	if err != nil {
		return err
	}
	return to.Pages(ctx, uint32(len(pages)), func(pgno uint32, page []byte) error {
		copy(page, pages[pgno-1])
		return nil
	})
}

// buildTemplate boots an empty store under a key that nobody keeps, and reads its
// pages.
func (p *Pool) buildTemplate(ctx context.Context) (_ [][]byte, err error) {
	dir, err := p.scratch()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := p.open(ctx, data.StoreID{Tenant: "template", Environment: data.Prod}, dir, newThrowaway())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.shut()) }()
	return s.image(ctx)
}

func (s *Store) image(ctx context.Context) ([][]byte, error) {
	s.pages.MarkAll()
	pages := map[uint32][]byte{}
	commit, err := s.pages.Snapshot(ctx, func(pgno uint32, page []byte) error {
		pages[pgno] = append([]byte(nil), page...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([][]byte, commit.DatabasePages)
	for i := range out {
		out[i] = pages[uint32(i)+1]
	}
	return out, nil
}

// throwaway is a key made for one opening.
type throwaway [32]byte

func newThrowaway() throwaway {
	var k throwaway
	_, _ = rand.Read(k[:]) // never fails
	return k
}

func (k throwaway) Pages(data.StoreID) data.KeySource   { return k }
func (k throwaway) Files(data.StoreID) data.KeySource   { return k }
func (k throwaway) Current() (uint32, [32]byte, error)  { return 1, k, nil }
func (k throwaway) Generation(uint32) ([32]byte, error) { return k, nil }
