package identity

import (
	"time"

	"holdfast/data/signin"
)

// policy is how patience runs out.
type policy struct {
	free    int
	longest time.Duration
	quiet   time.Duration
}

var (
	// An account's wait stays short: a stranger must not be able to lock its owner out.
	accountPolicy = policy{free: 5, longest: time.Minute, quiet: 15 * time.Minute}
	// An address may be an office, hence the more free attempts.
	addressPolicy = policy{free: 20, longest: 15 * time.Minute, quiet: time.Hour}
	// A challenge proves nothing and takes a little memory.
	challengePolicy = policy{free: 200, longest: time.Minute, quiet: 10 * time.Minute}
)

// backoff counts attempts by name.
type backoff struct{ of *signin.Backoff }

func newBackoff(p policy, clock func() time.Time) *backoff {
	return &backoff{signin.NewBackoff(signin.Patience{Free: p.free, Longest: p.longest, Quiet: p.quiet}, clock)}
}

func (b *backoff) attempt(name string) time.Duration { return b.of.Attempt(name) }
func (b *backoff) forget(name string)                { b.of.Forget(name) }
func (b *backoff) forgive(name string)               { b.of.Forgive(name) }
func (b *backoff) sweep()                            { b.of.Sweep() }

func addressOf(remote string) string { return signin.AddressOf(remote) }
