package signin

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/boombuler/barcode/qr"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
)

// TOTP as every authenticator app understands it (RFC 6238): SHA-1, six digits, 30
// seconds. SHA-1 is no weakness inside an HMAC.
const (
	Period      = 30 // seconds
	skew        = 1  // steps, either way
	secretBytes = 20
)

var secretEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewSecret is the secret of a new authenticator app.
func NewSecret() string {
	raw := make([]byte, secretBytes)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return secretEncoding.EncodeToString(raw)
}

// Step finds the time step whose code this is, no more than skew from now.
func Step(secret, code string, now time.Time) (step int64, ok bool) {
	code = strings.ReplaceAll(code, " ", "")
	opts := hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}
	current := now.Unix() / Period
	for s := max(current-skew, 0); s <= current+skew; s++ {
		match, err := hotp.ValidateCustom(code, uint64(s), secret, opts) // #nosec G115 -- not negative
		if err == nil && match && !ok {
			step, ok = s, true // goes on, so that every code takes as long
		}
	}
	return step, ok
}

// URI is what the QR code says, in the form that authenticator apps read.
func URI(secret, issuer, account string) string {
	q := url.Values{"secret": {secret}, "issuer": {issuer}} // the rest are every app's defaults: the code stays small
	label := url.PathEscape(issuer) + ":" + url.PathEscape(account)
	return "otpauth://totp/" + label + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}

// Typed is a secret in groups of four, as people type it.
func Typed(secret string) string {
	var groups []string
	for len(secret) > 4 {
		groups, secret = append(groups, secret[:4]), secret[4:]
	}
	return strings.Join(append(groups, secret), " ")
}

// QR draws a text as the rows of a QR code, one character a module, '1' for
// dark. The page draws it: no other service sees the secret.
func QR(text string) ([]string, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return nil, fmt.Errorf("draw QR code: %w", err)
	}
	size := code.Bounds()
	rows := make([]string, 0, size.Dy())
	for y := size.Min.Y; y < size.Max.Y; y++ {
		var row strings.Builder
		for x := size.Min.X; x < size.Max.X; x++ {
			if r, _, _, _ := code.At(x, y).RGBA(); r == 0 {
				row.WriteByte('1')
			} else {
				row.WriteByte('0')
			}
		}
		rows = append(rows, row.String())
	}
	return rows, nil
}
