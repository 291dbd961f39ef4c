package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app/audit"
)

func (c *cli) auditCheckpoint() *cobra.Command {
	var out string
	cmd := &cobra.Command{Use: "checkpoint [-o FILE]", Short: "Print the signed head of a log: keep it elsewhere, for audit prove --since", Args: usage(cobra.NoArgs)}
	cmd.Flags().StringVarP(&out, "output", "o", "-", "file to write it to; - is standard output")
	return c.onLog(cmd, func(ctx context.Context, cl *client, path string, _ []string) error {
		var head audit.Checkpoint
		if err := cl.call(ctx, "GET", path+"/checkpoint", nil, &head); err != nil {
			return err
		}
		if head.Checkpoint == "" {
			return errors.New("the log is empty: nothing of it is signed yet")
		}
		if out == "-" {
			return c.object(head, "%s", strings.TrimSuffix(head.Checkpoint, "\n"))
		}
		if err := writeFiles(map[string]string{out: head.Checkpoint}); err != nil {
			return err
		}
		key := head.SignedWith()
		return c.object(map[string]any{"file": out, "size": head.Size, "verifier_key": key},
			"the checkpoint of %s is in %s; it is signed with the key\n%s", counted(head.Size, "entry"), out, key)
	})
}

func (c *cli) auditProve() *cobra.Command {
	var out, since string
	cmd := &cobra.Command{Use: "prove INDEX|--since CHECKPOINT", Short: "Prove that an entry is in a log, or that nothing before a kept checkpoint was changed",
		Long: "Writes a proof as JSON. INDEX is the number that audit list shows. CHECKPOINT is a file that audit checkpoint -o wrote.\n" +
			"Anybody checks it with: holdfast audit verify FILE --key KEY", Args: usage(cobra.MaximumNArgs(1))}
	cmd.Flags().StringVarP(&out, "output", "o", "-", "file to write; - is standard output")
	cmd.Flags().StringVar(&since, "since", "", "file with the checkpoint that you kept")
	return c.onLog(cmd, func(ctx context.Context, cl *client, path string, args []string) error {
		suffix, err := proofSuffix(args, since)
		if err != nil {
			return err
		}
		return c.fetch(ctx, cl, path+suffix, out)
	})
}

// proofSuffix is what is asked of a log.
func proofSuffix(args []string, since string) (string, error) {
	if (len(args) == 1) == (since != "") {
		return "", fmt.Errorf("%w: name the INDEX of an entry, or a checkpoint with --since", errUsage)
	}
	if since != "" {
		size, err := checkpointSize(since)
		return fmt.Sprintf("/consistency?from=%d", size), err
	}
	index, err := strconv.ParseUint(args[0], 10, 63)
	if err != nil {
		return "", fmt.Errorf("%w: INDEX is a number that audit list shows, not %q", errUsage, args[0])
	}
	return fmt.Sprintf("/entries/%d/proof", index), nil
}

// checkpointSize reads how many entries a kept checkpoint has, its second line.
func checkpointSize(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	lines := strings.SplitN(string(b), "\n", 3)
	if len(lines) == 3 {
		if size, err := strconv.ParseInt(lines[1], 10, 64); err == nil {
			return size, nil
		}
	}
	return 0, fmt.Errorf("%w: %s is no checkpoint; audit checkpoint -o writes one", errUsage, file)
}

func (c *cli) auditExport() *cobra.Command {
	var out string
	cmd := &cobra.Command{Use: "export -o FILE", Short: "Write a whole log as JSON lines, with what checks it", Args: usage(cobra.NoArgs),
		Long: "Writes the signed checkpoint and every entry, a line each.\nAnybody checks it with: holdfast audit verify FILE --key KEY"}
	cmd.Flags().StringVarP(&out, "output", "o", "-", "file to write; - is standard output")
	return c.onLog(cmd, func(ctx context.Context, cl *client, path string, _ []string) error {
		return c.fetch(ctx, cl, path+"/export", out)
	})
}

// verifyAuditFile checks an export or a proof with a key that was noted elsewhere.
func (c *cli) verifyAuditFile(file, key, since string) error {
	if key == "" {
		return fmt.Errorf("%w: name the verifier key with --key", errUsage)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var kind struct {
		Format string  `json:"format"`
		Leaf   *string `json:"leaf"`
		From   *int64  `json:"from"`
	}
	_ = json.NewDecoder(f).Decode(&kind) // what it is not, is said below
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	switch {
	case kind.Format != "":
		return c.verifyExport(f, key)
	case kind.Leaf != nil:
		return c.verifyEntry(f, key)
	case kind.From != nil:
		return c.verifySince(f, key, since)
	}
	return fmt.Errorf("%w: %s is neither an export nor a proof of an audit log", errUsage, file)
}

func (c *cli) verifyExport(in io.Reader, key string) error {
	tree, err := audit.CheckExport(in, key, nil)
	if err != nil {
		return err
	}
	return c.object(map[string]any{"ok": true, "size": tree.N, "root": tree.Hash.String()}, "ok: %s, root %s", counted(tree.N, "entry"), tree.Hash)
}

func (c *cli) verifyEntry(in io.Reader, key string) error {
	var p audit.Proof
	if err := json.NewDecoder(in).Decode(&p); err != nil {
		return fmt.Errorf("read the proof: %w", err)
	}
	e, err := p.Check(key)
	if err != nil {
		return err
	}
	return c.object(map[string]any{"ok": true, "origin": p.Origin, "entry": e},
		"ok: entry %d of %s: %s %s %s %s %s", e.Index, p.Origin, e.Time.Format("2006-01-02T15:04:05Z"), e.Actor, e.Action, e.Target, e.Outcome)
}

func (c *cli) verifySince(in io.Reader, key, since string) error {
	if since == "" {
		return fmt.Errorf("%w: name the checkpoint that you kept with --since", errUsage)
	}
	before, err := os.ReadFile(since)
	if err != nil {
		return err
	}
	var p audit.Consistency
	if err := json.NewDecoder(in).Decode(&p); err != nil {
		return fmt.Errorf("read the proof: %w", err)
	}
	if err := p.Check(key, string(before)); err != nil {
		return err
	}
	return c.object(map[string]any{"ok": true, "origin": p.Origin, "from": p.From}, "ok: the first %s of %s are as they were", counted(p.From, "entry"), p.Origin)
}
