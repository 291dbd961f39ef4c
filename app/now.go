//go:build !movedclock

package app

import "time"

// now is the host's clock; longestWait bounds one sleep of the schedules, so that a
// clock that was set forward is noticed.
var now = time.Now

const longestWait = 15 * time.Minute
