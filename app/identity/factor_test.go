package identity

import (
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pquerna/otp/totp"

	"holdfast/app/api"
	"holdfast/data/signin"
)

const (
	factorPath = "/api/v1/session/factor"
	ownFactors = "/api/v1/session/factors"
	stepUpPath = "/api/v1/session/step-up"
)

// app is an authenticator app with one secret.
type phone struct {
	h      *house
	secret string
}

func (p phone) code(ahead time.Duration) string {
	p.h.t.Helper()
	code, err := totp.GenerateCode(p.secret, p.h.clock.Now().Add(ahead))
	must(p.h.t, err)
	return code
}

// next is a code that was not used: it lets time go by.
func (p phone) next() string {
	p.h.clock.add(signin.Period * time.Second)
	return p.code(0)
}

func jsonBody(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}

// enrolPhone enrols an authenticator app and gives it with the recovery codes.
func (b *browser) enrolPhone() (phone, []string) {
	b.h.t.Helper()
	begun := decode[NewTOTP](b.h.t, b.want(200, "POST", ownFactors+"/totp", ""))
	p := phone{b.h, begun.Secret}
	done := decode[Enrolled](b.h.t, b.want(201, "POST", ownFactors+"/totp/confirm", jsonBody(b.h.t, ConfirmTOTP{Code: p.code(0)})))
	return p, done.RecoveryCodes
}

// password shows the password and expects to be asked for more.
func (b *browser) password(email string) PendingSignIn {
	b.h.t.Helper()
	return decode[PendingSignIn](b.h.t, b.want(202, "POST", "/api/v1/session", credentials(email, goodPassword)))
}

func (b *browser) show(status int, s Shown) *httptest.ResponseRecorder {
	b.h.t.Helper()
	return b.want(status, "POST", factorPath, jsonBody(b.h.t, s))
}

// TestTOTPVectors holds the codes to RFC 6238, appendix B (its last six digits).
func TestTOTPVectors(t *testing.T) {
	secret := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte("12345678901234567890"))
	for at, code := range map[int64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		step, ok := signin.Step(secret, code, time.Unix(at, 0))
		equal(t, "fits", ok, true)
		equal(t, "step", step, at/signin.Period)
	}
}

func TestTOTPSkewIsOneStep(t *testing.T) {
	secret := signin.NewSecret()
	now := time.Unix(1_800_000_015, 0)
	for steps, want := range map[int]bool{-2: false, -1: true, 0: true, 1: true, 2: false} {
		code, err := totp.GenerateCode(secret, now.Add(time.Duration(steps)*signin.Period*time.Second))
		must(t, err)
		_, ok := signin.Step(secret, code, now)
		equal(t, "fits", ok, want)
		_, ok = signin.Step(secret, code[:3]+" "+code[3:], now)
		equal(t, "with a space", ok, want)
	}
	for _, junk := range []string{"", "12345", "1234567", "abcdef", "１２３４５６", strings.Repeat("1", 10_000)} {
		if _, ok := signin.Step(secret, junk, now); ok {
			t.Errorf("%.20q fits", junk)
		}
	}
}

func TestTOTPSignIn(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	first := h.browser().signIn("ada@example.com")
	other := h.browser().signIn("ada@example.com")
	p, codes := first.enrolPhone()
	equal(t, "recovery codes", len(codes), recoveryCodeCount)
	other.want(401, "GET", "/api/v1/session", "") // a change of factors ends the others
	first.want(200, "GET", "/api/v1/session", "")

	b := h.browser()
	asked := b.password("ada@example.com")
	equal(t, "asked for", strings.Join(asked.Factors, " "), "totp recovery-code")
	equal(t, "cookie", b.cookies[cookieName], "")
	b.want(401, "GET", "/api/v1/session", "")
	b.want(401, "GET", ownFactors, "")
	equal(t, "code", codeOf(t, b.show(422, Shown{TOTP: p.code(time.Hour)})), "bad-factor")
	equal(t, "recorded", strings.HasSuffix(h.log.last(), " session.create  failed"), true)
	code := p.next()
	me := decode[Me](t, b.show(201, Shown{TOTP: code}))
	equal(t, "who", me.Person.Email, "ada@example.com")
	b.want(200, "GET", "/api/v1/session", "")
	equal(t, "what was pending is over", b.cookies[pendingCookieName], "")
}

