package mail

import (
	"context"
	"fmt"
	"net/http"
	"net/mail"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data/system"
)

// Shown is the settings as they are shown: the password never is.
type Shown struct {
	Set         bool       `json:"set"`
	Host        string     `json:"host"`
	Port        int        `json:"port"`
	TLS         string     `json:"tls" enum:"starttls,tls,none"`
	User        string     `json:"user"`
	HasPassword bool       `json:"hasPassword"`
	From        string     `json:"from"`
	Roots       string     `json:"roots" doc:"PEM; empty: the system's"`
	Changed     *time.Time `json:"changed" doc:"when somebody last set the server; null while none is set"`
	ChangedBy   string     `json:"changedBy" doc:"actor; who has the server can read every code and link"`
	Waiting     int        `json:"waiting" doc:"letters that have not gone yet"`
	Failed      int        `json:"failed" doc:"of the last 30 days"`
}

// Wanted sets them.
type Wanted struct {
	Host     string  `json:"host"`
	Port     int     `json:"port,omitempty" doc:"587, 465 or 25 by tls when left out"`
	TLS      string  `json:"tls,omitempty" enum:"starttls,tls,none" doc:"starttls when left out; none only for a server on this host"`
	User     string  `json:"user,omitempty"`
	Password *string `json:"password,omitempty" secret:"true" doc:"left out: the one that is set stays, if the server does"`
	From     string  `json:"from"`
	Roots    string  `json:"roots,omitempty" doc:"PEM of the server's own authority"`
}

// Test asks for a letter that says that mail works.
type Test struct {
	To string `json:"to"`
}

// Tested is how it went.
type Tested struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty" doc:"what the server said"`
}

// LetterShown is a letter without its text.
type LetterShown struct {
	ID      string     `json:"id"`
	To      string     `json:"to"`
	Kind    string     `json:"kind"`
	Subject string     `json:"subject"`
	State   string     `json:"state" enum:"waiting,sending,sent,failed,expired"`
	Tries   int        `json:"tries"`
	Created time.Time  `json:"created"`
	Ended   *time.Time `json:"ended"`
	Error   string     `json:"error,omitempty"`
}

// Routes are the capability over REST.
func (s *Service) Routes() []api.Route {
	const path = "/api/v1/mail"
	return []api.Route{
		{Method: http.MethodGet, Path: path, Permission: api.OperatorRead, Summary: "How mail is sent", Response: Shown{}, Handler: s.serveShow},
		{Method: http.MethodPut, Path: path, Permission: api.OperatorManage, Assurance: api.Fresh, Pair: pair("Set the mail server"), Summary: "Set the mail server", Request: Wanted{}, Response: Shown{}, Handler: s.serveSet},
		{Method: http.MethodDelete, Path: path, Permission: api.OperatorManage, Assurance: api.Fresh, Pair: pair("Forget the mail server"), Summary: "Forget the mail server: links are shown to who asks", Handler: s.serveRemove},
		{Method: http.MethodPost, Path: path + "/test", Permission: api.OperatorManage, Summary: "Send a letter now, and say how it went", Request: Test{}, Response: Tested{}, Handler: s.serveTest},
		{Method: http.MethodGet, Path: path + "/outbox", Permission: api.OperatorRead, Paged: true, Summary: "Letters of the last 30 days without their text, the newest first; filter is a state", Response: api.Page[LetterShown]{}, Handler: s.serveOutbox},
	}
}

func (s *Service) serveShow(w http.ResponseWriter, r *http.Request) error {
	shown, err := s.shown(r.Context())
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, shown)
}

func (s *Service) shown(ctx context.Context) (out Shown, err error) {
	if found := s.settings.Load(); found != nil {
		out = Shown{Set: true, Host: found.Host, Port: found.Port, TLS: found.TLS, User: found.User, HasPassword: found.Password != "", From: found.From, Roots: found.Roots}
	}
	var last []struct {
		At int64  `db:"updated"`
		By string `db:"updated_by"`
	}
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.SelectContext(ctx, &last, `SELECT updated, updated_by FROM mail_settings`); err != nil {
			return err
		}
		for _, l := range last { // one at most
			at := time.UnixMilli(l.At).UTC()
			out.Changed, out.ChangedBy = &at, l.By
		}
		if err := tx.GetContext(ctx, &out.Waiting, `SELECT count(*) FROM mail_outbox WHERE state IN ('waiting', 'sending')`); err != nil {
			return err
		}
		return tx.GetContext(ctx, &out.Failed, `SELECT count(*) FROM mail_outbox WHERE state IN ('failed', 'expired')`)
	})
	return out, err
}

