package identity

import (
	"time"

	"holdfast/data/signin"
)

const totpPeriod = signin.Period // seconds

func newTOTPSecret() string { return signin.NewSecret() }

func totpStep(secret, code string, now time.Time) (step int64, ok bool) {
	return signin.Step(secret, code, now)
}

func totpURI(secret, issuer, account string) string { return signin.URI(secret, issuer, account) }

func typed(secret string) string { return signin.Typed(secret) }

func qrRows(text string) ([]string, error) { return signin.QR(text) }
