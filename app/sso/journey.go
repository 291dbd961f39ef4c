package sso

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"sync"
	"time"
)

// purpose is why somebody is sent to a provider.
type purpose string

const (
	toSignIn purpose = "sign-in"
	toStepUp purpose = "step-up"
	toLink   purpose = "link"
)

// journey is one way to a provider and back. What protects it stays here: the browser
// gets the state, the provider the nonce and the hash of the verifier, and the cookie
// ties the way back to the browser that set out.
type journey struct {
	provider   string
	generation string // of the provider's settings
	purpose    purpose
	person     string // who sets out, when somebody is signed in: not to sign in
	state      string
	nonce      string
	verifier   string // of PKCE
	browser    [sha256.Size]byte
	redirect   string
	back       string // path of the console
	begun      time.Time
}

// Bounds of journeys.
const (
	journeyTime  = 10 * time.Minute
	mostJourneys = 20_000
)

// journeys keeps them by the digest of their state, in memory: after a restart
// people begin again.
type journeys struct {
	clock   func() time.Time
	mu      sync.Mutex
	byState map[[sha256.Size]byte]journey
}

func newJourneys(clock func() time.Time) *journeys {
	return &journeys{clock: clock, byState: map[[sha256.Size]byte]journey{}}
}

// secret is 32 random bytes as text.
func secret() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func digest(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

// begin gives a journey its secrets and keeps it. cookie is for the browser.
func (js *journeys) begin(j journey) (out journey, cookie string) {
	cookie = secret()
	j.state, j.nonce, j.verifier, j.browser, j.begun = secret(), secret(), secret(), digest(cookie), js.clock()
	js.mu.Lock()
	defer js.mu.Unlock()
	if len(js.byState) >= mostJourneys {
		js.shed()
	}
	js.byState[digest(j.state)] = j
	return j, cookie
}

// end takes a journey away and gives it to the browser that set out on it. It is gone
// after the first try, whoever tries.
func (js *journeys) end(state, cookie string) (journey, bool) {
	name, browser := digest(state), digest(cookie)
	js.mu.Lock()
	defer js.mu.Unlock()
	j, ok := js.byState[name]
	delete(js.byState, name)
	if !ok || js.clock().Sub(j.begun) >= journeyTime || subtle.ConstantTimeCompare(j.browser[:], browser[:]) != 1 {
		return journey{}, false
	}
	return j, true
}

// shed makes room: first what has ended, then what the map's chance names, which no
// flood can steer.
func (js *journeys) shed() {
	js.drop()
	for name := range js.byState {
		if len(js.byState) < mostJourneys*9/10 {
			return
		}
		delete(js.byState, name)
	}
}

func (js *journeys) drop() {
	now := js.clock()
	for name, j := range js.byState {
		if now.Sub(j.begun) >= journeyTime {
			delete(js.byState, name)
		}
	}
}

func (js *journeys) sweep() {
	js.mu.Lock()
	defer js.mu.Unlock()
	js.drop()
}