// serveSet keeps the password only for the server that it was set for: it would else
// be a way to read it.
func (s *Service) serveSet(w http.ResponseWriter, r *http.Request) error {
	var in Wanted
	if err := api.Read(r, &in); err != nil {
		return err
	}
	next := Settings{Host: in.Host, Port: in.Port, TLS: in.TLS, User: in.User, From: in.From, Roots: in.Roots}
	if err := next.check(); err != nil {
		return err
	}
	if in.Password != nil {
		next.Password = *in.Password
	} else if now := s.settings.Load(); now != nil && now.Host == next.Host && now.Port == next.Port && now.User == next.User && now.TLS == next.TLS && now.Roots == next.Roots {
		next.Password = now.Password
	}
	if err := s.Set(r.Context(), next); err != nil {
		return err
	}
	return s.serveShow(w, r)
}

func (s *Service) serveRemove(w http.ResponseWriter, r *http.Request) error {
	if err := s.Remove(r.Context()); err != nil {
		return err
	}
	return api.NoContent(w)
}

// serveTest hands a letter over while somebody waits; it does not pass through the
// outbox.
func (s *Service) serveTest(w http.ResponseWriter, r *http.Request) error {
	var in Test
	if err := api.Read(r, &in); err != nil {
		return err
	}
	to, err := mail.ParseAddress(in.To)
	if err != nil {
		return api.InvalidField("to", "is not an e-mail address")
	}
	settings := s.settings.Load()
	if settings == nil {
		return api.Errorf(http.StatusConflict, "mail-not-set", "No mail server is set up yet. Set one: holdfast mail set HOST --mail-from ADDRESS").Because(ErrNotSet)
	}
	if err := s.record(r.Context(), "mail.test", settings.Host, nil); err != nil {
		return err
	}
	ctx, end := context.WithTimeout(r.Context(), carryLimit)
	defer end()
	err = s.config.Carrier.Carry(ctx, *settings, system.NewID(), Letter{To: to.Address, Kind: "test", Subject: "Mail from Holdfast works",
		Text: "This is a test. Whoever asked for it can read it here, so mail works.\n"})
	if err != nil {
		return api.Respond(w, http.StatusOK, Tested{Error: clip(fmt.Sprint(err))})
	}
	return api.Respond(w, http.StatusOK, Tested{OK: true})
}

func (s *Service) serveOutbox(w http.ResponseWriter, r *http.Request) error {
	page, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	list, err := s.outbox(r.Context(), page)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, list)
}

func (s *Service) outbox(ctx context.Context, page api.Paging) (api.Page[LetterShown], error) {
	const where = ` FROM mail_outbox WHERE (? = '' OR state = ?)`
	var rows []letterRow
	var total int
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*)`+where, page.Filter, page.Filter); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT `+letterColumns+where+` ORDER BY created DESC, id LIMIT ? OFFSET ?`,
			page.Filter, page.Filter, page.PerPage, page.Offset())
	})
	if err != nil {
		return api.Page[LetterShown]{}, fmt.Errorf("list letters: %w", err)
	}
	items := make([]LetterShown, len(rows))
	for i, row := range rows {
		items[i] = row.shown()
	}
	return api.NewPage(items, page, total), nil
}

func (r letterRow) shown() LetterShown {
	out := LetterShown{ID: r.ID, To: r.To, Kind: r.Kind, Subject: r.Subject, State: r.State, Tries: r.Tries, Created: time.UnixMilli(r.Created).UTC(), Error: r.Error}
	if r.Ended > 0 {
		ended := time.UnixMilli(r.Ended).UTC()
		out.Ended = &ended
	}
	return out
}
