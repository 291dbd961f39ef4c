package identity

import (
	"context"
	"net/http"
	"strings"
	"unicode/utf8"

	"holdfast/app/api"
)

const pairsPath = "/api/v1/approvals"

// pairRoutes are what takes two persons. Who may decide depends on what is asked for, too:
// the approver needs that very permission.
func (s *Service) pairRoutes() []api.Route {
	const one, policy = pairsPath + "/{id}", "/api/v1/policies/two-persons"
	return []api.Route{
		{Method: http.MethodGet, Path: pairsPath, Permission: api.OperatorRead, Paged: true, Response: api.Page[Approval]{},
			Query:   []api.Param{{Name: "state", Summary: "open, approved, alone or past; all where it is not given"}},
			Summary: "List what was asked for that takes two persons, and what the host did alone, newest first", Handler: s.servePairs},
		{Method: http.MethodGet, Path: one, Permission: api.OperatorRead, Response: Approval{},
			Summary: "Show one of them", Handler: s.servePair},
		{Method: http.MethodPost, Path: one + "/approve", Permission: api.OperatorRead, Assurance: api.Fresh, Request: AccessNote{}, Response: Approval{},
			Summary: "Let somebody else carry out, once, what takes two persons; needs the permission that it takes", Handler: s.decidingPair(s.ApprovePair)},
		{Method: http.MethodPost, Path: one + "/refuse", Permission: api.OperatorRead, Assurance: api.Fresh, Request: AccessNote{}, Response: Approval{},
			Summary: "Answer no", Handler: s.decidingPair(s.RefusePair)},
		{Method: http.MethodDelete, Path: one, Permission: api.Signed, Status: http.StatusOK, Response: Approval{},
			Summary: "Withdraw a request of one's own", Handler: s.serveWithdrawPair},
		{Method: http.MethodGet, Path: policy, Permission: api.OperatorRead, Response: PairPolicy{},
			Summary: "Whether what takes keys or whole data out of the host takes two persons", Handler: s.servePairPolicy},
		{Method: http.MethodPut, Path: policy, Permission: api.OperatorManage, Assurance: api.Fresh, Request: NewPairPolicy{}, Response: PairPolicy{},
			Pair:    &api.Pair{Action: "two-persons.set", Title: "Change whether two persons are asked for"},
			Summary: "Say whether two persons are asked for", Handler: s.serveSetPairPolicy},
	}
}

func (s *Service) servePairs(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	page, err := s.pairs(r.Context(), r.URL.Query().Get("state"), p)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func (s *Service) servePair(w http.ResponseWriter, r *http.Request) error {
	row, err := s.pairByID(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	shown, err := s.shownPair(r.Context(), row)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, shown)
}

func (s *Service) decidingPair(decide func(ctx context.Context, id, note string) (Approval, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var in AccessNote
		if err := api.Read(r, &in); err != nil {
			return err
		}
		if utf8.RuneCountInString(in.Note) > 500 {
			return api.InvalidField("note", "at most 500 characters")
		}
		out, err := decide(r.Context(), r.PathValue("id"), strings.TrimSpace(in.Note))
		if err != nil {
			return err
		}
		return api.Respond(w, http.StatusOK, out)
	}
}

func (s *Service) serveWithdrawPair(w http.ResponseWriter, r *http.Request) error {
	out, err := s.WithdrawPair(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, out)
}

func (s *Service) servePairPolicy(w http.ResponseWriter, r *http.Request) error {
	p, err := s.PairPolicy(r.Context())
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, p)
}

func (s *Service) serveSetPairPolicy(w http.ResponseWriter, r *http.Request) error {
	var in NewPairPolicy
	if err := api.Read(r, &in); err != nil {
		return err
	}
	p, err := s.SetPairPolicy(r.Context(), in.Mode)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, p)
}
