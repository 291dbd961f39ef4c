package app

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// userFlags are those of a policy: each that is given becomes one change of it.
type userFlags struct {
	text func(name, usage string, fn func(string) error)
	set  *[]func(*userPolicy)
}

func (f userFlags) add(change func(*userPolicy)) error {
	*f.set = append(*f.set, change)
	return nil
}

func (f userFlags) define() {
	f.onOff("totp", "authenticator apps: on or off", func(p *userPolicy, on bool) { p.TOTP = on })
	f.onOff("passkeys", "passkeys: on or off", func(p *userPolicy, on bool) { p.Passkeys = on })
	f.text("second-factor", "enrolled: asked of who has one; always: of everybody", func(s string) error {
		return f.add(func(p *userPolicy) { p.SecondFactor = s })
	})
	f.text("origins", "pages beside the tenant's host where passkeys work, separated by commas; - for none", func(s string) error {
		list := []string{}
		if s != "-" {
			list = strings.Split(s, ",")
		}
		return f.add(func(p *userPolicy) { p.Origins = list })
	})
	f.number("min-length", "least characters of a password", func(p *userPolicy, n int) { p.Password.MinLength = n })
	f.number("min-bits", "least estimated strength of a password, in bits", func(p *userPolicy, n int) { p.Password.MinBits = n })
	f.number("history", "former passwords that are refused, 0 to 10", func(p *userPolicy, n int) { p.Password.History = n })
	f.onOff("refuse-common", "refuse common passwords: on or off", func(p *userPolicy, on bool) { p.Password.RefuseCommon = on })
	f.onOff("keep-unproven", "a password from before the address was verified goes on, whoever verifies it: on or off", func(p *userPolicy, on bool) { p.KeepUnproven = on })
	f.span("token-life", "life of a token, as 12h; 0 for the collection's own", func(p *userPolicy, s int64) { p.Sessions.TokenSeconds = s })
	f.span("max-age", "how long after a sign-in tokens are refreshed, as 720h; 0 for ever", func(p *userPolicy, s int64) { p.Sessions.MaxAgeSeconds = s })
	f.onOff("end-on-change", "a change of factors ends other tokens: on or off", func(p *userPolicy, on bool) { p.Sessions.EndOnChange = on })
	f.number("account-tries", "failed tries for an account before it waits; 0 for no limit", func(p *userPolicy, n int) { p.Attempts.Account = n })
	f.number("address-tries", "failed tries from an address before it waits; 0 for no limit", func(p *userPolicy, n int) { p.Attempts.Address = n })
	f.span("longest-wait", "longest wait after failed tries, as 60s", func(p *userPolicy, s int64) { p.Attempts.LongestWait = int(s) })
}

func (f userFlags) onOff(name, about string, change func(*userPolicy, bool)) {
	f.text(name, about, func(s string) error {
		if s != "on" && s != "off" {
			return fmt.Errorf("on or off, not %q", s)
		}
		return f.add(func(p *userPolicy) { change(p, s == "on") })
	})
}

func (f userFlags) number(name, about string, change func(*userPolicy, int)) {
	f.text(name, about, func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("a number, not %q", s)
		}
		return f.add(func(p *userPolicy) { change(p, n) })
	})
}

func (f userFlags) span(name, about string, change func(*userPolicy, int64)) {
	f.text(name, about, func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("a time as 12h or 60s, not %q", s)
		}
		return f.add(func(p *userPolicy) { change(p, int64(d/time.Second)) })
	})
}
