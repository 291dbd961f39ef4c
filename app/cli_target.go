package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

type targetRow struct {
	Name         string `json:"name"`
	URL          string `json:"url"`
	Created      string `json:"created,omitempty"`
	Region       string `json:"region"`
	Place        string `json:"place"`
	StorageClass string `json:"storage_class,omitempty"`
	Health       string `json:"health"`
	Why          string `json:"why,omitempty"`
	Tried        string `json:"tried,omitempty"`
}

func (c *cli) target() *cobra.Command {
	return group("target", "Targets: where snapshots are shipped to", c.targetAdd(), c.targetList(), c.targetTest(), c.targetSet(), c.targetRemove())
}

// where is what is said of a target beside its URL.
type where struct{ region, place, class string }

func (w *where) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.region, "region", "", "where it lies, as policies name it; that of the URL where it is not given")
	f.StringVar(&w.place, "place", "", "targets in one place are lost together; the host of the URL where it is not given")
	f.StringVar(&w.class, "storage-class", "", "of S3, as STANDARD_IA")
}

func (w where) into(body map[string]string) {
	for name, value := range map[string]string{"region": w.region, "place": w.place, "storage_class": w.class} {
		if value != "" {
			body[name] = value
		}
	}
}

func (c *cli) targetAdd() *cobra.Command {
	var stdin bool
	var w where
	cmd := &cobra.Command{Use: "add NAME URL", Short: "Add s3://bucket/prefix?endpoint=URL&region=R or file:///dir",
		Long: "Adds a target; a running server ships every store to it from then on. For S3 the credentials come from\nAWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from standard input (two lines: access key, secret key)\nwith --credentials-stdin.", Args: usage(cobra.ExactArgs(2))}
	cmd.Flags().BoolVar(&stdin, "credentials-stdin", false, "read access key and secret key from standard input, a line each")
	w.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		access, secret, err := c.credentials(stdin)
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var t targetRow
			body := map[string]string{"name": args[0], "url": args[1], "accessKey": access, "secretKey": secret}
			w.into(body)
			if err := cl.call(cmd.Context(), "POST", "/api/v1/targets", body, &t); err != nil {
				return err
			}
			return c.object(t, "target %s added: %s", t.Name, t.URL)
		})
	}
	return cmd
}

func (c *cli) credentials(stdin bool) (access, secret string, err error) {
	if !stdin {
		return os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), nil
	}
	s, err := c.secret()
	if err != nil {
		return "", "", err
	}
	access, secret, ok := strings.Cut(s, "\n")
	if !ok {
		return "", "", fmt.Errorf("%w: want two lines: access key, secret key", errUsage)
	}
	return strings.TrimSpace(access), strings.TrimSpace(secret), nil
}

func (c *cli) targetSet() *cobra.Command {
	var stdin bool
	var w where
	cmd := &cobra.Command{Use: "set NAME", Short: "Say where a target is, or give it new credentials", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().BoolVar(&stdin, "credentials-stdin", false, "read a new access key and secret key from standard input, a line each")
	w.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body := map[string]string{}
		w.into(body)
		if stdin {
			access, secret, err := c.credentials(true)
			if err != nil {
				return err
			}
			body["accessKey"], body["secretKey"] = access, secret
		}
		return c.with(cmd.Context(), func(cl *client) error {
			var t targetRow
			if err := cl.call(cmd.Context(), "PATCH", "/api/v1/targets/"+url.PathEscape(args[0]), body, &t); err != nil {
				return err
			}
			return c.object(t, "target %s: region %q, place %q", t.Name, t.Region, t.Place)
		})
	}
	return cmd
}

func (c *cli) targetList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List targets", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[targetRow](cmd.Context(), cl, "/api/v1/targets")
			if err != nil {
				return err
			}
			return table(c, items, "NAME HEALTH REGION PLACE URL", func(t targetRow) []any { return []any{t.Name, t.Health, t.Region, t.Place, t.URL} })
		})
	}}
}

func (c *cli) targetTest() *cobra.Command {
	return c.targetCall("test NAME", "Write, read, list and delete a probe object; find out whether conditional writes hold", "POST", "/test", "target %s works")
}

func (c *cli) targetRemove() *cobra.Command {
	return c.targetCall("remove NAME", "Forget a target; what it holds stays there", "DELETE", "", "target %s removed")
}

