package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"holdfast/data"
	"holdfast/data/vault"
)

// exportHead is the first line of an export.
type exportHead struct {
	Format     string   `json:"format"`
	Origin     string   `json:"origin"`
	Size       int64    `json:"size"`
	Checkpoint string   `json:"checkpoint"`
	Keys       []string `json:"verifierKeys"`
}

// exportLine is one entry of an export.
type exportLine struct {
	Index   int64    `json:"index"`
	Leaf    string   `json:"leaf"`
	Opening *Opening `json:"opening,omitempty"`
}

const exportFormat = "holdfast audit export v1"

// maxLine bounds a line of an export that is checked, in bytes.
const maxLine = 1 << 20

// Export writes a whole log as JSON lines: a head with the signed checkpoint,
// then every leaf with the opening of its commitment. CheckExport, or forty
// lines in any language, verify it without the appliance.
func (s *Service) Export(ctx context.Context, log string, w io.Writer) error {
	if err := checkLog(log); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	err := s.config.Vault.View(ctx, func(t *vault.Tx) error { return s.export(ctx, t, log, json.NewEncoder(out)) })
	if err != nil {
		return fmt.Errorf("export audit log %s: %w", log, err)
	}
	return out.Flush()
}

func (s *Service) export(ctx context.Context, t tx, log string, out *json.Encoder) error {
	st, err := loadState(t, log)
	if err != nil {
		return err
	}
	_, keys, err := verifiers(t)
	if err != nil {
		return err
	}
	if err := out.Encode(exportHead{exportFormat, origin(s.name, log), st.Size, st.Checkpoint, keys}); err != nil {
		return err
	}
	for n := int64(0); n < st.Size && ctx.Err() == nil; n++ {
		line, err := s.exportLine(t, log, n)
		if err != nil {
			return err
		}
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *Service) exportLine(t tx, log string, n int64) (exportLine, error) {
	r, _, err := loadRecord(t, log, n)
	if err != nil {
		return exportLine{}, err
	}
	opening, err := s.opening(log, r)
	return exportLine{n, string(r.Leaf), opening}, err
}

// CheckExport verifies an export with a verifier key that was noted elsewhere,
// and hands each entry to fn (which may be nil). It answers the signed tree.
func CheckExport(r io.Reader, vkey string, fn func(Entry) error) (tlog.Tree, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	tree, want, err := checkHead(lines, vkey)
	if err != nil {
		return tree, fmt.Errorf("check audit export: %w", err)
	}
	var e edge
	for lines.Scan() {
		if err := checkLine(lines.Bytes(), &e, want, fn); err != nil {
			return tree, fmt.Errorf("check audit export: entry %d: %w", e.size, err)
		}
	}
	if err := lines.Err(); err != nil {
		return tree, fmt.Errorf("check audit export: %w", err)
	}
	root, err := e.root()
	if err == nil && (e.size != tree.N || tree.N > 0 && root != tree.Hash) {
		err = fmt.Errorf("check audit export: %d entries of root %s, the checkpoint signs %d of %s: %w", e.size, root, tree.N, tree.Hash, data.ErrTampered)
	}
	return tree, err
}

func checkHead(lines *bufio.Scanner, vkey string) (tree tlog.Tree, h exportHead, err error) {
	if !lines.Scan() {
		return tree, h, errors.Join(errors.New("empty"), lines.Err())
	}
	if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
		return tree, h, err
	}
	if h.Format != exportFormat {
		return tree, h, fmt.Errorf("format %q: %w", h.Format, data.ErrNewer)
	}
	if h.Size == 0 && h.Checkpoint == "" {
		return tree, h, nil
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return tree, h, err
	}
	tree, err = openCheckpoint(h.Checkpoint, h.Origin, note.VerifierList(v))
	return tree, h, err
}

func checkLine(text []byte, e *edge, h exportHead, fn func(Entry) error) error {
	var l exportLine
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	if l.Index != e.size {
		return fmt.Errorf("it says it is entry %d", l.Index)
	}
	e.append(tlog.RecordHash([]byte(l.Leaf)))
	entry, err := Proof{Index: l.Index, Leaf: l.Leaf, Opening: l.Opening}.entry()
	if err != nil || fn == nil {
		return err
	}
	return fn(entry)
}
