package edge

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"holdfast/backup/objects/gateway"
	"holdfast/data/vault"
)

const pebbleModule = "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1"

// pebbleProgram finds or installs the ACME test server. Where everything has to be
// proven (CI), its absence is a failure.
func pebbleProgram(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("pebble"); err == nil {
		return path
	}
	folder := binFolder(t)
	path := filepath.Join(folder, "pebble")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	install := exec.Command("go", "install", pebbleModule)
	install.Env = append(os.Environ(), "GOBIN="+folder)
	if out, err := install.CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("pebble cannot be installed: %v\n%s", err, out)
		}
		t.Skipf("pebble cannot be installed: %v", err)
	}
	return path
}

func binFolder(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("HOLDFAST_TEST_CACHE")
	if dir == "" {
		cache, err := os.UserCacheDir()
		must(t, err)
		dir = filepath.Join(cache, "holdfast-test")
	}
	return filepath.Join(dir, "bin")
}

// nameServer answers every name with 127.0.0.1, over TCP, which is how pebble asks.
func nameServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			answer.Answer = append(answer.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
			})
		}
		_ = w.WriteMsg(answer)
	})}
	done := make(chan error, 1)
	go func() { done <- s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown(); <-done })
	return l.Addr().String()
}

// selfSigned makes a certificate for 127.0.0.1 and the pool that trusts it.
func selfSigned(t *testing.T, dir string) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble"}, NotAfter: time.Now().Add(time.Hour),
		NotBefore: time.Now().Add(-time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	must(t, os.WriteFile(certFile, certPEM, 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pool
}

func freePort(t *testing.T) int {
	t.Helper()
	return int(netip.MustParseAddrPort(gateway.Address(t)).Port())
}

// pebble is a running ACME server that validates at the given ports.
type pebble struct {
	directory, management string
	pool                  *x509.CertPool // trusts the server itself
	stop                  func()
}

func startPebble(t *testing.T, httpPort, tlsPort int) *pebble {
	t.Helper()
	program, dir := pebbleProgram(t), t.TempDir()
	certFile, keyFile, pool := selfSigned(t, dir)
	listen, management := gateway.Address(t), gateway.Address(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": management, "certificate": certFile, "privateKey": keyFile,
		"httpPort": httpPort, "tlsPort": tlsPort, "retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{"default": map[string]any{"description": "x", "validityPeriod": 7776000}},
	}})
	must(t, err)
	file := filepath.Join(dir, "config.json")
	must(t, os.WriteFile(file, config, 0o600))
	cmd := exec.Command(program, "-config", file, "-dnsserver", nameServer(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	p := &pebble{directory: "https://" + listen + "/dir", management: "https://" + management, pool: pool}
	p.stop = func() { _ = cmd.Process.Kill(); <-exited }
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	p.waitUntilUp(t, exited)
	return p
}

func (p *pebble) client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.pool}, DisableKeepAlives: true}}
}

func (p *pebble) waitUntilUp(t *testing.T, exited <-chan struct{}) {
	t.Helper()
	for {
		if resp, err := p.client().Get(p.directory); err == nil {
			_ = resp.Body.Close()
			return
		}
		select {
		case <-exited:
			t.Fatal("pebble ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// roots trusts what pebble issues.
func (p *pebble) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	resp, err := p.client().Get(p.management + "/roots/0")
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	must(t, err)
	pool := x509.NewCertPool()
	equal(t, "root read", pool.AppendCertsFromPEM(out), true)
	return pool
}

// handshake connects to the edge under a name.
func handshake(ctx context.Context, r *running, name string, roots *x509.CertPool, most uint16) (tls.ConnectionState, error) {
	d := tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: most, NextProtos: []string{"h2", "http/1.1"}}}
	c, err := d.DialContext(ctx, "tcp", r.Addr().String())
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = c.Close() }()
	return c.(*tls.Conn).ConnectionState(), nil
}

func overTLS(r *running, roots *x509.CertPool) *http.Client {
	c := r.client()
	tr := c.Transport.(*http.Transport)
	tr.TLSClientConfig, tr.ForceAttemptHTTP2 = &tls.Config{RootCAs: roots}, true
	return c
}

