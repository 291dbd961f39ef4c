package app

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// A client that hammers closed doors must not fill the log. Refusals of one actor
// at one place are recorded once a minute, those of one address without a valid
// key once a minute wherever they are. A store's log takes no more than these of
// them in a minute; strangers cannot use up the part of those who are known.
const (
	refusalPause   = time.Minute
	maxRefusals    = 60
	maxOfStrangers = 40
	maxPathInEntry = 120 // bytes
)

// refusals puts what a tenant's host refused into that store's audit log.
type refusals struct {
	recorder api.Recorder
	now      func() time.Time
	sparse   *api.Sparse
	mu       sync.Mutex
	stores   map[string]*refusalMinute
}

// refusalMinute is what one store's log took within a minute.
type refusalMinute struct {
	began           time.Time
	taken, stranger int
	left            int // out since the last entry
}

func newRefusals(r api.Recorder, now func() time.Time) *refusals {
	return &refusals{recorder: r, now: now, sparse: api.NewSparse(refusalPause, now), stores: map[string]*refusalMinute{}}
}

// refusal is one refused request.
type refusal struct {
	name     string // refusals of one name are one entry a minute
	stranger bool
	event    api.Event
}

// credential records that a request's API key was not accepted. Nothing of the key
// is kept but where it came from.
func (f *refusals) credential(r *http.Request, id data.StoreID, reason error) error {
	p := api.AsProblem(reason)
	no := f.refused(r, id, "key.use")
	no.name, no.stranger = "key "+p.Code+" "+origin(r), true
	no.event.Detail["code"], no.event.Detail["address"] = p.Code, address(r)
	return f.record(r.Context(), no)
}

// watch records a 403 before it is answered.
func (f *refusals) watch(w http.ResponseWriter, r *http.Request, id data.StoreID) http.ResponseWriter {
	return &watched{ResponseWriter: w, refused: func() error {
		no := f.refused(r, id, "data.use")
		if data.ActorFrom(r.Context()).Kind == data.Guest {
			no.name, no.stranger = "guest "+origin(r), true
			no.event.Detail["address"] = address(r)
		}
		return f.record(r.Context(), no)
	}}
}

// refused describes the request; its name is the actor's at this place.
func (f *refusals) refused(r *http.Request, id data.StoreID, action string) refusal {
	p := placeOf(r.URL.Path)
	detail := map[string]string{"method": r.Method, "route": p.shape}
	if p.collection != "" {
		detail["collection"] = p.collection
	}
	return refusal{
		name:  data.ActorFrom(r.Context()).String() + " " + r.Method + " " + p.shape + " " + p.collection,
		event: api.Event{Action: action, Target: clipPath(r.URL.Path), Store: id.String(), Outcome: api.Refused, Detail: detail},
	}
}

// record returns when the entry, or an earlier one that stands for it, is durable.
// An entry counts those that have none of their own.
func (f *refusals) record(ctx context.Context, no refusal) error {
	store := no.event.Store
	return f.sparse.Do(store+" "+no.name, func(held int) error {
		left, ok := f.admit(store, no.stranger, held)
		if !ok {
			return nil
		}
		count(no.event.Detail, "repeated", held)
		count(no.event.Detail, "unrecorded", left)
		err := f.recorder.Record(context.WithoutCancel(ctx), no.event)
		if err != nil {
			f.giveBack(store, no.stranger, left)
		}
		return err
	})
}

func count(detail map[string]string, name string, n int) {
	if n > 0 {
		detail[name] = strconv.Itoa(n)
	}
}

// admit says whether the store's log takes one more this minute, and gives how many
// had to stay out of it since the last entry. One that is not taken is counted.
func (f *refusals) admit(store string, stranger bool, held int) (left int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.stores[store]
	if now := f.now(); m == nil {
		m = &refusalMinute{began: now}
		f.stores[store] = m
	} else if now.Sub(m.began) >= refusalPause {
		*m = refusalMinute{began: now, left: m.left}
	}
	if m.taken >= maxRefusals || stranger && m.stranger >= maxOfStrangers {
		m.left += 1 + held
		return 0, false
	}
	left, m.left = m.left, 0
	m.add(stranger, 1)
	return left, true
}

func (m *refusalMinute) add(stranger bool, n int) {
	m.taken += n
	if stranger {
		m.stranger += n
	}
}

// giveBack takes back what admit gave for an entry that could not be written.
func (f *refusals) giveBack(store string, stranger bool, left int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.stores[store]
	m.left += left
	m.add(stranger, -1)
}

func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// origin is the address, or the network of an IPv6 address: whoever has one has all
// of it.
func origin(r *http.Request) string {
	host := address(r)
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Unmap().Is4() {
		return host
	}
	network, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return host
	}
	return network.String()
}

// watched tells of a 403 before the client learns of it. When that cannot be
// recorded, the client gets a 503 instead.
type watched struct {
	http.ResponseWriter
	refused func() error
}

func (w *watched) WriteHeader(status int) {
	if status == http.StatusForbidden && w.refused() != nil {
		status = http.StatusServiceUnavailable
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }
