package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"holdfast/data"
)

// certificates gets and renews them. Those of the domains are asked for at once
// and renewed by the clock, those of stores when a handshake needs them.
type certificates struct {
	cache    *certmagic.Cache
	domains  *certmagic.Config
	onDemand *certmagic.Config
	issuer   *certmagic.ACMEIssuer
}

// newCertificates keeps everything in the vault. A name that no store or
// domain has never leads to the authority: whoever may decides by allow.
func newCertificates(c Config, allow func(ctx context.Context, name string) error) (*certificates, error) {
	out := &certificates{}
	logger := zap.NewNop() // its lines would repeat ours; failures come back as events
	out.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(cert certmagic.Certificate) (*certmagic.Config, error) { return out.configFor(c, cert), nil },
		Logger:           logger,
	})
	template := certmagic.Config{Storage: newStorage(c.Certificates), Logger: logger, OnEvent: c.logEvent}
	out.domains = certmagic.New(out.cache, template)
	template.OnDemand = &certmagic.OnDemandConfig{DecisionFunc: allow}
	out.onDemand = certmagic.New(out.cache, template)
	out.issuer = certmagic.NewACMEIssuer(out.onDemand, c.ACME.template(logger))
	out.onDemand.Issuers = []certmagic.Issuer{out.issuer}
	out.domains.Issuers = []certmagic.Issuer{out.issuer}
	return out, nil
}

func (c *certificates) configFor(config Config, cert certmagic.Certificate) *certmagic.Config {
	for _, name := range cert.Names {
		if slices.Contains(config.Domains, name) {
			return c.domains
		}
	}
	return c.onDemand
}

func (a ACME) template(logger *zap.Logger) certmagic.ACMEIssuer {
	directory := a.Directory
	if directory == "" {
		directory = certmagic.LetsEncryptProductionCA
	}
	return certmagic.ACMEIssuer{
		CA: directory, Email: a.Email, Agreed: true, TrustedRoots: a.Roots, ListenHost: a.ListenHost,
		AltHTTPPort: a.AltHTTPPort, AltTLSALPNPort: a.AltTLSPort, DisableHTTPChallenge: a.OnlyTLSALPN, Logger: logger,
	}
}

// logEvent tells the log of what happened to certificates.
func (c Config) logEvent(ctx context.Context, event string, details map[string]any) error {
	switch event {
	case "cert_obtained":
		c.Logger.InfoContext(ctx, "a certificate was issued", "host", details["identifier"], "renewal", details["renewal"])
	case "cert_failed":
		c.Logger.ErrorContext(ctx, "no certificate could be had", "host", details["identifier"], "error", details["error"])
	}
	return nil
}

// config is TLS 1.2 and later, with HTTP/2 and ACME's own protocol.
func (c *certificates) config() *tls.Config {
	t := c.onDemand.TLSConfig()
	t.MinVersion = tls.VersionTLS12
	t.NextProtos = append([]string{"h2", "http/1.1"}, t.NextProtos...)
	slices.Sort(t.NextProtos[2:])
	t.NextProtos = slices.Compact(t.NextProtos)
	return t
}

// start asks for the domains' own certificates at once, so that the first visitor
// need not wait. It does not wait itself: a server must come up without them.
func (c *certificates) start(ctx context.Context, config Config) {
	if config.ACME.SkipPreissue {
		return
	}
	if err := c.domains.ManageAsync(ctx, config.Domains); err != nil {
		config.Logger.ErrorContext(ctx, "certificates cannot be managed", "error", err)
	}
}

func (c *certificates) challenges(next http.Handler) http.Handler {
	return c.issuer.HTTPChallengeHandler(next)
}

func (c *certificates) close() { c.cache.Stop() }

// errNotOurs refuses a certificate.
var errNotOurs = errors.New("no store or domain has this name")

// mayHaveCertificate allows names of the base host and of stores that exist.
func (e *Edge) mayHaveCertificate(ctx context.Context, name string) error {
	host, ok := hostName(name)
	p := locate(host, e.config.Domains)
	if !ok || p.kind == unknownHost {
		return fmt.Errorf("certificate for %q: %w", name, errNotOurs)
	}
	if p.kind == baseHost {
		return nil
	}
	_, err := e.config.Tenants.Resolve(ctx, p.slug, p.environment)
	if err != nil && !errors.Is(err, data.ErrParked) {
		return fmt.Errorf("certificate for %q: %w", name, err)
	}
	return nil
}
