package identity

import (
	"net"
	"net/http"
	"net/netip"
)

// Names of the session cookie. The __Host- prefix makes browsers insist on
// Secure, on the whole path and on no Domain, so that no other host, a
// tenant's included, can set or read it. The plain name serves only a server that
// was told to speak plain HTTP to other hosts.
const (
	cookieName      = "__Host-holdfast"
	plainCookieName = "holdfast-insecure"
)

// plain says that the browser would not take a Secure cookie: plain HTTP from
// another host than this one. Chromium and Firefox count loopback as trustworthy.
func (s *Service) plain(r *http.Request) bool {
	return s.config.InsecureHTTP && r.TLS == nil && !loopback(r.Host)
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func (s *Service) cookie(r *http.Request, token string) *http.Cookie {
	c := &http.Cookie{
		Name: cookieName, Value: token, Path: "/", HttpOnly: true, Secure: true,
		SameSite: http.SameSiteStrictMode, MaxAge: int(SessionAbsolute.Seconds()),
	}
	if s.plain(r) {
		c.Name, c.Secure = plainCookieName, false
	}
	return c
}

// token is the session token that the request carries, "" when none. A second
// cookie of the name is another's doing: then none counts.
func (s *Service) token(r *http.Request) string {
	name := cookieName
	if s.plain(r) {
		name = plainCookieName
	}
	if found := r.CookiesNamed(name); len(found) == 1 {
		return found[0].Value
	}
	return ""
}

func (s *Service) clearCookie(r *http.Request) *http.Cookie {
	c := s.cookie(r, "")
	c.MaxAge = -1
	return c
}
