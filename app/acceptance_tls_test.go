package app_test

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
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/backup/objects/gateway"
)

// TestHTTPS serves a domain with certificates from Pebble, which here believes
// every challenge; app/edge proves the challenges themselves. The certificates
// outlive a restart without the authority, and their keys lie nowhere in clear.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	sequential(t)
	p := startPebble(t)
	s := newServer(t)
	s.args = []string{"--domain", "holdfast.test", "--redirect-addr", gateway.Address(t), "--acme", p.directory, "--acme-roots", p.rootFile}
	s.launch()
	base, tenant := p.visitor(t, s), p.visitor(t, s)
	base.base, tenant.base = "https://holdfast.test:"+s.port(), "https://acme.holdfast.test:"+s.port()
	base.awaitCertificate(t)
	s.must("tenant", "create", "acme")
	s.fill("acme", 3)
	tenant.key = s.newKey("acme", "read")

	if r := base.want(200, "GET", "/", nil); !strings.Contains(r.header.Get("Strict-Transport-Security"), "max-age=") {
		t.Errorf("no HSTS: %v", r.header)
	}
	tenant.awaitCertificate(t)
	if n := get[page](tenant, records("items")).TotalItems; n != 3 {
		t.Errorf("%d records over HTTPS, want 3", n)
	}
	s.stop()
	for _, file := range regularFiles(t, s.data()) {
		if b, err := os.ReadFile(file); err != nil || bytes.Contains(b, []byte("PRIVATE KEY")) {
			t.Errorf("%s holds a private key in clear (%v)", file, err)
		}
	}
	p.stop()
	s.launch()
	base.awaitCertificate(t)
	base.want(200, "GET", "/api/v1/status", nil)
}

// pebble is a running ACME server.
type pebble struct {
	directory, management string
	rootFile              string // trusts the server's own TLS
	roots                 *x509.CertPool
	stop                  func()
}

func startPebble(t *testing.T) *pebble {
	t.Helper()
	bin := program(t, "pebble", "go install github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1")
	dir, listen, management := t.TempDir(), gateway.Address(t), gateway.Address(t)
	cert, key := selfSigned(t, dir)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": management, "certificate": cert, "privateKey": key,
		"httpPort": 1, "tlsPort": 1, "profiles": map[string]any{"default": map[string]any{"description": "x", "validityPeriod": 7776000}}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := tied(exec.Command(bin, "-config", file))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_VA_ALWAYS_VALID=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &pebble{directory: "https://" + listen + "/dir", management: "https://" + management, rootFile: cert}
	p.stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(p.stop)
	awaitPort(t, listen)
	awaitPort(t, management)
	p.roots = p.issuedRoots(t)
	return p
}

// issuedRoots trust what pebble issues.
func (p *pebble) issuedRoots(t *testing.T) *x509.CertPool {
	t.Helper()
	own, err := os.ReadFile(p.rootFile)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: poolOf(own)}, DisableKeepAlives: true}}
	resp, err := client.Get(p.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	issued, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return poolOf(issued)
}

func poolOf(certificates []byte) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificates)
	return pool
}

// visitor trusts what pebble issues and finds every name at the server.
func (p *pebble) visitor(t *testing.T, s *server) *rest {
	c := newREST(t, "", "")
	c.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.roots}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.addr)
		}}
	return c
}

// awaitCertificate waits until the host answers over HTTPS at all.
func (c *rest) awaitCertificate(t *testing.T) {
	t.Helper()
	var last error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, last = c.send("GET", "/api/health", nil); last == nil {
			return
		}
	}
	t.Fatalf("no answer over HTTPS: %v", last)
}

func selfSigned(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
