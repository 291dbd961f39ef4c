package app_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// axe is the checker of accessibility that browsers' tests run on what they look at.
var axe = &script{}

// script is a file of a package of npm, read when the first test asks.
type script struct {
	once sync.Once
	text string
}

// get gives the text; none on a machine without npm, but where all has to be proven.
func (s *script) get(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil && os.Getenv("CI") == "" {
		return ""
	}
	s.once.Do(func() {
		dir := installed(t, "axe", "package.json", "axe-core")
		text, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
		if err != nil {
			t.Fatal(err)
		}
		s.text = string(text)
	})
	return s.text
}

// fault is what axe found wrong, and where.
type fault struct {
	ID    string
	Help  string
	Nodes []struct{ HTML, FailureSummary string }
}

// accessible fails the test for what of WCAG 2.2 AA, as far as a machine can tell, the page
// does not hold: all of it in the theme that it is in, the contrast in the other theme too.
// What has a name is looked at once.
func (b *browser) accessible(name, theme string) {
	b.t.Helper()
	source := axe.get(b.t)
	if source == "" || b.checked[name] {
		return
	}
	if b.checked == nil {
		b.checked = map[string]bool{}
	}
	b.checked[name] = true
	if !evaluate[bool](b, `typeof window.axe === 'object'`) {
		evaluate[bool](b, source+"\n;true")
	}
	b.faults(name+" ("+theme+")", `{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']}`)
	other := map[string]string{"light": "dark", "dark": "light"}[theme]
	b.themed(other)
	b.faults(name+" ("+other+")", `{runOnly: {type: 'rule', values: ['color-contrast']}}`)
	b.themed(theme)
}

func (b *browser) faults(where, options string) {
	b.t.Helper()
	found := evaluate[string](b, `axe.run(document, Object.assign({resultTypes: ['violations'], preload: false, elementRef: false}, `+options+`))
		.then(r => JSON.stringify(r.violations.map(v => ({id: v.id, help: v.help, nodes: v.nodes.map(n => ({html: n.html, failureSummary: n.failureSummary}))}))))`)
	var all []fault
	if err := json.Unmarshal([]byte(found), &all); err != nil {
		b.t.Fatalf("axe: %v in %.300s", err, found)
	}
	for _, f := range all {
		for _, n := range f.Nodes {
			b.t.Errorf("%s: %s (%s)\n%.300s\n%s", where, f.Help, f.ID, n.HTML, strings.TrimSpace(n.FailureSummary))
		}
	}
}

// themed shows the page light or dark, and waits until its colours rest.
func (b *browser) themed(theme string) {
	b.t.Helper()
	b.run(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
		return err
	}))
	b.until("stillness", `return document.getAnimations().every(a => a.playState !== 'running')`)
}