func (c *cli) targetCall(use, short, method, suffix, sentence string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: usage(cobra.ExactArgs(1)), RunE: func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			if err := cl.call(cmd.Context(), method, "/api/v1/targets/"+url.PathEscape(args[0])+suffix, nil, nil); err != nil {
				return err
			}
			return c.object(map[string]any{"name": args[0], "ok": true}, sentence, args[0])
		})
	}}
}

type overviewRow struct {
	Store   string  `json:"store"`
	Slug    string  `json:"slug,omitempty"`
	State   string  `json:"state"`
	Why     string  `json:"why,omitempty"`
	Lag     float64 `json:"lag_seconds"`
	Newest  string  `json:"newest,omitempty"`
	Targets int     `json:"targets"`
	Places  int     `json:"places"`
	Bytes   int64   `json:"bytes"`
	Files   int64   `json:"files"`
	Lanes   any     `json:"lanes"`
	Drill   any     `json:"drill,omitempty"`
}

func (c *cli) snapshotOverview() *cobra.Command {
	return &cobra.Command{Use: "overview", Short: "Show how every store is kept, worst first", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.with(cmd.Context(), func(cl *client) error {
			items, err := all[overviewRow](cmd.Context(), cl, "/api/v1/snapshots/overview")
			if err != nil {
				return err
			}
			return table(c, items, "STORE SLUG STATE LAG NEWEST TARGETS PLACES WHY", func(o overviewRow) []any {
				return []any{o.Store, o.Slug, o.State, fmt.Sprintf("%.1f s", o.Lag), o.Newest, o.Targets, o.Places, o.Why}
			})
		})
	}}
}

func (c *cli) snapshotPolicy() *cobra.Command {
	var stdin bool
	cmd := &cobra.Command{Use: "policy TENANT", Short: "Show how a tenant's snapshots are made and kept, or replace that",
		Long: "Shows the policy as JSON. With --stdin the policy that standard input holds, as JSON, replaces it;\nfields that are not given have their defaults.", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().BoolVar(&stdin, "stdin", false, "read the new policy from standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := storePath(args[0])
		if err != nil {
			return err
		}
		return c.with(cmd.Context(), func(cl *client) error { return c.policy(cmd.Context(), cl, path+"/snapshots/policy", stdin) })
	}
	return cmd
}

// policy prints the policy, or replaces it first.
func (c *cli) policy(ctx context.Context, cl *client, path string, replace bool) error {
	method, policy := "GET", map[string]any{}
	var body any
	if replace {
		method = "PUT"
		if err := json.NewDecoder(io.LimitReader(c.stdin, 1<<20)).Decode(&policy); err != nil {
			return fmt.Errorf("%w: standard input is no JSON object: %v", errUsage, err)
		}
		body = policy
	}
	var now map[string]any
	if err := cl.call(ctx, method, path, body, &now); err != nil {
		return err
	}
	enc := json.NewEncoder(c.stdout)
	if !c.json {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(now)
}

func (c *cli) snapshotPrune() *cobra.Command {
	var target string
	cmd := &cobra.Command{Use: "prune TENANT", Short: "Delete what the retention no longer keeps, up to what a drill restored", Args: usage(cobra.ExactArgs(1))}
	cmd.Flags().StringVar(&target, "target", "", "only this target; all where it is not given")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return storeOperation(cmd.Context(), c, args[0], "/snapshots/prune", map[string]string{"target": target}, func(p prunedResult) error {
			return table(c, p.Targets, "TARGET VERIFIED UNTIL KEPT DROPPED CONDEMNED DUE DELETED LOCKED", func(t prunedRow) []any {
				return []any{t.Target, t.Verified, t.Until, t.Kept, t.Dropped, t.Condemned, t.Due, t.Swept, t.Locked}
			})
		})
	}
	return cmd
}

type prunedResult struct {
	Targets []prunedRow `json:"targets"`
}

type prunedRow struct {
	Target    string `json:"target"`
	Verified  int64  `json:"verified"`
	Until     int64  `json:"until"`
	Kept      int    `json:"kept"`
	Dropped   int    `json:"dropped"`
	Condemned int    `json:"condemned"`
	Due       string `json:"due,omitempty"`
	Swept     int    `json:"swept"`
	Rescued   int    `json:"rescued"`
	Locked    int    `json:"locked"`
}