func TestTOTPCodeIsGoodOnce(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	p, _ := h.browser().signIn("ada@example.com").enrolPhone()
	b := h.browser()
	b.password("ada@example.com")
	b.show(422, Shown{TOTP: p.code(0)}) // it enrolled the app
	code := p.next()
	b.show(201, Shown{TOTP: code})
	thief := h.browser()
	thief.password("ada@example.com")
	thief.show(422, Shown{TOTP: code})
	thief.show(422, Shown{TOTP: p.code(-signin.Period * time.Second)}) // older than one that was used

	code = p.next()
	var let atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		c := h.browser()
		c.password("ada@example.com")
		all.Go(func() {
			if c.send("POST", factorPath, `{"totp":"`+code+`"}`).Code == 201 {
				let.Add(1)
			}
		})
	}
	all.Wait()
	if n := let.Load(); n > 1 { // none when the tries in parallel were too many
		t.Fatalf("%d sign-ins with one code", n)
	}
}

func TestPasswordAloneIsNoSessionWhenAFactorIsEnrolled(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	h.browser().signIn("ada@example.com").enrolPhone()
	b := h.browser()
	b.password("ada@example.com")
	pending := b.cookies[pendingCookieName]
	for _, r := range h.Routes() {
		if r.Permission == api.Public {
			continue
		}
		path := strings.NewReplacer("{slug}", "acme", "{env}", "prod", "{id}", "none", "{session}", "none").Replace(r.Path)
		for _, cookie := range []string{"", cookieName + "=" + pending, pendingCookieName + "=" + pending} {
			if w := b.send(r.Method, path, emptyBody(r), "Cookie", cookie); w.Code != 401 {
				t.Errorf("%s %s with what is pending as %q: %d", r.Method, r.Path, cookie, w.Code)
			}
		}
	}
	b.show(422, Shown{Passkey: json.RawMessage(`{}`)})
}

func TestPendingSignInEnds(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	p, _ := h.browser().signIn("ada@example.com").enrolPhone()
	late := h.browser()
	late.password("ada@example.com")
	h.clock.add(pendingLife)
	equal(t, "late", codeOf(t, late.show(401, Shown{TOTP: p.code(0)})), "sign-in-expired")

	b := h.browser()
	b.password("ada@example.com")
	for range pendingTries {
		b.send("POST", factorPath, `{"totp":"000000"}`)
	}
	h.clock.add(accountPolicy.Longest)
	equal(t, "tried too often", codeOf(t, b.show(401, Shown{TOTP: p.code(0)})), "sign-in-expired")

	b.password("ada@example.com")
	h.open() // a restart
	equal(t, "after a restart", codeOf(t, b.show(401, Shown{TOTP: p.code(0)})), "sign-in-expired")
	must(t, h.Sweep(bg))
}

func TestPendingSignInIsOfOneBrowser(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	p, _ := h.browser().signIn("ada@example.com").enrolPhone()
	victim, attacker := h.browser(), h.browser()
	victim.password("ada@example.com")
	attacker.show(401, Shown{TOTP: p.next()})
	attacker.cookies[pendingCookieName] = "planted"
	attacker.show(401, Shown{TOTP: p.next()})
	// Fixation: what the attacker planted is replaced, not used.
	victim.cookies[pendingCookieName] = "planted"
	victim.password("ada@example.com")
	if victim.cookies[pendingCookieName] == "planted" {
		t.Fatal("a planted cookie became the pending sign-in")
	}
}

func TestBruteForceOfCodesIsSlowed(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	p, _ := h.browser().signIn("ada@example.com").enrolPhone()
	b, tried := h.browser(), 0
	for i := range 30 { // the right password each time does not clear the count
		b.address = fmt.Sprintf("198.51.100.%d:1", i)
		w := b.send("POST", "/api/v1/session", credentials("ada@example.com", goodPassword))
		if w.Code != 202 {
			break
		}
		if b.send("POST", factorPath, `{"totp":"000000"}`).Code == 422 {
			tried++
		}
	}
	equal(t, "codes tried", tried, accountPolicy.Free)
	equal(t, "the right one waits, too", codeOf(t, b.show(429, Shown{TOTP: p.code(0)})), "too-many")
	h.clock.add(accountPolicy.Longest)
	b.password("ada@example.com")
	b.show(201, Shown{TOTP: p.code(0)})
}

