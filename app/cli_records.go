package app

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

type importResult struct {
	Collection string `json:"collection"`
	Read       int64  `json:"read"`
	Created    int64  `json:"created"`
	Updated    int64  `json:"updated"`
	Failed     int64  `json:"failed"`
	Errors     []struct {
		Line   int    `json:"line"`
		Reason string `json:"reason"`
	} `json:"errors"`
	Inferred []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"inferred"`
}

func (c *cli) importRecords() *cobra.Command {
	var create, strict bool
	var key string
	cmd := &cobra.Command{Use: "import TENANT COLLECTION FILE", Short: "Import records from .csv, .jsonl or .json (- reads JSONL from standard input)", Args: usage(cobra.ExactArgs(3))}
	cmd.Flags().BoolVar(&create, "create", false, "make the collection, its fields inferred from the data")
	cmd.Flags().BoolVar(&strict, "strict", false, "one bad row undoes the whole import")
	cmd.Flags().StringVar(&key, "key", "", "field that names a record: rows with a known value update it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := storePath(args[0])
		if err != nil {
			return err
		}
		format, body, err := c.source(args[2])
		if err != nil {
			return err
		}
		defer body.Close()
		q := url.Values{"format": {format}, "key": {key}, "create": {flag(create)}, "strict": {flag(strict)}}
		path += "/collections/" + url.PathEscape(args[1]) + "/import?" + q.Encode()
		return c.with(cmd.Context(), func(cl *client) error { return c.runImport(cmd.Context(), cl, path, body) })
	}
	return cmd
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return ""
}

// source opens the file to import and tells its format from its name.
func (c *cli) source(name string) (format string, body io.ReadCloser, err error) {
	if name == "-" {
		return "jsonl", io.NopCloser(c.stdin), nil
	}
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".csv", ".jsonl", ".json":
		format = ext[1:]
	case ".ndjson":
		format = "jsonl"
	default:
		return "", nil, fmt.Errorf("%w: %s: the name must end in .csv, .jsonl or .json", errUsage, name)
	}
	f, err := os.Open(name)
	return format, f, err
}

func (c *cli) runImport(ctx context.Context, cl *client, path string, body io.Reader) error {
	resp, err := cl.do(ctx, "POST", path, "application/octet-stream", body)
	if err != nil {
		return err
	}
	var op operationState
	if err := decode(resp, &op); err != nil {
		return err
	}
	var r importResult
	if err := cl.await(ctx, op, c.progress(), &r); err != nil {
		return err
	}
	return c.imported(r)
}

// progress rewrites one line on a terminal; elsewhere it says nothing.
func (c *cli) progress() func(operationState) {
	f, ok := c.stderr.(*os.File)
	if !ok || c.json || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return func(op operationState) {
		p := op.Progress
		fmt.Fprintf(f, "\r\033[K%s %d", op.Kind, p.Done)
		if p.Total > 0 {
			fmt.Fprintf(f, "/%d", p.Total)
		}
		fmt.Fprintf(f, " %s %s", p.Unit, p.Text)
		if op.State != "running" {
			fmt.Fprint(f, "\r\033[K")
		}
	}
}

func (c *cli) imported(r importResult) error {
	if !c.json {
		for _, f := range r.Inferred {
			fmt.Fprintf(c.stderr, "field %s: %s\n", f.Name, f.Type)
		}
		for _, e := range r.Errors {
			fmt.Fprintf(c.stderr, "line %d: %s\n", e.Line, e.Reason)
		}
	}
	return c.object(r, "%s: %s read, %d created, %d updated, %d failed", r.Collection, counted(r.Read, "row"), r.Created, r.Updated, r.Failed)
}

func (c *cli) export() *cobra.Command {
	var out string
	cmd := &cobra.Command{Use: "export TENANT [COLLECTION] -o FILE", Short: "Export records as .jsonl, .csv or .json", Args: usage(cobra.RangeArgs(1, 2))}
	cmd.Flags().StringVarP(&out, "output", "o", "-", "file to write; its ending chooses the format; - is standard output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := exportPath(args, out)
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error { return c.fetch(cmd.Context(), cl, path, out) })
	}
	return cmd
}

// fetch writes what a path answers to a file, or to standard output ("-").
func (c *cli) fetch(ctx context.Context, cl *client, path, out string) error {
	resp, err := cl.do(ctx, "GET", path, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return c.save(resp.Body, out)
}

func exportPath(args []string, out string) (string, error) {
	path, err := storePath(args[0])
	if err != nil {
		return "", err
	}
	if len(args) == 2 {
		path += "/collections/" + url.PathEscape(args[1])
	}
	format := "jsonl"
	if ext := strings.ToLower(filepath.Ext(out)); out != "-" && (ext == ".csv" || ext == ".json") {
		format = ext[1:]
	}
	return path + "/export?format=" + format, nil
}

// save writes a new file beside its name and renames it, so that a broken
// export never stands under the name of a whole one.
func (c *cli) save(body io.Reader, out string) error {
	if out == "-" {
		_, err := io.Copy(c.stdout, body)
		return err
	}
	f, err := os.OpenFile(out+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, body)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("export to %s: %w", out, err)
	}
	if err := os.Rename(f.Name(), out); err != nil {
		return err
	}
	return c.object(map[string]any{"file": out, "bytes": n}, "%s: %s", out, counted(n, "byte"))
}
