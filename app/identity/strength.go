package identity

import "holdfast/data/signin"

// MinStrength is how many bits a new password must be worth to somebody who
// guesses words, common passwords, sequences and years first.
const MinStrength = 30

func isCommon(password string) bool { return signin.Common(password) }

func strength(password string) float64 { return signin.Bits(password) }
