package identity

import (
	"context"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
)

func TestProductionCost(t *testing.T) {
	h := newHasher(Cost{})
	phc, err := h.hash(bg, goodPassword)
	must(t, err)
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=65536,t=3,p=4$") {
		t.Fatal(phc)
	}
	ok, err := h.matches(bg, goodPassword, phc)
	must(t, err)
	equal(t, "matches", ok, true)
	equal(t, "stale", h.stale(phc), false)
}

// TestHashGolden holds hashes of other programs readable for ever: the string is one of
// the test vectors of the reference implementation (phc-winner-argon2).
func TestHashGolden(t *testing.T) {
	const golden = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	ok, err := newHasher(cheap).matches(bg, "password", golden)
	must(t, err)
	equal(t, "matches", ok, true)
}

func FuzzParseHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$AuO1xdHvuScGP7Vb6TTxH30kt8qb5uBvIBj5r5P4/+I")
	f.Add("$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$AuO1xdHvuScGP7Vb6TTxHw")
	f.Add("$2a$10$abc")
	f.Fuzz(func(t *testing.T, phc string) {
		c, salt, hash, err := parseHash(phc)
		if err == nil && encodeHash(c, salt, hash) != phc {
			t.Fatalf("%q has two forms", phc)
		}
		if err == nil && (c.Memory > 1<<20 || c.Time > 16) {
			t.Fatalf("%q would take the machine", phc)
		}
	})
}

func TestNormalForm(t *testing.T) {
	h := newHasher(cheap)
	phc, err := h.hash(bg, "caf\u00e9 caf\u00e9 caf\u00e9")
	must(t, err)
	ok, err := h.matches(bg, "cafe\u0301 cafe\u0301 cafe\u0301", phc)
	must(t, err)
	equal(t, "composed and decomposed", ok, true)
}

func TestWeakness(t *testing.T) {
	for password, weak := range map[string]bool{
		goodPassword:                 false,
		"elevenchars":                true,
		"twelve chars":               false,
		"aaaaaaaaaaaaaaaa":           true,
		"abababababababab":           true,
		"ada.lovelace rules":         true,
		"my Lovelace is here":        true,
		strings.Repeat("abcdef", 50): true,
		"bad\xffutf8 password":       true,
		"пароль из слов":             false,
		"password1234":               true,
		"P4ssw0rd2024!!":             true,
		"qwertyuiop12":               true,
		"letmeinletmein":             true,
		"iloveyou2024!":              true,
		"1234567890123456":           true,
		"abcdefghijklmn":             true,
		"summer2026summer":           true,
		"passwordpassword":           true,
		"another good phrase":        false,
		"three plain words":          false,
		"Xk9#mQ2$vL7p":               false,
	} {
		if got := weakness(password, "ada.lovelace@example.com", "Lovelace"); (got != "") != weak {
			t.Errorf("%q: %q", password, got)
		}
	}
}

func TestHashingWaitsItsTurn(t *testing.T) {
	h := newHasher(cheap)
	for range hashingAtOnce {
		must(t, h.turn(bg))
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if _, err := h.hash(ctx, goodPassword); err == nil {
		t.Fatal("did not wait")
	}
	h.done()
	_, err := h.hash(bg, goodPassword)
	must(t, err)
}

func TestOldHashIsBroughtToTodaysCost(t *testing.T) {
	h := newHouse(t)
	o := h.owner("ada@example.com")
	h.config.PasswordCost = Cost{Time: 2, Memory: 64, Threads: 1}
	h.open()
	h.browser().signIn("ada@example.com")
	row, err := h.personByID(bg, o.ID)
	must(t, err)
	equal(t, "stale", h.hasher.stale(row.Password), false)
	h.browser().signIn("ada@example.com")
}

func TestEmails(t *testing.T) {
	for in, want := range map[string]string{
		"Ada@Example.COM": "ada@example.com", " a@b ": "a@b", "a": "", "": "", "Ada <a@b.example>": "",
		"a@b.example, c@d.example": "", "a@b\r\nBcc: x@y": "", strings.Repeat("a", 300) + "@b.example": "",
	} {
		got, ok := cleanEmail(in)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q %v", in, got, ok)
		}
	}
}

func TestMemberTables(t *testing.T) {
	h := newHouse(t)
	m := h.member("mia@example.com", acme.Tenant)
	must(t, h.config.DB.Update(bg, func(tx *sqlx.Tx) error {
		_, err := tx.Exec(`DELETE FROM persons WHERE id = ?`, m.ID)
		return err
	}))
	var left int
	must(t, h.config.DB.View(bg, func(tx *sqlx.Tx) error {
		return tx.Get(&left, `SELECT (SELECT count(*) FROM grants WHERE person = ?) + (SELECT count(*) FROM memberships)`, m.ID)
	}))
	equal(t, "grants and memberships of a person who is gone", left, 0)
}
