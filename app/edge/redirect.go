package edge

import (
	"net/http"

	"holdfast/app/api"
)

// redirectHandler answers ACME's challenges over plain HTTP and leads everything
// else to HTTPS, on hosts that are ours.
func (e *Edge) redirectHandler() http.Handler {
	h := http.HandlerFunc(e.redirectToTLS)
	if e.tls == nil {
		return h
	}
	return e.tls.challenges(h)
}

func (e *Edge) redirectToTLS(w http.ResponseWriter, r *http.Request) {
	name, ok := hostName(r.Host)
	if !ok || locate(name, e.config.Domains).kind == unknownHost {
		api.WriteProblem(w, api.Errorf(http.StatusMisdirectedRequest, "unknown-host", "This server does not answer for that host."))
		return
	}
	w.Header().Set("Connection", "close")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		// A redirect would ask the client to send again what has already gone in clear.
		api.WriteProblem(w, api.Errorf(http.StatusForbidden, "https", "Use https://."))
		return
	}
	http.Redirect(w, r, "https://"+name+e.port("443")+r.URL.RequestURI(), http.StatusPermanentRedirect)
}
