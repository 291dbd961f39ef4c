package sso

import (
	"net"
	"net/http"
)

// Names of the cookie that ties a journey to a browser. It is Strict: the request that
// finishes is the console's own.
const (
	cookieName      = "__Host-holdfast-sso"
	plainCookieName = "holdfast-insecure-sso"
)

// plain says that the browser would not take a Secure cookie; see identity's cookie.
func (s *Service) plain(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return s.config.InsecureHTTP && r.TLS == nil && !isLoopback(host)
}

func (s *Service) cookie(r *http.Request, value string) *http.Cookie {
	c := &http.Cookie{Name: cookieName, Value: value, Path: "/", HttpOnly: true, Secure: true,
		SameSite: http.SameSiteStrictMode, MaxAge: int(journeyTime.Seconds())}
	if s.plain(r) {
		c.Name, c.Secure = plainCookieName, false
	}
	return c
}

func (s *Service) endCookie(r *http.Request) *http.Cookie {
	c := s.cookie(r, "")
	c.MaxAge = -1
	return c
}

// token is what the request's cookie holds, "" for none or more than one.
func (s *Service) token(r *http.Request) string {
	if found := r.CookiesNamed(s.cookie(r, "").Name); len(found) == 1 {
		return found[0].Value
	}
	return ""
}
