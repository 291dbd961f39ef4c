package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"

	"holdfast/app/api"
	"holdfast/app/custody"
	"holdfast/data"
	"holdfast/data/keys"
)

// fromAfar is the name under which tries over the network are counted.
const fromAfar = "network"

// gate is what a sealed appliance answers: health, status, unseal, and to all
// else a 503 that says what to do.
type gate struct {
	appliance *Appliance
	mu        sync.Mutex // one unseal at a time
	tries     *custody.Tries
	shares    *custody.Gathering
}

func newGate(a *Appliance) *gate {
	return &gate{appliance: a, tries: custody.NewTries(a.folder.in("unseal.tries"), a.now), shares: custody.NewGathering(a.now)}
}

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
	Version     string      `json:"version"`
	SetupNeeded bool        `json:"setupNeeded"`
	Sealed      bool        `json:"sealed"`
	Domain      string      `json:"domain"`
	Insecure    bool        `json:"insecure" doc:"plain HTTP on an address that others can reach"`
	Unseal      *UnsealWays `json:"unseal,omitempty" doc:"while it is sealed"`
}

// UnsealWays is what a sealed appliance tells of how to open it: nothing of what
// was tried.
type UnsealWays struct {
	Kinds       []string           `json:"kinds" doc:"passphrase, recovery, age, shares"`
	Shares      []custody.Gathered `json:"shares" doc:"shares that were handed in; forgotten after ten minutes"`
	Wrong       int                `json:"wrong" doc:"how often in a row it was wrong"`
	WaitSeconds int                `json:"waitSeconds" doc:"before the next try from the network"`
}

func (g *gate) status(w http.ResponseWriter, r *http.Request) error {
	s, err := g.appliance.status(r.Context())
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, s)
}

// ways is read anew at each question: a slots file may be put back meanwhile.
func (g *gate) ways(ctx context.Context) *UnsealWays {
	w := &UnsealWays{Kinds: []string{}, Shares: g.shares.Progress(), Wrong: g.tries.Wrong()}
	w.WaitSeconds = int(math.Ceil(max(g.tries.Wait(g.who(ctx)), 0).Seconds()))
	slots, err := keys.OpenSlots(g.appliance.folder.in("keys", keys.SlotsFile))
	if err != nil {
		return w
	}
	for _, s := range slots.List() {
		if !s.Damaged && !s.Unattended() && !slices.Contains(w.Kinds, s.Kind) {
			w.Kinds = append(w.Kinds, s.Kind)
		}
	}
	return w
}

func (g *gate) who(ctx context.Context) string {
	if data.ActorFrom(ctx).Kind == data.Host {
		return custody.OnHost
	}
	return fromAfar
}

// unsealRequest holds the secret of one slot, or one share of several.
type unsealRequest struct {
	custody.Secret
	Share string `json:"share,omitempty" doc:"one share; others may come in requests of their own"`
}

func (g *gate) unseal(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	var in unsealRequest
	if err := api.Read(r, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.appliance.Sealed() {
		if err := g.try(r.Context(), in); err != nil {
			return err
		}
	}
	return g.status(w, r)
}

// check refuses what is no try at all, so that it does not count as one.
func (u unsealRequest) check() error {
	if u.Share == "" {
		_, err := u.Slot()
		return err
	}
	if _, err := u.Slot(); err == nil {
		return api.Errorf(http.StatusUnprocessableEntity, "invalid", "Give a share, or another secret, not both.")
	}
	return nil
}

// try counts as wrong from its start; what was only mistyped is taken back.
func (g *gate) try(ctx context.Context, in unsealRequest) error {
	who := g.who(ctx)
	if err := g.tries.Begin(who); err != nil {
		return err
	}
	done, err := g.open(ctx, in)
	switch {
	case err == nil && done:
		g.tries.Done(who)
	case err == nil, mistyped(err):
		g.tries.Back(who)
	}
	return unsealProblem(err)
}

// open unseals by a secret, or by a share once there are enough; done is false
// while more are needed.
func (g *gate) open(ctx context.Context, in unsealRequest) (done bool, err error) {
	var way keys.Slot
	set := ""
	if in.Share == "" {
		way, err = in.Slot()
	} else {
		way, set, err = g.gather(in.Share)
	}
	if err != nil || way == nil {
		return false, err
	}
	if data.ActorFrom(ctx).Kind != data.Host { // nobody is signed in yet
		ctx = data.WithActor(ctx, data.Actor{Kind: data.Guest})
	}
	err = g.appliance.unseal(ctx, map[string]string{"wrong tries before": fmt.Sprint(g.tries.Wrong() - 1)}, way)
	if err == nil && set != "" {
		g.shares.Forget(set)
	}
	return err == nil, err
}

// gather takes a share in; the way is nil while more are needed.
func (g *gate) gather(text string) (way keys.Slot, set string, err error) {
	slots, err := keys.OpenSlots(g.appliance.folder.in("keys", keys.SlotsFile))
	if err != nil {
		return nil, "", err
	}
	info, err := slots.CheckShare(text)
	if err != nil {
		return nil, "", err
	}
	enough, err := g.shares.Offer(info, text)
	if err != nil || enough == nil {
		return nil, "", err
	}
	return keys.Shares(enough...), info.Set, nil
}

// mistyped says that a secret's own check letters found it wrong: no guess.
func mistyped(err error) bool {
	var p *api.Problem
	return errors.Is(err, keys.ErrCode) || errors.Is(err, keys.ErrIdentity) || errors.As(err, &p)
}

// unsealProblem says no more than that it was wrong, unless it was mistyped.
func unsealProblem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keys.ErrCode):
		return api.InvalidField("recoveryKey", "this is not a recovery key: look for a typing error").Because(err)
	case errors.Is(err, keys.ErrIdentity):
		return api.InvalidField("ageIdentity", "is no age identity: AGE-SECRET-KEY-...").Because(err)
	case errors.Is(err, keys.ErrShare), errors.Is(err, keys.ErrFewShares):
		return api.InvalidField("share", "%s", custody.ShareText(err)).Because(err)
	case errors.Is(err, keys.ErrWrongKey):
		return api.Errorf(http.StatusForbidden, "wrong-key", "That does not open this appliance.").Because(err)
	}
	return err
}
