package identity

import (
	"net/netip"
	"testing"

	"holdfast/app/api"
)

func TestKeyIsKeptToItsAddresses(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{Scope: ScopeRead, Addresses: []string{"192.0.2.0/24", " 2001:db8::1 ", "::ffff:198.51.100.7", "192.0.2.9/24"}})
	equal(t, "kept once each, in one form", len(k.Addresses), 3)
	for from, ok := range map[string]bool{
		"192.0.2.77:4444": true, "192.0.2.77": true, "[::ffff:192.0.2.1]:1": true, "[2001:db8::1]:443": true, "198.51.100.7:1": true,
		"192.0.3.1:4444": false, "[2001:db8::2]:443": false, "198.51.100.8:1": false, "127.0.0.1:1": false, "": false, "@": false,
	} {
		_, err := h.ResolveKey(bg, k.Key, acme, from)
		if ok {
			must(t, err)
			continue
		}
		wantErr(t, err, api.ErrUnauthenticated)
		equal(t, from, api.AsProblem(err).Code, "key-address")
	}
	_, err := h.ResolveKey(bg, k.Key, beta, "192.0.2.1:1")
	equal(t, "elsewhere it is no key at all", api.AsProblem(err).Code, "key-invalid")
}

func TestAddressesOfAKeyAreChecked(t *testing.T) {
	h := newHouse(t)
	h.ownerOf("ada@example.com", acme.Tenant)
	b := h.browser().signIn("ada@example.com")
	for _, bad := range []string{`[]`, `["here"]`, `["0.0.0.0/0"]`, `["::/0"]`, `["192.0.2.1/33"]`, `["fe80::1%eth0"]`, `[""]`, `["::ffff:0.0.0.0/0"]`} {
		b.want(422, "POST", keysPath, `{"name":"x","scope":"read","addresses":`+bad+`}`)
	}
	made := decode[Key](t, b.want(201, "POST", keysPath, `{"name":"x","scope":"read","addresses":["192.0.2.1"]}`))
	equal(t, "shown", made.Addresses[0], "192.0.2.1/32")
	equal(t, "in the log", h.log.detail["addresses"], `["192.0.2.1/32"]`)
	list := decode[api.Page[Key]](t, b.want(200, "GET", keysPath, ""))
	equal(t, "listed", list.Items[0].Addresses[0], "192.0.2.1/32")
}

func FuzzAddresses(f *testing.F) {
	for _, s := range []string{"192.0.2.0/24", "::1", "::ffff:1.2.3.4", "x", "0.0.0.0/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePrefix(s)
		if err != nil {
			return
		}
		again, err := netip.ParsePrefix(p.String())
		if err != nil || again != p || !admits([]netip.Prefix{p}, p.Addr().String()) {
			t.Fatalf("%q gave %s, read back as %s (%v)", s, p, again, err)
		}
	})
}
