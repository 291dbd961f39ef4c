package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// browser is one tab of a real Chromium. Whatever its console complains of, a
// violated policy above all, fails the test.
type browser struct {
	t   *testing.T
	ctx context.Context

	checked map[string]bool // what accessible has looked at

	mu       sync.Mutex
	troubles []string
}

// reportViolations makes each violation of the content security policy a message
// of the console, which complain hears.
const reportViolations = `document.addEventListener('securitypolicyviolation',
	e => console.error('policy: ' + e.violatedDirective + ' blocked ' + e.blockedURI + ' at ' + e.sourceFile + ':' + e.lineNumber));`

func startBrowser(t *testing.T) *browser {
	t.Helper()
	holdfast(t) // built before the browser's time begins
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program(t, "chromium", "apt-get install chromium")),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("no-sandbox", os.Geteuid() == 0), // it refuses to run as root with one
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WSURLReadTimeout(2*time.Minute), // where everything runs at once, it starts slowly
		chromedp.WindowSize(1440, 900))
	ctx, end := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(end)
	ctx, end = chromedp.NewContext(ctx)
	t.Cleanup(end)
	ctx, end = context.WithTimeout(ctx, 20*time.Minute)
	t.Cleanup(end)
	b := &browser{t: t, ctx: ctx}
	messages := chromedp.Console(ctx)
	go b.listen(messages)
	b.run(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: reportViolations})
		return err
	}))
	return b
}

func (b *browser) listen(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	for m, err := range messages {
		if err != nil {
			return // the browser has gone
		}
		serious := m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleWarning || m.Type == chromedp.ConsoleException
		if serious && m.Source != "network" { // a refused request is not the page's fault
			b.complain(string(m.Type) + ": " + m.Text)
		}
	}
}

func (b *browser) complain(trouble string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.troubles = append(b.troubles, trouble)
}

// quiet fails the test for all that the console complained of so far.
func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, trouble := range b.troubles {
		b.t.Error(trouble)
	}
	b.troubles = nil
}

func (b *browser) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatalf("browser: %v", err)
	}
}

func (b *browser) open(url string) {
	b.t.Helper()
	b.run(chromedp.Navigate(url))
}

// inPage is what the steps below share: what can be seen, and in the dialog that
// is on top, where there is one.
const inPage = `
	const top = [...document.querySelectorAll('dialog[open]')].pop() || document;
	const seen = e => e.checkVisibility() && !e.disabled;
	const all = selector => [...top.querySelectorAll(selector)].filter(seen);
	const text = e => (e.innerText || e.getAttribute('aria-label') || '').trim();
`

// until runs a script until it gives true.
func (b *browser) until(what, script string, args ...any) {
	b.t.Helper()
	for i, a := range args {
		quoted, _ := json.Marshal(a)
		script = strings.ReplaceAll(script, fmt.Sprintf("$%d", i+1), string(quoted))
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(25 * time.Millisecond) {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("(() => {"+inPage+script+"})()"))
		if ok {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("waited in vain: %s (%v); the page says:\n%s", what, err, b.text())
		}
	}
}

// text is what the page says.
func (b *browser) text() (text string) {
	b.t.Helper()
	text, _ = chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	return text
}

// sees waits until the words are on the page.
func (b *browser) sees(words string) {
	b.t.Helper()
	b.until("see "+words, `return (top.body || top).innerText.includes($1)`, words)
}

// click presses the button or link that says exactly this.
func (b *browser) click(words string) {
	b.t.Helper()
	b.until("click "+words, `const e = all('button, a, summary, [role=tab], [role=menuitem]').find(e => text(e) === $1); if (e) e.click(); return !!e`, words)
}

// submit presses the form's button that says exactly this.
func (b *browser) submit(words string) {
	b.t.Helper()
	b.until("submit "+words, `const e = all('button[type=submit]').find(e => text(e) === $1); if (e) e.click(); return !!e`, words)
}

// fill types a value into the field of this name.
func (b *browser) fill(name, value string) {
	b.t.Helper()
	b.until("fill "+name, `const e = all('[name=' + $1 + ']').find(e => e.type !== 'radio');
		if (!e) return false;
		Object.getOwnPropertyDescriptor(Object.getPrototypeOf(e), 'value').set.call(e, $2);
		if (e.tagName === 'SELECT' && e.value !== $2) return false; // its options are not there yet
		e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true}));
		return true`, name, value)
}

// choose marks the radio button or check box with this value.
func (b *browser) choose(value string) {
	b.t.Helper()
	b.until("choose "+value, `const e = [...top.querySelectorAll('input[type=radio], input[type=checkbox]')].find(e => e.value === $1); if (e) e.click(); return !!e`, value)
}

// attach hands a file to the page's file field.
func (b *browser) attach(path string) {
	b.t.Helper()
	b.until("a file field", `return !!document.querySelector('input[type=file]')`)
	b.run(chromedp.SetUploadFiles(`input[type=file]`, []string{path}))
}

// evaluate runs a script, waits for its promise and gives its value.
func evaluate[T any](b *browser, script string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("browser: %v", err)
	}
	return v
}
