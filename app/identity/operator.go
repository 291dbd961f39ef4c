package identity

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
)

// Operator is a person with a role on the appliance.
type Operator struct {
	Person
	Role       string     `json:"role"`
	State      string     `json:"state" enum:"active,locked,disabled"`
	Created    time.Time  `json:"created"`
	LastSignIn *time.Time `json:"lastSignIn"`
}

// NewOperator is what an operator is made of.
type NewOperator struct {
	NewPerson
	Role string `json:"role,omitempty" doc:"owner when left out"`
	// ChangePassword is for a password that somebody else chose.
	ChangePassword bool `json:"changePassword,omitempty" doc:"the password opens nothing but its change; always so unless the host asks"`
}

type operatorRow struct {
	ID         string `db:"id"`
	Email      string `db:"email"`
	Name       string `db:"name"`
	State      string `db:"state"`
	Role       string `db:"role"`
	Created    int64  `db:"created"`
	LastSignIn int64  `db:"last_sign_in"`
}

func (r operatorRow) operator() Operator {
	return Operator{
		Person: Person{r.ID, r.Email, r.Name}, Role: r.Role, State: r.State,
		Created: fromMillis(r.Created), LastSignIn: moment(r.LastSignIn),
	}
}

const fromOperators = ` FROM persons p JOIN grants g ON g.person = p.id AND g.scope = ? AND g.revoked = 0`

const selectOperators = `SELECT p.id, p.email, p.name, p.state, p.created, p.last_sign_in, g.role` + fromOperators

// operatorOrder maps what a list may be sorted by to the column.
var operatorOrder = map[string]string{
	"": "p.email", "email": "p.email", "name": "p.name", "created": "p.created", "lastSignIn": "p.last_sign_in",
}

func (s *Service) operators(ctx context.Context, page api.Paging) (api.Page[Operator], error) {
	order, err := orderBy(operatorOrder, page.Sort)
	if err != nil {
		return api.Page[Operator]{}, err
	}
	const where = ` WHERE instr(lower(p.email || ' ' || p.name), lower(?)) > 0`
	var rows []operatorRow
	var total int
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*)`+fromOperators+where, Appliance, page.Filter); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, selectOperators+where+order+` LIMIT ? OFFSET ?`,
			Appliance, page.Filter, page.PerPage, page.Offset())
	})
	if err != nil {
		return api.Page[Operator]{}, fmt.Errorf("list operators: %w", err)
	}
	items := make([]Operator, len(rows))
	for i, r := range rows {
		items[i] = r.operator()
	}
	return api.NewPage(items, page, total), nil
}

// orderBy makes the clause of a known field; an unknown one is a 422.
func orderBy(columns map[string]string, sort string) (string, error) {
	field, descending := strings.CutPrefix(sort, "-")
	column, ok := columns[field]
	if !ok {
		return "", api.InvalidField("sort", "cannot sort by %q", field)
	}
	if descending {
		column += " DESC"
	}
	return " ORDER BY " + column, nil
}
