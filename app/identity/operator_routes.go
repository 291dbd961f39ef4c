package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

func (s *Service) operatorRoutes() []api.Route {
	const path, one = "/api/v1/operators", "/api/v1/operators/{id}"
	return []api.Route{
		{
			Method: http.MethodGet, Path: path, Permission: api.OperatorRead, Paged: true,
			Summary: "List operators; filter is text in address or name", Response: api.Page[Operator]{}, Handler: s.serveOperators,
		},
		{
			Method: http.MethodPost, Path: path, Permission: api.OperatorManage, Assurance: api.Fresh, Summary: "Make an operator: a new account, or one that exists when no password is given",
			Request: NewOperator{}, Response: Operator{}, Status: http.StatusCreated, Handler: s.serveNewOperator,
		},
		{
			Method: http.MethodPatch, Path: one, Permission: api.OperatorManage, Assurance: api.Fresh, Summary: "Give an operator one role in place of all others",
			Request: RoleChange{}, Response: Operator{}, Handler: s.serveOperatorRole,
		},
		{
			Method: http.MethodDelete, Path: one, Permission: api.OperatorManage, Assurance: api.Fresh,
			Summary: "Take all roles on the appliance from a person, at once", Handler: s.serveEndOperator,
		},
	}
}

// CreateOperator makes a person with a role on the appliance.
func (s *Service) CreateOperator(ctx context.Context, n NewOperator) (Operator, error) {
	if n.Role == "" {
		n.Role = Owner
	}
	end, err := s.giving(ctx, Appliance, n.Role)
	if err != nil {
		return Operator{}, err
	}
	email, _ := cleanEmail(n.Email)
	if row, err := s.personByEmail(ctx, email); err == nil && n.Password == "" {
		return s.promote(ctx, row.ID, n.Role)
	}
	if err := s.withoutPassword(&n.NewPerson, Appliance); err != nil {
		return Operator{}, err
	}
	if wrong := n.clean(s.weak); len(wrong) > 0 {
		return Operator{}, api.Invalid(wrong...)
	}
	n.first = n.ChangePassword
	hash, err := s.firstHash(ctx, n.NewPerson)
	if err != nil {
		return Operator{}, err
	}
	p, err := s.addOperator(ctx, n.NewPerson, Grant{Role: n.Role, Until: end}, hash, "")
	if err != nil {
		return Operator{}, err
	}
	return s.operator(ctx, p.ID)
}

// promote gives somebody who has an account a role on the appliance.
func (s *Service) promote(ctx context.Context, person, role string) (Operator, error) {
	if _, err := s.operator(ctx, person); err == nil {
		return Operator{}, api.Errorf(http.StatusConflict, "exists", "This person is an operator already.").Because(data.ErrExists)
	}
	if _, err := s.give(ctx, Grant{Person: person, Role: role, Scope: Appliance}); err != nil {
		return Operator{}, err
	}
	return s.operator(ctx, person)
}

func (s *Service) serveNewOperator(w http.ResponseWriter, r *http.Request) error {
	var in NewOperator
	if err := api.Read(r, &in); err != nil {
		return err
	}
	in.ChangePassword = in.ChangePassword || data.ActorFrom(r.Context()).Kind != data.Host
	made, err := s.CreateOperator(r.Context(), in)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, made)
}

func (s *Service) serveOperatorRole(w http.ResponseWriter, r *http.Request) error {
	var in RoleChange
	if err := api.Read(r, &in); err != nil {
		return err
	}
	g, err := s.change(r.Context(), Grant{Person: r.PathValue("id"), Role: in.Role, Scope: Appliance, Why: in.Why})
	if err != nil {
		return err
	}
	o, err := s.operator(r.Context(), g.Person)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, o)
}

func (s *Service) serveEndOperator(w http.ResponseWriter, r *http.Request) error {
	ctx, person := r.Context(), r.PathValue("id")
	err := s.endingGrantsAnd(ctx, Appliance, func(tx *sqlx.Tx) error { return s.owe(ctx, tx, "", "operator.end", person, nil) },
		`person = ? AND scope = ?`, person, Appliance)
	if err != nil {
		return fmt.Errorf("end operator: %w", err)
	}
	return api.NoContent(w)
}

func (s *Service) serveOperators(w http.ResponseWriter, r *http.Request) error {
	page, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	list, err := s.operators(r.Context(), page)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, list)
}

func (s *Service) operator(ctx context.Context, id string) (Operator, error) {
	var row operatorRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &row, selectOperators+` WHERE p.id = ?`, Appliance, id))
	})
	return row.operator(), errors.Join(err)
}
