package store

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

// onDuty are the files that may lift the need for a warrant, and how often each does:
// each shows records to nobody, and asked who may before. Whoever adds one has thought of it.
var onDuty = map[string]int{
	"app/disposal/copies.go":        2, // erases again in copies
	"app/disposal/replay.go":        1, // erases again in what is restored
	"app/recovery/restore.go":       1, // fills another store
	"app/recovery/restore_place.go": 1, // fills this one
	"app/recovery/ship.go":          1, // ships, encrypted
}

// TestWhoIsOnDuty reads the source of the whole module, but for its tests, for uses of
// OnDuty: called, or handed on.
func TestWhoIsOnDuty(t *testing.T) {
	root, found := filepath.Join("..", ".."), map[string]int{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		n, err := usesOfOnDuty(path)
		if file, _ := filepath.Rel(root, path); n > 0 {
			found[filepath.ToSlash(file)] = n
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(found, onDuty) {
		t.Errorf("OnDuty is used %v, and may be %v", found, onDuty)
	}
}

// usesOfOnDuty counts the name in a file, but for where it is declared.
func usesOfOnDuty(path string) (n int, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return 0, err
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.FuncDecl:
			if node.Recv == nil && node.Name.Name == "OnDuty" {
				n--
			}
		case *ast.Ident:
			if node.Name == "OnDuty" {
				n++
			}
		}
		return true
	})
	return n, nil
}
