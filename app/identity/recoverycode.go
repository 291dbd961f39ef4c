package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
)

// Recovery codes stand in for a lost second factor. Ten letters and digits are 50
// bits, fewer than a fast hash would be good enough for: they are hashed like
// passwords, all of a person with one salt, so that checking one takes one hash.
const (
	recoveryCodeCount  = 10
	recoveryCodeLength = 10 // characters, in two groups
)

// Without letters that look like others.
var recoveryAlphabet = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// RecoveryCodes says how many are left.
type RecoveryCodes struct {
	Left    int        `json:"left"`
	Of      int        `json:"of"`
	Created *time.Time `json:"created"`
}

// NewRecoveryCodes are codes in clear, which are shown this once.
type NewRecoveryCodes struct {
	Codes []string `json:"codes"`
}

func (s *Service) recoveryCodes(ctx context.Context, person string) (RecoveryCodes, error) {
	var row struct {
		Left    int   `db:"unused"`
		Of      int   `db:"total"`
		Created int64 `db:"created"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &row, `SELECT count(*) AS total, count(*) FILTER (WHERE used = 0) AS unused,
			coalesce(max(created), 0) AS created FROM recovery_codes WHERE person = ?`, person)
	})
	if err != nil {
		return RecoveryCodes{}, fmt.Errorf("count recovery codes: %w", err)
	}
	return RecoveryCodes{row.Left, row.Of, moment(row.Created)}, nil
}

// makeRecoveryCodes puts new codes in the place of a person's old ones.
func (s *Service) makeRecoveryCodes(ctx context.Context, person string) (NewRecoveryCodes, error) {
	codes := make([]string, recoveryCodeCount)
	hashes := make([]string, recoveryCodeCount)
	salt := make([]byte, 32)
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	for i := range codes {
		codes[i] = newRecoveryCode()
		hash, err := s.hasher.hashWith(ctx, cleanRecoveryCode(codes[i]), salt)
		if err != nil {
			return NewRecoveryCodes{}, err
		}
		hashes[i] = hash
	}
	if err := s.record(ctx, "recovery-codes.make", person, api.OK, nil); err != nil {
		return NewRecoveryCodes{}, err
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error { return insertRecoveryCodes(ctx, tx, person, hashes, millis(s.now())) })
	if err != nil {
		return NewRecoveryCodes{}, fmt.Errorf("make recovery codes: %w", err)
	}
	return NewRecoveryCodes{codes}, nil
}

func insertRecoveryCodes(ctx context.Context, tx *sqlx.Tx, person string, hashes []string, now int64) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM recovery_codes WHERE person = ?`, person); err != nil {
		return err
	}
	for _, hash := range hashes {
		if _, err := tx.ExecContext(ctx, `INSERT INTO recovery_codes (person, hash, created) VALUES (?, ?, ?)`, person, hash, now); err != nil {
			return err
		}
	}
	return nil
}

func newRecoveryCode() string {
	raw := make([]byte, recoveryCodeLength) // more than are needed
	_, _ = rand.Read(raw)                   // never fails (crypto/rand)
	text := recoveryAlphabet.EncodeToString(raw)[:recoveryCodeLength]
	return text[:recoveryCodeLength/2] + "-" + text[recoveryCodeLength/2:]
}

// cleanRecoveryCode forgives how a code was typed.
func cleanRecoveryCode(code string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(strings.TrimSpace(code)))
}

// useRecoveryCode uses one up and says whether there was one.
func (s *Service) useRecoveryCode(ctx context.Context, person, code string) (bool, error) {
	var hashes []string
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &hashes, `SELECT hash FROM recovery_codes WHERE person = ? AND used = 0 ORDER BY hash`, person)
	})
	code = cleanRecoveryCode(code)
	if err != nil || len(hashes) == 0 || len(code) != recoveryCodeLength {
		return false, err
	}
	typed, err := s.hasher.hashLike(ctx, code, hashes[0])
	if err != nil {
		return false, err
	}
	for _, hash := range hashes {
		if subtle.ConstantTimeCompare([]byte(hash), []byte(typed)) == 1 {
			return s.spend(ctx, person, hash)
		}
	}
	return false, nil
}

// spend marks a code as used; of two requests with one code, one gets it.
func (s *Service) spend(ctx context.Context, person, hash string) (bool, error) {
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE recovery_codes SET used = ? WHERE person = ? AND hash = ? AND used = 0`, millis(s.now()), person, hash)
		return changedOne(done, err)
	})
	if isNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// hashWith hashes with a salt that is given.
func (h *hasher) hashWith(ctx context.Context, text string, salt []byte) (string, error) {
	return h.hashAt(ctx, h.cost, text, salt)
}

// hashLike hashes at the cost and with the salt of another hash.
func (h *hasher) hashLike(ctx context.Context, text, phc string) (string, error) {
	cost, salt, _, err := parseHash(phc)
	if err != nil {
		return "", errors.Join(errors.New("read recovery code"), err)
	}
	return h.hashAt(ctx, cost, text, salt)
}

func (h *hasher) hashAt(ctx context.Context, cost Cost, text string, salt []byte) (string, error) {
	if err := h.turn(ctx); err != nil {
		return "", err
	}
	defer h.done()
	return encodeHash(cost, salt, derive(cost, text, salt, hashBytes)), nil
}