func TestRecoveryCodes(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	mine := h.browser().signIn("ada@example.com")
	equal(t, "none before a factor", codeOf(t, mine.want(409, "POST", ownFactors+"/recovery-codes", "")), "no-factor")
	_, codes := mine.enrolPhone()
	left := func() int { return decode[Factors](t, mine.want(200, "GET", ownFactors, "")).RecoveryCodes.Left }
	equal(t, "left", left(), recoveryCodeCount)

	b := h.browser()
	b.password("ada@example.com")
	b.show(422, Shown{RecoveryCode: "aaaaa-aaaaa"})
	b.show(201, Shown{RecoveryCode: " " + strings.ToUpper(strings.ReplaceAll(codes[0], "-", " "))}) // as people type
	equal(t, "left", left(), recoveryCodeCount-1)
	again := h.browser()
	again.password("ada@example.com")
	again.show(422, Shown{RecoveryCode: codes[0]})

	made := decode[NewRecoveryCodes](t, mine.want(201, "POST", ownFactors+"/recovery-codes", ""))
	equal(t, "left", left(), recoveryCodeCount)
	again.show(422, Shown{RecoveryCode: codes[1]})
	again.show(201, Shown{RecoveryCode: made.Codes[1]})
}

func TestRecoveryCodesAreNotKeptInClear(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	_, codes := h.browser().signIn("ada@example.com").enrolPhone()
	seen := map[string]bool{}
	for _, code := range codes {
		equal(t, "form", len(code), recoveryCodeLength+1)
		equal(t, "twice", seen[code], false)
		seen[code] = true
	}
	rows, err := h.recoveryCodes(bg, "nobody")
	must(t, err)
	equal(t, "of nobody", rows.Of, 0)
}

func TestRecoveryCodeOfTwoAtOnce(t *testing.T) {
	h := newHouse(t)
	o := h.owner("ada@example.com")
	_, codes := h.browser().signIn("ada@example.com").enrolPhone()
	var let atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if ok, err := h.useRecoveryCode(bg, o.ID, codes[0]); ok && err == nil {
				let.Add(1)
			}
		})
	}
	all.Wait()
	equal(t, "uses of one code", let.Load(), 1)
}

func TestFactorThatCannotBeRecordedIsNotAdded(t *testing.T) {
	h := newHouse(t)
	o := h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	begun := decode[NewTOTP](t, b.want(200, "POST", ownFactors+"/totp", ""))
	h.log.fail = errors.New("no log")
	b.want(500, "POST", ownFactors+"/totp/confirm", jsonBody(t, ConfirmTOTP{Code: phone{h, begun.Secret}.code(0)}))
	h.log.fail = nil
	rows, err := h.factors(bg, o.ID)
	must(t, err)
	equal(t, "factors", len(rows), 0)

	// One that would have replaced another leaves that as it was.
	b.enrolPhone()
	before, err := h.factors(bg, o.ID)
	must(t, err)
	begun = decode[NewTOTP](t, b.want(200, "POST", ownFactors+"/totp", ""))
	h.log.fail = errors.New("no log")
	b.want(500, "POST", ownFactors+"/totp/confirm", jsonBody(t, ConfirmTOTP{Code: phone{h, begun.Secret}.code(0)}))
	h.log.fail = nil
	after, err := h.factors(bg, o.ID)
	must(t, err)
	equal(t, "factors after", fmt.Sprint(after), fmt.Sprint(before))
}

func TestEnrollingAsksForAFreshFactor(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	h.clock.add(FreshFor)
	w := b.want(403, "POST", ownFactors+"/totp", "")
	equal(t, "code", codeOf(t, w), "step-up-required")
	b.want(422, "POST", stepUpPath, `{"password":"wrong password here"}`)
	old := b.cookies[cookieName]
	b.want(204, "POST", stepUpPath, `{"password":"`+goodPassword+`"}`)
	if b.cookies[cookieName] == old {
		t.Fatal("the session kept its token")
	}
	thief := h.browser()
	thief.cookies[cookieName] = old
	thief.want(401, "GET", "/api/v1/session", "")
	b.enrolPhone()
}

