// Package edge is the appliance's skin: listeners, TLS, which host leads where,
// limits of time and size, security headers, the local socket. It knows no
// rule of any capability; what stands behind a host is handed to it.
package edge

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"holdfast/data"
	"holdfast/data/vault"
)

// Tenants finds the store behind a host name.
type Tenants interface {
	// Resolve gives the store of a tenant's environment by slug.
	// data.ErrNotFound without one, data.ErrParked when it is deleted but
	// within the undelete window.
	Resolve(ctx context.Context, slug, environment string) (data.StoreID, error)
}

// Target is the store that a request is for.
type Target struct {
	Store       data.StoreID
	Slug        string
	Environment string
	// ByPath says that the request came to /t/ on the base host, so that neither
	// cookies nor pages may be given.
	ByPath bool
}

// Handlers stand behind the hosts. A nil one answers 404.
type Handlers struct {
	API     http.Handler // /api/, /healthz, /readyz on the base host; all of the socket
	Console http.Handler // the rest of the base host
	// Tenant serves a store's API; the path begins where the store's does ("/api/...").
	Tenant func(http.ResponseWriter, *http.Request, Target)
	// Studio serves the dashboard of a store on its own host.
	Studio func(http.ResponseWriter, *http.Request, Target)
}

// Config of an Edge.
type Config struct {
	Addr         string   // "127.0.0.1:8090"; with Domains ":443"
	RedirectAddr string   // plain HTTP that leads to HTTPS and answers challenges; with Domains ":80"; "-" for none
	Domains      []string // names of the base host; with one, TLS is on
	InsecureHTTP bool     // allow plain HTTP on an address that others reach
	Socket       string   // path of the local socket; "" for none
	Tenants      Tenants  // required
	Handlers     Handlers
	Certificates *vault.Vault  // where certificates are kept; required with Domains
	ACME         ACME          // used with Domains
	Drain        time.Duration // how long requests may take to end; default 20 s
	Logger       *slog.Logger  // nil: discarded
}

// ACME is the authority that issues certificates.
type ACME struct {
	Directory    string         // URL; default Let's Encrypt
	Email        string         // the account's contact; may be empty
	Roots        *x509.CertPool // whom to trust at Directory; nil: the system's
	ListenHost   string         // where challenges come in; "" for all addresses
	AltHTTPPort  int            // when the router maps port 80 to another
	AltTLSPort   int            // when the router maps port 443 to another
	OnlyTLSALPN  bool           // no challenge over plain HTTP
	SkipPreissue bool           // wait for the first handshake to ask for a certificate
}

// ErrInsecure refuses plain HTTP where others could listen.
var ErrInsecure = errors.New("plain HTTP on an address that other hosts reach: " +
	"give --domain for HTTPS, listen on 127.0.0.1, or say --insecure-http")

func (c *Config) check() error {
	if c.Tenants == nil {
		return errors.New("new edge: tenants are required")
	}
	for i, d := range c.Domains {
		name, ok := hostName(d)
		if !ok || isLocal(name) || strings.Contains(d, ":") {
			return fmt.Errorf("new edge: %q is not a domain name", d)
		}
		c.Domains[i] = name
	}
	c.setDefaults()
	if len(c.Domains) > 0 {
		if c.Certificates == nil {
			return errors.New("new edge: domains need a place for certificates")
		}
		return nil
	}
	if !c.InsecureHTTP && !loopbackAddr(c.Addr) {
		return fmt.Errorf("listen on %s: %w", c.Addr, ErrInsecure)
	}
	return nil
}

func (c *Config) setDefaults() {
	addr, redirect := "127.0.0.1:8090", "-"
	if len(c.Domains) > 0 {
		addr, redirect = ":443", ":80"
	}
	if c.Addr == "" {
		c.Addr = addr
	}
	if c.RedirectAddr == "" {
		c.RedirectAddr = redirect
	}
	if c.Drain == 0 {
		c.Drain = 20 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// loopbackAddr says that only this host reaches the address.
func loopbackAddr(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
