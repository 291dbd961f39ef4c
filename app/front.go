package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"

	"holdfast/app/edge"
	"holdfast/data"
	"holdfast/ui"
)

// front is the appliance's side to the network. What it shows changes once, when
// the appliance is unsealed.
type front struct {
	appliance *Appliance
	face      atomic.Pointer[face]
	edge      atomic.Pointer[edge.Edge]

	moved context.Context // done when the domains can be served, certificates being in the vault
	move  context.CancelFunc
}

// face is what stands behind the hosts: another one while sealed.
type face struct {
	api     http.Handler
	tenants edge.Tenants
	tenant  func(http.ResponseWriter, *http.Request, edge.Target)
	studio  func(http.ResponseWriter, *http.Request, edge.Target)
}

func newFront(a *Appliance) *front {
	f := &front{appliance: a}
	f.moved, f.move = context.WithCancel(context.Background())
	f.face.Store(&face{api: a.gate.handler(), tenants: nobody{}})
	return f
}

// nobody is the tenants of a sealed appliance.
type nobody struct{}

func (nobody) Resolve(context.Context, string, string) (data.StoreID, error) {
	return data.StoreID{}, errSealed()
}

// unsealed shows the house.
func (f *front) unsealed(h *house) {
	f.face.Store(&face{api: h.control(), tenants: h.tenants, tenant: h.serveTenant, studio: h.serveStudio})
	f.move()
}

// Resolve asks the tenants of the face that is shown.
func (f *front) Resolve(ctx context.Context, slug, environment string) (data.StoreID, error) {
	return f.face.Load().tenants.Resolve(ctx, slug, environment)
}

func (f *front) handlers() edge.Handlers {
	return edge.Handlers{
		API:     http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.face.Load().api.ServeHTTP(w, r) }),
		Console: ui.Console(),
		Tenant:  func(w http.ResponseWriter, r *http.Request, t edge.Target) { f.face.Load().tenant(w, r, t) },
		Studio:  func(w http.ResponseWriter, r *http.Request, t edge.Target) { f.face.Load().studio(w, r, t) },
	}
}

// waitsForCertificates says that domains cannot be served yet: their
// certificates lie in the sealed vault.
func (f *front) waitsForCertificates() bool {
	return len(f.appliance.config.Domains) > 0 && f.appliance.Sealed()
}

// listen takes the addresses. A sealed appliance with domains listens at
// loopback only, for whoever comes to unseal it.
func (f *front) listen(ctx context.Context) error {
	c, err := f.edgeConfig()
	if err != nil {
		return err
	}
	e, err := edge.New(c)
	if err != nil {
		return err
	}
	f.edge.Store(e)
	return e.Listen(ctx)
}

func (f *front) edgeConfig() (edge.Config, error) {
	a := f.appliance
	c := edge.Config{Addr: a.config.Addr, InsecureHTTP: a.config.InsecureHTTP, Socket: socketPath(a.folder.path),
		Tenants: f, Handlers: f.handlers(), Drain: drainTime, Logger: a.logger}
	switch {
	case f.waitsForCertificates():
		c.Addr = "127.0.0.1:0"
	case len(a.config.Domains) > 0:
		roots, err := rootsFrom(a.config.ACMERoots)
		if err != nil {
			return c, err
		}
		c.Addr, c.RedirectAddr = a.config.publicAddr(), a.config.RedirectAddr
		c.Domains, c.Certificates = a.config.Domains, a.house.Load().vault.Sub("certificates/")
		c.ACME = edge.ACME{Directory: a.config.ACME, Email: a.config.Email, Roots: roots, OnlyTLSALPN: a.config.RedirectAddr == "-"}
	}
	return c, nil
}

// rootsFrom reads the roots of a private certificate authority.
func rootsFrom(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read --acme-roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: --acme-roots %s holds no PEM certificate", errUsage, file)
	}
	return pool, nil
}

// Listen takes the addresses, or none of them.
func (a *Appliance) Listen(ctx context.Context) error { return a.front.listen(ctx) }

// Wait serves until the context ends, then drains.
func (a *Appliance) Wait(ctx context.Context) error {
	for {
		moving := a.front.waitsForCertificates()
		if err := a.front.serve(ctx, moving); err != nil || ctx.Err() != nil {
			return err
		}
		if err := a.front.listen(ctx); err != nil {
			return err
		}
	}
}

// serve runs one edge; a moving one only until the domains can be served.
func (f *front) serve(ctx context.Context, moving bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if moving {
		defer context.AfterFunc(f.moved, cancel)()
	}
	return f.edge.Load().Serve(ctx)
}

// addresses is the edge that serves, or one that only knows how addresses are
// written, for a command that runs in this process.
func (f *front) addresses() *edge.Edge {
	if e := f.edge.Load(); e != nil {
		return e
	}
	c := edge.Config{Addr: f.appliance.config.Addr, InsecureHTTP: true, Tenants: f}
	e, err := edge.New(c)
	if err != nil {
		panic(err) // the configuration is a constant but for an address that nobody checks
	}
	return e
}

func (f *front) tenantURL(slug, environment string) string {
	return f.addresses().TenantURL(slug, environment)
}

func (f *front) studioURL(slug, environment string) string {
	return f.addresses().StudioURL(slug, environment)
}

// BaseURL is where the console is.
func (a *Appliance) BaseURL() string {
	return a.front.addresses().BaseURL()
}

// hostActor is the actor of a command that runs in this process.
func hostActor() data.Actor { return data.Actor{Kind: data.Host, ID: strconv.Itoa(os.Getuid())} }
