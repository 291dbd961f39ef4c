package identity

import (
	"time"

	"holdfast/data/signin"
)

var (
	// An account's wait stays short: a stranger must not be able to lock its owner out.
	accountPolicy = signin.Patience{Free: 5, Longest: time.Minute, Quiet: 15 * time.Minute}
	// An address may be an office, hence the more free attempts.
	addressPolicy = signin.Patience{Free: 20, Longest: 15 * time.Minute, Quiet: time.Hour}
	// A challenge proves nothing and takes a little memory.
	challengePolicy = signin.Patience{Free: 200, Longest: time.Minute, Quiet: 10 * time.Minute}
)