// TestCertificatesFromAnAuthority runs the whole of TLS against Pebble: the base
// host's certificate before the first visitor, a tenant's on its first visit, none
// for strangers, all of it in the vault, and a restart that needs no authority.
func TestCertificatesFromAnAuthority(t *testing.T) {
	const domain = "data.example.test"
	httpPort, tlsPort := freePort(t), freePort(t)
	p := startPebble(t, httpPort, tlsPort)
	folder, key := t.TempDir()+"/vault", newTestKey()
	v, err := vault.Open(folder, key)
	must(t, err)
	t.Cleanup(func() { _ = v.Close() })
	config := Config{
		Addr: fmt.Sprintf("127.0.0.1:%d", tlsPort), RedirectAddr: fmt.Sprintf("127.0.0.1:%d", httpPort),
		Domains: []string{domain}, Certificates: v.Sub("certificates/"), Handlers: handlers(),
		ACME: ACME{Directory: p.directory, Roots: p.pool, ListenHost: "127.0.0.1", AltTLSPort: tlsPort, AltHTTPPort: httpPort},
	}
	r := start(t, config)
	roots := p.roots(t)
	ctx, cancel := context.WithTimeout(bg, 3*time.Minute)
	defer cancel()

	for _, name := range []string{domain, "acme." + domain, "acme--test--studio." + domain} {
		state, err := handshake(ctx, r, name, roots, 0)
		must(t, err)
		equal(t, name+" version", state.Version, tls.VersionTLS13)
		equal(t, name+" protocol", state.NegotiatedProtocol, "h2")
	}
	for _, name := range []string{"nobody." + domain, "evil.example", "a.b." + domain} {
		if _, err := handshake(ctx, r, name, roots, 0); err == nil {
			t.Errorf("%s got a certificate", name)
		}
	}
	_, err = handshake(ctx, r, domain, roots, tls.VersionTLS12)
	must(t, err)
	if _, err = handshake(ctx, r, domain, roots, tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	servesOverTLS(t, r, roots, domain)
	redirects(t, r, httpPort, tlsPort, domain)
	must(t, r.stop())
	p.stop()
	noKeyInClear(t, folder)

	again := start(t, config)
	_, err = handshake(ctx, again, "acme."+domain, roots, 0)
	must(t, err)
}

func servesOverTLS(t *testing.T, r *running, roots *x509.CertPool, domain string) {
	t.Helper()
	for url, want := range map[string]string{
		"https://" + domain + "/": "console system /", "https://acme." + domain + "/api/x": "tenant t-acme/prod /api/x",
	} {
		resp, err := overTLS(r, roots).Get(url)
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		_ = resp.Body.Close()
		equal(t, url, string(body), want)
		equal(t, url+" protocol", resp.ProtoMajor, 2)
		equal(t, url+" HSTS", resp.Header.Get("Strict-Transport-Security"), "max-age=31536000")
	}
}

func redirects(t *testing.T, r *running, httpPort, tlsPort int, domain string) {
	t.Helper()
	plain := &http.Client{CheckRedirect: r.client().CheckRedirect, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, c := range []struct {
		method, host, location string
		status                 int
	}{
		{"GET", domain, fmt.Sprintf("https://%s:%d/x?y=1", domain, tlsPort), 308},
		{"GET", "acme." + domain, fmt.Sprintf("https://acme.%s:%d/x?y=1", domain, tlsPort), 308},
		{"POST", domain, "", 403},
		{"GET", "evil.example", "", 421},
	} {
		req, err := http.NewRequest(c.method, fmt.Sprintf("http://127.0.0.1:%d/x?y=1", httpPort), nil)
		must(t, err)
		req.Host = c.host
		resp, err := plain.Do(req)
		must(t, err)
		_ = resp.Body.Close()
		equal(t, c.method+" "+c.host, resp.StatusCode, c.status)
		equal(t, c.method+" "+c.host, resp.Header.Get("Location"), c.location)
	}
}

// noKeyInClear reads every byte of the vault's folder.
func noKeyInClear(t *testing.T, folder string) {
	t.Helper()
	files := 0
	must(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), "PRIVATE KEY") || strings.Contains(string(content), "example.test") {
			t.Errorf("%s holds certificates in clear", path)
		}
		return err
	}))
	if files == 0 {
		t.Error("nothing was read")
	}
}
