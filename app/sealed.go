package app

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/keys"
)

// unsealPause is how long the next try to unseal has to wait after a wrong one.
const unsealPause = 2 * time.Second

// gate is what a sealed appliance answers: health, status, unseal, and to all
// else a 503 that says what to do.
type gate struct {
	appliance *Appliance
	mu        sync.Mutex // one unseal at a time
	notBefore time.Time
}

func newGate(a *Appliance) *gate { return &gate{appliance: a} }

func (g *gate) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthy)
	mux.HandleFunc("GET /api/v1/status", g.answer(g.status))
	mux.HandleFunc("POST /api/v1/unseal", g.answer(g.unseal))
	mux.HandleFunc("/", g.answer(func(http.ResponseWriter, *http.Request) error { return errSealed() }))
	return http.NewCrossOriginProtection().Handler(mux)
}

func healthy(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

func (g *gate) answer(fn func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := fn(w, r); err != nil {
			api.WriteProblem(w, err)
		}
	}
}

func errSealed() error {
	return api.Errorf(http.StatusServiceUnavailable, "sealed",
		"The appliance is sealed. Unseal it in the console, or with: holdfast unseal --recovery-key-stdin").Because(data.ErrSealed)
}

// Status is what anybody may know.
type Status struct {
	Version     string `json:"version"`
	SetupNeeded bool   `json:"setupNeeded"`
	Sealed      bool   `json:"sealed"`
	Domain      string `json:"domain"`
	Insecure    bool   `json:"insecure" doc:"plain HTTP on an address that others can reach"`
}

func (g *gate) status(w http.ResponseWriter, r *http.Request) error {
	s, err := g.appliance.status(r.Context())
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, s)
}

// unsealRequest holds the secret of one slot.
type unsealRequest struct {
	Passphrase  string `json:"passphrase,omitempty"`
	RecoveryKey string `json:"recoveryKey,omitempty"`
}

func (g *gate) unseal(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	var in unsealRequest
	if err := api.Read(r, &in); err != nil {
		return err
	}
	slot, err := in.slot()
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if wait := g.notBefore.Sub(g.appliance.now()); wait > 0 {
		return api.Errorf(http.StatusTooManyRequests, "too-soon", "Wait %d seconds before the next try.", int(wait.Seconds())+1)
	}
	if err := g.appliance.Unseal(r.Context(), slot); err != nil {
		g.notBefore = g.appliance.now().Add(unsealPause)
		return unsealProblem(err)
	}
	return g.status(w, r)
}

func (u unsealRequest) slot() (keys.Slot, error) {
	switch {
	case u.Passphrase != "" && u.RecoveryKey == "":
		return keys.Passphrase([]byte(u.Passphrase)), nil
	case u.RecoveryKey != "" && u.Passphrase == "":
		return keys.Recovery(u.RecoveryKey), nil
	}
	return nil, api.Errorf(http.StatusUnprocessableEntity, "invalid", "Give a passphrase or a recovery key.")
}

// unsealProblem says no more than that it was wrong, unless it was mistyped.
func unsealProblem(err error) error {
	switch {
	case errors.Is(err, keys.ErrCode):
		return api.InvalidField("recoveryKey", "this is not a recovery key: look for a typing error").Because(err)
	case errors.Is(err, keys.ErrWrongKey):
		return api.Errorf(http.StatusForbidden, "wrong-key", "That does not open this appliance.").Because(err)
	}
	return err
}
