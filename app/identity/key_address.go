package identity

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"holdfast/app/api"
)

// maxKeyAddresses bounds a key's list of addresses.
const maxKeyAddresses = 50

// parsePrefix reads an address or a network; an IPv4 address in IPv6's clothes is the
// IPv4 address.
func parsePrefix(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	if p, err := netip.ParsePrefix(s); err == nil && !p.Addr().Is4In6() {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%.50q is no address (192.0.2.1) and no network (192.0.2.0/24, 2001:db8::/32)", s)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// cleanAddresses gives a list its one form, as JSON. A 422 names what is wrong. A network
// of everything is refused: it would look like a limit.
func cleanAddresses(list []string) (string, error) {
	if len(list) > maxKeyAddresses {
		return "", api.InvalidField("addresses", "at most %d", maxKeyAddresses)
	}
	clean := []string{}
	for _, s := range list {
		p, err := parsePrefix(s)
		if err != nil {
			return "", api.InvalidField("addresses", "%v", err)
		}
		if p.Bits() == 0 {
			return "", api.InvalidField("addresses", "%s is every address; leave the list out", p)
		}
		if text := p.String(); !slices.Contains(clean, text) {
			clean = append(clean, text)
		}
	}
	text, err := json.Marshal(clean)
	return string(text), err
}

// prefixes are the addresses that the key is kept to; nil: any.
func (r keyRow) prefixes() (list []netip.Prefix, err error) {
	texts, err := stringList(r.Addresses)
	for _, text := range texts {
		p, e := netip.ParsePrefix(text)
		if e != nil { // a list that cannot be read must not count as none
			return nil, fmt.Errorf("read the key's addresses: %w", e)
		}
		list = append(list, p)
	}
	return list, err
}

// admits says whether a key with this list may come from the address.
func admits(list []netip.Prefix, from string) bool {
	if len(list) == 0 {
		return true
	}
	if host, _, err := net.SplitHostPort(from); err == nil {
		from = host
	}
	a, err := netip.ParseAddr(from)
	if err != nil {
		return false
	}
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}
