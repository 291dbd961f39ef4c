package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"holdfast/data/signin"
)

// Config is what an operator may choose. Every field has a flag and a
// HOLDFAST_* variable of the same name.
type Config struct {
	Data         string   // data folder; default ./holdfast-data
	KeyFile      string   // opens the root key; default <user config folder>/holdfast/root.key
	Addr         string   // host:port to listen on; default 127.0.0.1:8090 (with domains: :443)
	Domains      []string // public names; the first one is the base host; HTTPS is on when there is one
	InsecureHTTP bool     // allow plain HTTP on an address that others can reach
	RedirectAddr string   // plain HTTP that leads to HTTPS; default :80 with domains, - for none
	ACME         string   // directory URL of the certificate authority; default Let's Encrypt
	ACMERoots    string   // PEM file of the authority's own TLS roots; for a private one
	Email        string   // contact given to the certificate authority

	UndeleteWindow time.Duration // how long a deleted tenant can be undeleted; default 7 days
	KeyCopiesKept  time.Duration // how long an older copy of the keys stays off this host; default 7 days
	MemoryBudget   size          // what open stores may take together; default a quarter of the machine's memory
	QueryTimeout   time.Duration // what one query of a store may take; default 10 seconds
	MaxUpload      size          // the largest upload, within its fields' limits; default 4 GiB

	BreachedPasswords string // list of passwords known from breaches; see signin.Breached

	SSOLoopback bool // identity providers at http on this host are spoken to

	breached         func(password string) (bool, error) // of BreachedPasswords, once it was looked at; nil without a list
	serves           bool                                // stores are shipped by themselves
	acceptSystemLoss bool                                // a system database whose log was cut opens without what is missing, one that was put back as it is; of one command
	restoring        bool                                // restore --all: the system database is of another moment than the vault
}

// DefaultConfig is what holdfast runs with when nothing is said.
func DefaultConfig() Config {
	c := Config{Data: "holdfast-data", Addr: "127.0.0.1:8090"}
	if dir, err := os.UserConfigDir(); err == nil {
		c.KeyFile = filepath.Join(dir, "holdfast", "root.key")
	}
	return c
}

// validate checks the configuration once and makes its paths absolute.
func (c *Config) validate() error {
	if c.KeyFile == "" {
		return fmt.Errorf("%w: no folder for the key file is known; name one with --key-file", errUsage)
	}
	if err := c.validateAddresses(); err != nil {
		return err
	}
	var err error
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if c.KeyFile, err = filepath.Abs(c.KeyFile); err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	if c.BreachedPasswords != "" {
		if c.BreachedPasswords, err = filepath.Abs(c.BreachedPasswords); err != nil {
			return fmt.Errorf("list of breached passwords: %w", err)
		}
		list, err := signin.OpenBreached(c.BreachedPasswords)
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		c.breached = list.Has
	}
	if rel, err := filepath.Rel(c.Data, c.KeyFile); err == nil && !strings.HasPrefix(rel, "..") {
		return fmt.Errorf("%w: the key file %s lies inside the data folder, where a copy of the data would carry its own key; choose another --key-file", errUsage, c.KeyFile)
	}
	return nil
}

// validateAddresses looks only at the form: who may listen where is the edge's rule.
func (c *Config) validateAddresses() error {
	given := map[string]string{"--addr": c.Addr}
	if c.RedirectAddr != "" && c.RedirectAddr != "-" {
		given["--redirect-addr"] = c.RedirectAddr
	}
	for name, addr := range given {
		_, port, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			return fmt.Errorf("%w: %s %q: want HOST:PORT", errUsage, name, addr)
		}
	}
	return nil
}

// publicAddr is where domains are served: the standard port unless another was chosen.
func (c *Config) publicAddr() string {
	if c.Addr == DefaultConfig().Addr {
		return ":443"
	}
	return c.Addr
}

var errNoVersion = errors.New("no build information")

// Version names the build: the module's version, else its revision.
func Version() string {
	v, err := buildVersion()
	if err != nil {
		return "devel"
	}
	return v
}

func buildVersion() (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", errNoVersion
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12], nil
		}
	}
	return "", errNoVersion
}
