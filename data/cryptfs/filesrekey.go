package cryptfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/data"
)

// Rekey seals each file under the current generation that is sealed under an
// older one, while others read, put and delete. Each is written whole beside the
// old one and moved over it, so a crash leaves the one or the other, and the next
// Rekey goes on. A file that does not authenticate is left, and told at the end as
// *FileError. It takes at most half the disk's time. progress counts bytes on
// disk; it may be nil.
func (f *Files) Rekey(ctx context.Context, progress func(done, total int64)) error {
	target, _, err := f.keys.Current()
	if err != nil {
		return fmt.Errorf("re-key files: current file key: %w", err)
	}
	passed(&f.tree) // whoever enters a file after this sees the new key
	var old []sealedFile
	total, done := int64(0), int64(0)
	err = f.eachSealed(ctx, func(s sealedFile) error {
		if s.err == nil && s.generation < target {
			old, total = append(old, s), total+s.size
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("re-key files: %w", err)
	}
	var damaged error
	for _, s := range old {
		began := time.Now()
		err := f.sealAnew(ctx, s.path)
		var fe *FileError
		if errors.As(err, &fe) && damaged == nil {
			damaged = err
		} else if err != nil && fe == nil {
			return fmt.Errorf("re-key files: %w", err)
		}
		done += s.size
		if progress != nil {
			progress(done, total)
		}
		if err := pause(ctx, time.Since(began)); err != nil {
			return fmt.Errorf("re-key files: %w", err)
		}
	}
	return damaged
}

// Generations tells under which generations of the key any file is sealed, in
// ascending order. A file that is none of ours is an error (*FileError).
func (f *Files) Generations(ctx context.Context) ([]uint32, error) {
	found := map[uint32]bool{}
	err := f.eachSealed(ctx, func(s sealedFile) error {
		found[s.generation] = s.err == nil
		return s.err
	})
	if err != nil {
		return nil, fmt.Errorf("generations of files: %w", err)
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// sealedFile is a file as it lies on the disk.
type sealedFile struct {
	path       string
	generation uint32
	size       int64 // on disk, in bytes
	err        error // its beginning does not authenticate
}

// eachSealed goes over all files, the name key and the parts of uploads among
// them. What is being written (in tmp) moves to its place under the current key.
func (f *Files) eachSealed(ctx context.Context, fn func(sealedFile) error) error {
	return filepath.WalkDir(f.dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case e.IsDir() && path == filepath.Join(f.dir, tempDir):
			return fs.SkipDir
		case e.IsDir():
			return nil
		}
		s, err := f.look(path)
		if err != nil {
			return ignoreMissing(err)
		}
		return fn(s)
	})
}

// look authenticates what stands before the chunks.
func (f *Files) look(path string) (s sealedFile, err error) {
	file, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return s, err
	}
	p, _, _, err := f.readInfo(file)
	s = sealedFile{path: path, generation: p.generation, size: st.Size()}
	var fe *FileError
	if err = fileError(err, path, -1); errors.As(err, &fe) {
		s.err, err = err, nil
	}
	return s, err
}

// sealAnew writes one file under the current key and puts it in its own place,
// unless another took it meanwhile.
func (f *Files) sealAnew(ctx context.Context, path string) error {
	temp, was, err := f.copyAnew(ctx, path)
	if err != nil {
		return ignoreMissing(err)
	}
	defer os.Remove(temp) // fails once it has moved
	moved, err := f.replace(temp, path, was)
	if err != nil || !moved {
		return err
	}
	return syncDirs([]string{filepath.Dir(path)})
}

// errOldKey is of a file that was written while its key was rotated.
var errOldKey = errors.New("is sealed under a key that was rotated meanwhile")

// isCurrent asks that with the tree held, so that no file comes to its place
// under a key whose last file Rekey may have seen.
func (f *Files) isCurrent(path string) error {
	was, err := readPrefix(path)
	if err != nil {
		return err
	}
	current, _, err := f.keys.Current()
	if err == nil && was.generation < current {
		err = errOldKey
	}
	return err
}

// settle moves a new file to its place.
func (f *Files) settle(ctx context.Context, temp, path string) error {
	err := f.enter(temp, path)
	for errors.Is(err, errOldKey) {
		fresh, _, cerr := f.copyAnew(ctx, temp)
		if cerr != nil {
			return cerr
		}
		err = f.enter(fresh, path)
		os.Remove(fresh) // fails once it has moved
	}
	return err
}

// copyAnew gives the name of a synced temporary file with the content of another,
// and that one's prefix.
func (f *Files) copyAnew(ctx context.Context, path string) (name string, was prefix, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", was, err
	}
	defer file.Close()
	was, info, aead, err := f.readInfo(file)
	if err != nil {
		return "", was, fileError(err, path, -1)
	}
	temp, err := f.newTemp()
	if err != nil {
		return "", was, err
	}
	r := &fileReader{f: file, path: path, info: info, aead: aead, body: was.body()}
	defer r.Close()
	err = f.copySealed(ctx, temp, r)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		os.Remove(temp.Name())
	}
	return temp.Name(), was, err
}

func (f *Files) copySealed(ctx context.Context, w *os.File, r *fileReader) error {
	p, aead, err := f.newPrefix(r.info)
	if err != nil {
		return err
	}
	sealed, err := sealInfo(aead, p, r.info)
	if err == nil {
		_, err = w.WriteAt(append(p.format(), sealed...), 0)
	}
	if err != nil {
		return err
	}
	cw := newChunkWriter(io.NewOffsetWriter(w, p.body()), aead)
	_, err = io.Copy(cw, contextReader{ctx, r})
	return errors.Join(err, cw.Close())
}

// replace moves a file over one that is still the one it was made of.
func (f *Files) replace(temp, path string, was prefix) (moved bool, err error) {
	f.tree.Lock()
	defer f.tree.Unlock()
	now, err := readPrefix(path)
	if err != nil || now != was { // its random salt tells
		return false, ignoreMissing(err)
	}
	return true, os.Rename(temp, path)
}

func readPrefix(path string) (prefix, error) {
	file, err := os.Open(path)
	if err != nil {
		return prefix{}, err
	}
	defer file.Close()
	var head [prefixSize]byte
	if _, err := readFull(file, head[:], 0); err != nil {
		return prefix{}, fileError(cut(err), path, -1)
	}
	p, err := parsePrefix(head[:])
	return p, fileError(err, path, -1)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, data.ErrNotFound) {
		return nil
	}
	return err
}
