package users

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"
)

// Recovery codes stand in for lost factors. Sixteen letters and digits are 80 bits;
// they are hashed slowly all the same, those of a user with one salt, so that
// checking one takes one hash.
const (
	codeCount  = 10
	codeLength = 16 // characters, in four groups
	codeRounds = 100_000
)

// Without letters that look like others.
var codeAlphabet = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

type codeRow struct {
	Hash string `db:"hash"`
	Salt string `db:"salt"`
}

// codes are those of a user that are not used up.
func (s *Service) codes(ctx context.Context, app core.App, r *core.Record) ([]codeRow, error) {
	var rows []codeRow
	err := s.all(ctx, app, &rows, `SELECT hash, salt FROM _hf_user_codes WHERE collection = {:c} AND record = {:r} AND used = 0 ORDER BY hash`, whose(r))
	if err != nil {
		return nil, fmt.Errorf("read the recovery codes of %s: %w", nameOf(r), err)
	}
	return rows, nil
}

// makeCodes puts new codes in the place of a user's old ones.
func (s *Service) makeCodes(ctx context.Context, app core.App, r *core.Record) ([]string, error) {
	if err := s.exec(ctx, app, `DELETE FROM _hf_user_codes WHERE collection = {:c} AND record = {:r}`, whose(r)); err != nil {
		return nil, err
	}
	salt := rand.Text()
	codes := make([]string, codeCount)
	for i := range codes {
		codes[i] = newCode()
		hash, err := hashCode(codes[i], salt)
		if err != nil {
			return nil, err
		}
		params := whose(r)
		params["hash"], params["salt"], params["now"] = hash, salt, s.now().UnixMilli()
		err = s.exec(ctx, app, `INSERT INTO _hf_user_codes(collection, record, hash, salt, created, used) VALUES ({:c}, {:r}, {:hash}, {:salt}, {:now}, 0)`, params)
		if err != nil {
			return nil, err
		}
	}
	return codes, nil
}

func newCode() string {
	raw := make([]byte, codeLength) // more than are needed
	_, _ = rand.Read(raw)           // never fails (crypto/rand)
	text := codeAlphabet.EncodeToString(raw)
	return text[0:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:16]
}

// cleanCode forgives how a code was typed.
func cleanCode(code string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(strings.TrimSpace(code)))
}

func hashCode(code, salt string) (string, error) {
	key, err := pbkdf2.Key(sha256.New, cleanCode(code), []byte(salt), codeRounds, sha256.Size)
	return base64.RawStdEncoding.EncodeToString(key), err
}

// useCode uses a code up, and says whether there was one; of two requests with one
// code, one gets it.
func (s *Service) useCode(ctx context.Context, app core.App, r *core.Record, code string) (bool, error) {
	rows, err := s.codes(ctx, app, r)
	if err != nil || len(rows) == 0 || len(cleanCode(code)) != codeLength {
		return false, err
	}
	typed, err := hashCode(code, rows[0].Salt)
	if err != nil {
		return false, err
	}
	for _, row := range rows {
		if subtle.ConstantTimeCompare([]byte(row.Hash), []byte(typed)) != 1 {
			continue
		}
		params := dbx.Params{"c": r.Collection().Id, "r": r.Id, "hash": row.Hash, "now": s.now().UnixMilli()}
		n, err := s.count(ctx, app, `UPDATE _hf_user_codes SET used = {:now} WHERE collection = {:c} AND record = {:r} AND hash = {:hash} AND used = 0`, params)
		return n == 1, err
	}
	return false, nil
}