func TestStepUpWithASecondFactorTakesNoPassword(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	p, codes := b.enrolPhone()
	h.clock.add(FreshFor)
	b.want(403, "DELETE", ownFactors+"/totp", "")
	b.want(422, "POST", stepUpPath, `{"password":"`+goodPassword+`"}`)
	b.want(403, "DELETE", ownFactors+"/totp", "")
	equal(t, "ways", strings.Join(decode[StepUpWays](t, b.want(200, "GET", stepUpPath, "")).Factors, " "), "totp recovery-code")
	b.want(204, "POST", stepUpPath, jsonBody(t, Shown{TOTP: p.code(0)}))
	b.want(422, "POST", stepUpPath, jsonBody(t, Shown{TOTP: p.code(0)})) // a replay
	b.want(204, "DELETE", ownFactors+"/totp", "")
	h.browser().signIn("ada@example.com") // the password is all again
	equal(t, "recovery codes went with it", decode[Factors](t, b.want(200, "GET", ownFactors, "")).RecoveryCodes.Of, 0)
	_ = codes
}

func TestStepUpDoesNotBringBackAnEndedSession(t *testing.T) {
	h := newHouse(t)
	o := h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	token := b.cookies[cookieName]
	must(t, h.EndSessions(bg, o.ID))
	if _, err := h.sessions.renew(bg, token, func(*Session) {}); !isNotFound(err) {
		t.Fatalf("renewed an ended session: %v", err)
	}
	var all sync.WaitGroup
	live := h.browser().signIn("ada@example.com").cookies[cookieName]
	all.Go(func() { _ = h.EndSessions(bg, o.ID) })
	all.Go(func() { _, _ = h.sessions.renew(bg, live, func(*Session) {}) })
	all.Wait()
	left, err := h.sessions.of(bg, o.ID)
	must(t, err)
	equal(t, "sessions left", len(left), 0)
}

func TestEnrolmentOfAnotherSessionIsNothing(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	h.owner("eve@example.com")
	ada, eve := h.browser().signIn("ada@example.com"), h.browser().signIn("eve@example.com")
	begun := decode[NewTOTP](t, ada.want(200, "POST", ownFactors+"/totp", ""))
	eve.want(409, "POST", ownFactors+"/totp/confirm", jsonBody(t, ConfirmTOTP{Code: phone{h, begun.Secret}.code(0)}))
	ada.want(422, "POST", ownFactors+"/totp/confirm", `{"code":"000000"}`)
	ada.want(422, "POST", ownFactors+"/totp/confirm", `{"code":"000000","name":"`+strings.Repeat("x", 61)+`"}`)
}

func TestQRCodeSaysTheURI(t *testing.T) {
	uri := signin.URI("JBSWY3DPEHPK3PXP", "Holdfast box.example", "ada+x@example.com")
	equal(t, "uri", uri, "otpauth://totp/Holdfast%20box.example:ada+x@example.com?issuer=Holdfast%20box.example&secret=JBSWY3DPEHPK3PXP")
	rows, err := signin.QR(uri)
	must(t, err)
	for _, row := range rows {
		equal(t, "square", len(row), len(rows))
	}
	equal(t, "finder pattern", rows[0][:7]+rows[1][:7], "11111111000001")
	equal(t, "typed", signin.Typed("ABCDEFGHIJ"), "ABCD EFGH IJ")
}

func TestWrongFactorIsShownToThePerson(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	mine := h.browser().signIn("ada@example.com")
	mine.enrolPhone()
	thief := h.browser()
	thief.address = "198.51.100.7:1"
	thief.password("ada@example.com")
	thief.show(422, Shown{TOTP: "000000"})
	list := decode[api.Page[SignIn]](t, mine.want(200, "GET", "/api/v1/session/sign-ins", ""))
	equal(t, "outcome", list.Items[0].Outcome, api.Failed)
	equal(t, "address", list.Items[0].Address, "198.51.100.7")
	equal(t, "total", list.Total, 2)
	h.clock.add(signInsKept + time.Minute)
	must(t, h.Sweep(bg))
	page, err := h.signIns(bg, "", api.Paging{Page: 1, PerPage: 5})
	must(t, err)
	equal(t, "of nobody", page.Total, 0)
}

// lock locks an account.
func (h *house) lock(email string) {
	h.t.Helper()
	must(h.t, h.config.DB.Update(bg, func(tx *sqlx.Tx) error {
		_, err := tx.Exec(`UPDATE persons SET state = 'locked' WHERE email = ?`, email)
		return err
	}))
	h.grants.forget()
}
