package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"holdfast/data"
)

// ChunkSize is the size in bytes of every chunk of a file but its last.
const ChunkSize = 16 << 20

// maxLine bounds one change of the tree, in bytes.
const maxLine = 1 << 20

// Chunk is a piece of a file's content, an object of kind Files.
type Chunk struct {
	ID   string `json:"id"`
	Size int64  `json:"size"`
	// Copy is the number of the prune after which the content was put again: names
	// that a prune condemned are not used a second time. 0 for the first.
	Copy int64 `json:"copy,omitempty"`
}

// Name is the object's name without the store's prefix.
func (c Chunk) Name() string {
	if c.Copy > 0 {
		return fmt.Sprintf("files/%s-%x", c.ID, c.Copy)
	}
	return "files/" + c.ID
}

// File is one file of the tree.
type File struct {
	data.FileInfo
	Chunks []Chunk `json:"chunks"`
}

// Change is one change of the tree: a file that is new or has changed, or the
// name of one that is gone.
type Change struct {
	Put  *File  `json:"put,omitempty"`
	Drop string `json:"drop,omitempty"`
}

// Name is the name of the file that the change is about.
func (c Change) Name() string {
	if c.Put != nil {
		return c.Put.Name
	}
	return c.Drop
}

// Chunks is the content that the change refers to.
func (c Change) Chunks() []Chunk {
	if c.Put != nil {
		return c.Put.Chunks
	}
	return nil
}

// FormatChanges gives the plaintext of tree objects: a line of JSON for each
// change, in order of name, cut into parts below MaxPlain.
func FormatChanges(changes []Change) (parts [][]byte, err error) {
	var part []byte
	for _, c := range changes {
		line, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		if err := c.validate(); err != nil || len(line) >= maxLine {
			return nil, fmt.Errorf("file %q (%d bytes of description): %w", c.Name(), len(line), err)
		}
		if len(part)+len(line)+1 > ChunkSize {
			parts, part = append(parts, part), nil
		}
		part = append(append(part, line...), '\n')
	}
	if part != nil {
		parts = append(parts, part)
	}
	return parts, nil
}

// ParseChanges is the inverse of FormatChanges for one part. It answers ErrFormat.
func ParseChanges(part []byte) (changes []Change, err error) {
	for len(part) > 0 {
		line, rest, ok := bytes.Cut(part, []byte("\n"))
		if !ok || len(line) > maxLine {
			return nil, fmt.Errorf("%w: tree: line cut short", ErrFormat)
		}
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		var c Change
		if err := d.Decode(&c); err != nil || d.More() {
			return nil, fmt.Errorf("%w: tree: %v", ErrFormat, err)
		}
		if err := c.validate(); err != nil {
			return nil, err
		}
		if len(changes) > 0 && c.Name() <= changes[len(changes)-1].Name() {
			return nil, fmt.Errorf("%w: tree: %q out of order", ErrFormat, c.Name())
		}
		changes, part = append(changes, c), rest
	}
	return changes, nil
}

func (c Change) validate() error {
	if (c.Put == nil) == (c.Drop == "") {
		return fmt.Errorf("%w: tree: neither a file nor a dropped one", ErrFormat)
	}
	if err := checkFileName(c.Name()); err != nil || c.Put == nil {
		return err
	}
	left := c.Put.Size
	for i, chunk := range c.Put.Chunks {
		full := chunk.Size == ChunkSize || i == len(c.Put.Chunks)-1
		if len(chunk.ID) != 64 || strings.Trim(chunk.ID, "0123456789abcdef") != "" || chunk.Copy < 0 || chunk.Size < 1 || chunk.Size > ChunkSize || !full {
			return fmt.Errorf("%w: tree: chunk %d of %q", ErrFormat, i, c.Put.Name)
		}
		left -= chunk.Size
	}
	if left != 0 || c.Put.Size < 0 {
		return fmt.Errorf("%w: tree: %q is not as long as its chunks", ErrFormat, c.Put.Name)
	}
	return nil
}

func checkFileName(name string) error {
	bad := name == "" || len(name) > 4096 || !utf8.ValidString(name) || strings.ContainsRune(name, 0)
	for part := range strings.SplitSeq(name, "/") {
		bad = bad || part == "" || part == "." || part == ".."
	}
	if bad {
		return fmt.Errorf("%w: tree: file name %q", ErrFormat, name)
	}
	return nil
}

// FileTree is the whole tree at one snapshot. It is not safe for concurrent use.
type FileTree struct {
	files   map[string]File
	digests map[string]Hash
	bytes   int64
	root    *Hash // nil when it must be computed again
}

// NewFileTree returns an empty tree.
func NewFileTree() *FileTree {
	return &FileTree{files: map[string]File{}, digests: map[string]Hash{}}
}

// Clone returns a copy that changes by itself.
func (t *FileTree) Clone() *FileTree {
	return &FileTree{files: maps.Clone(t.files), digests: maps.Clone(t.digests), bytes: t.bytes, root: t.root}
}

// Apply carries out the changes of one snapshot.
func (t *FileTree) Apply(changes []Change) error { return t.apply(changes, false) }

// ApplyMerged carries out the changes of a stretch of snapshots: one that came
// and went on the way is dropped though it was never there.
func (t *FileTree) ApplyMerged(changes []Change) error { return t.apply(changes, true) }

func (t *FileTree) apply(changes []Change, merged bool) error {
	if len(changes) > 0 {
		t.root = nil
	}
	for _, c := range changes {
		if old, ok := t.files[c.Name()]; ok {
			t.bytes -= old.Size
			delete(t.files, c.Name())
			delete(t.digests, c.Name())
		} else if c.Put == nil && !merged {
			return fmt.Errorf("%w: tree: %q dropped but not there", ErrFormat, c.Drop)
		}
		if err := t.put(c.Put); err != nil {
			return err
		}
	}
	return nil
}

func (t *FileTree) put(f *File) error {
	if f == nil {
		return nil
	}
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	t.files[f.Name], t.digests[f.Name] = *f, sha256.Sum256(line)
	t.bytes += f.Size
	return nil
}

// Get returns a file by name.
func (t *FileTree) Get(name string) (File, bool) {
	f, ok := t.files[name]
	return f, ok
}

// Names lists all files in order.
func (t *FileTree) Names() []string { return slices.Sorted(maps.Keys(t.files)) }

// Count says how many files there are.
func (t *FileTree) Count() int { return len(t.files) }

// Bytes is the sum of the files' sizes.
func (t *FileTree) Bytes() int64 { return t.bytes }

// Root is the checksum of the tree: SHA-256 over the SHA-256 of each file's JSON,
// in order of name.
func (t *FileTree) Root() Hash {
	if t.root == nil {
		root := t.hash()
		t.root = &root
	}
	return *t.root
}

func (t *FileTree) hash() (root Hash) {
	h := sha256.New()
	h.Write([]byte("holdfast/backup/v1/tree\x00"))
	for _, name := range t.Names() {
		d := t.digests[name]
		h.Write(d[:])
	}
	h.Sum(root[:0])
	return root
}
