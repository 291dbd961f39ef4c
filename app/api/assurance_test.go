package api

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"holdfast/data"
)

// doorman knows who showed a factor lately.
type doorman struct {
	fresh map[string]bool
	asked []Assurance
}

func (d *doorman) Assure(_ *http.Request, actor data.Actor, want Assurance) error {
	d.asked = append(d.asked, want)
	if want.StepsUp() && !d.fresh[actor.String()] {
		return ErrStepUp
	}
	return nil
}

func TestFreshFactorIsAskedForByTheRouter(t *testing.T) {
	ran, d := 0, &doorman{fresh: map[string]bool{"person:p2": true}}
	f := newFixture(t)
	f.config.Assurer = d
	route := guardedRoute(func(w http.ResponseWriter, _ *http.Request) error { ran++; return NoContent(w) })
	route.Assurance = Fresh
	must(t, f.Add(route))
	for _, who := range []string{"person:p1", "person:p2", "host:1000"} {
		f.auth.allow[who+" tenant.delete id-acme"] = true
	}
	w := f.send("POST", "/api/v1/tenants/acme", "person:p1", "")
	equal(t, "without a fresh factor", w.Code, 403)
	equal(t, "code", problemOf(t, w).Code, "step-up-required")
	equal(t, "handler ran", ran, 0)
	equal(t, "with one", f.send("POST", "/api/v1/tenants/acme", "person:p2", "").Code, 204)
	f.send("POST", "/api/v1/tenants/acme", "person:p3", "")
	equal(t, "questions: none of who lacks the permission", len(d.asked), 2)
	r := httptest.NewRequest("POST", "/api/v1/tenants/acme", nil)
	r = r.WithContext(data.WithActor(r.Context(), data.Actor{Kind: data.Host, ID: "1000"}))
	equal(t, "the local socket", f.do(r).Code, 204)
	equal(t, "questions: none of the socket", len(d.asked), 2)
}

func TestFreshFactorNeedsSomebodyWhoAsks(t *testing.T) {
	route := guardedRoute(ok)
	route.Assurance = Fresh
	f := newFixture(t)
	if f.Add(route) == nil {
		t.Error("registered without an assurer")
	}
	f.config.Assurer = &doorman{}
	route.Permission = Public
	if f.Add(route) == nil {
		t.Error("a public route asks nobody for a factor")
	}
	route.Permission, route.Assurance = Signed, Enrol+1
	if f.Add(route) == nil {
		t.Error("an assurance that there is not is registered")
	}
}
