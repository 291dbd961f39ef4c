package edge

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"strings"
	"time"

	"holdfast/data/vault"
)

// Certificate is one that is kept for a host name.
type Certificate struct {
	Name     string
	NotAfter time.Time
}

// Certificates lists the certificates that a vault keeps, expired ones too.
func Certificates(ctx context.Context, v *vault.Vault) (out []Certificate, err error) {
	s := newStorage(v)
	names, err := s.List(ctx, "certificates", true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".crt") {
			continue
		}
		text, err := s.Load(ctx, name)
		if err != nil {
			return nil, err
		}
		block, _ := pem.Decode(text)
		if block == nil {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && len(c.DNSNames) > 0 {
			out = append(out, Certificate{c.DNSNames[0], c.NotAfter})
		}
	}
	return out, err
}
