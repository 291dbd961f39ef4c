package sso

import (
	"context"
	"time"
)

// Tenanted is a provider of a tenant, and who last set it.
type Tenanted struct {
	ID, Name string
	Tenant   string // id
	By       string // actor
	Updated  time.Time
}

// Tenanted lists the providers of all tenants.
func (s *Service) Tenanted(ctx context.Context) (list []Tenanted, err error) {
	rows, err := s.all(ctx)
	for _, r := range rows {
		if r.Scope != Appliance {
			list = append(list, Tenanted{r.ID, r.Name, r.Scope, r.By, fromMillis(r.Updated)})
		}
	}
	return list, err
}
