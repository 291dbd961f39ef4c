package identity

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// chromium starts a headless browser with a fresh profile. Without the program the
// test is skipped, but not where everything has to be proven.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("chromium is not installed")
		}
		t.Skip("chromium is not installed")
	}
	ctx, stop := chromedp.NewExecAllocator(bg, chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.WSURLReadTimeout(2*time.Minute)) // where everything runs at once, it starts slowly
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancelTime := context.WithTimeout(ctx, 10*time.Minute)
	t.Cleanup(cancelTime)
	return ctx
}

// TestBrowserTakesTheCookieOnLoopback shows in Chromium what the cookie's name
// promises: it works over plain HTTP on this host's own names, scripts cannot read
// it, it does not go to a tenant's host, and a tenant's page can neither use nor
// forge it.
func TestBrowserTakesTheCookieOnLoopback(t *testing.T) {
	ctx := chromium(t)
	h := newHouse(t)
	h.owner("ada@example.com")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	mux := http.NewServeMux()
	mux.Handle("/api/", h.router)
	mux.HandleFunc("/cookies", func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Header.Get("Cookie")) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>x</title>"))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	port := l.Addr().(*net.TCPAddr).Port

	on := func(host, script string) string {
		t.Helper()
		_, err := chromedp.Run(ctx, chromedp.Navigate(fmt.Sprintf("http://%s:%d/", host, port)))
		must(t, err)
		result, err := chromedp.Run(ctx, chromedp.Evaluate[string]("(async () => { "+script+" })()", chromedp.EvalAwaitPromise))
		must(t, err)
		return result
	}
	signIn := `const r = await fetch('/api/v1/session', {method: 'POST', headers: {'Content-Type': 'application/json'},
		body: JSON.stringify({email: 'ada@example.com', password: '` + goodPassword + `'})}); `
	for _, host := range []string{"127.0.0.1", "localhost"} {
		equal(t, host+" before", on(host, `return String((await fetch('/api/v1/session')).status)`), "401")
		equal(t, host+" signs in", on(host, signIn+`return r.status + ' ' + (await fetch('/api/v1/session')).status`), "201 200")
		equal(t, host+" after a new page", on(host, `return String((await fetch('/api/v1/session')).status)`), "200")
		equal(t, host+" script reads", on(host, `return document.cookie`), "")
	}
	const tenant = "acme.localhost"
	equal(t, "cookies that a tenant's host gets", on(tenant, `return await (await fetch('/cookies')).text()`), "")
	base := fmt.Sprintf("http://localhost:%d", port)
	equal(t, "a tenant's page asks", on(tenant, `try { const r = await fetch('`+base+`/api/v1/session', {credentials: 'include'});
		return 'read ' + r.status } catch (e) { return 'refused' }`), "refused")
	equal(t, "a tenant's page posts", on(tenant, `try { await fetch('`+base+`/api/v1/operators', {method: 'POST', mode: 'no-cors', credentials: 'include',
		headers: {'Content-Type': 'text/plain'}, body: JSON.stringify({email: 'eve@example.com', name: 'Eve', password: '`+goodPassword+`'})}); return 'answered' } catch (e) { return 'refused' }`), "refused")
	if _, err := h.personByEmail(bg, "eve@example.com"); err == nil {
		t.Fatal("a tenant's page made an operator")
	}
	equal(t, "a tenant's page plants", on(tenant, `document.cookie = '__Host-holdfast=evil; Secure; Path=/; Domain=localhost';
		return document.cookie`), "")
	equal(t, "still signed in", on("localhost", `return String((await fetch('/api/v1/session')).status)`), "200")
}
