package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data/system"
)

// How long and how many recent sign-ins a person is shown. The audit log has all.
const (
	signInsKept      = 90 * 24 * time.Hour
	signInsPerPerson = 200
)

// signIn is one sign-in, or a try that failed at a person's account.
type signIn struct {
	ID        string      `db:"id"`
	Person    string      `db:"person"`
	At        int64       `db:"at"`
	Outcome   api.Outcome `db:"outcome"`
	Method    Method      `db:"method"`
	Address   string      `db:"address"`
	Agent     string      `db:"agent"`
	NewDevice bool        `db:"new_device"`
}

// SignIn is what the person sees of it.
type SignIn struct {
	At        time.Time   `json:"at"`
	Outcome   api.Outcome `json:"outcome" enum:"ok,failed"`
	Method    Method      `json:"method"`
	Address   string      `json:"address"`
	Device    string      `json:"device"`
	NewDevice bool        `json:"newDevice" doc:"this browser on this system had not been used before"`
}

func (r signIn) shown() SignIn {
	return SignIn{fromMillis(r.At), r.Outcome, r.Method, r.Address, deviceName(r.Agent), r.NewDevice}
}

// noteSignIn keeps a sign-in for the person to see.
func (s *Service) noteSignIn(ctx context.Context, person string, m Method, address, agent string) error {
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE persons SET last_sign_in = ? WHERE id = ?`, millis(s.now()), person)
		return err
	})
	if err != nil {
		return fmt.Errorf("note sign-in: %w", err)
	}
	row := signIn{Person: person, Outcome: api.OK, Method: m, Address: address, Agent: clip(agent, 200)}
	if err := s.keepSignIn(ctx, &row); err != nil {
		return err
	}
	if row.NewDevice {
		s.alert(ctx, person, "A new sign-in to your account", fmt.Sprintf("somebody signed in to your account with a browser that was not used before:\n\n    %s\n    from %s\n    on %s",
			deviceName(row.Agent), row.Address, s.stamp(ctx, person, fromMillis(row.At))))
	}
	return nil
}

func (s *Service) keepSignIn(ctx context.Context, row *signIn) error {
	row.ID, row.At = system.NewID(), millis(s.now())
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		if row.Outcome == api.OK {
			if err := tx.GetContext(ctx, &row.NewDevice, `SELECT EXISTS (SELECT 1 FROM sign_ins WHERE person = ? AND outcome = 'ok')
				AND NOT EXISTS (SELECT 1 FROM sign_ins WHERE person = ? AND outcome = 'ok' AND agent = ?)`, row.Person, row.Person, row.Agent); err != nil {
				return err
			}
		}
		if _, err := tx.NamedExecContext(ctx, `INSERT INTO sign_ins (id, person, at, outcome, method, address, agent, new_device)
			VALUES (:id, :person, :at, :outcome, :method, :address, :agent, :new_device)`, row); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM sign_ins WHERE person = ? AND id NOT IN
			(SELECT id FROM sign_ins WHERE person = ? ORDER BY at DESC, rowid DESC LIMIT ?)`, row.Person, row.Person, signInsPerPerson)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep sign-in: %w", err)
	}
	return nil
}

func (s *Service) signIns(ctx context.Context, person string, page api.Paging) (api.Page[SignIn], error) {
	var rows []signIn
	var total int
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*) FROM sign_ins WHERE person = ?`, person); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT id, person, at, outcome, method, address, agent, new_device
			FROM sign_ins WHERE person = ? ORDER BY at DESC, rowid DESC LIMIT ? OFFSET ?`, person, page.PerPage, page.Offset())
	})
	if err != nil {
		return api.Page[SignIn]{}, fmt.Errorf("list sign-ins: %w", err)
	}
	items := make([]SignIn, len(rows))
	for i, row := range rows {
		items[i] = row.shown()
	}
	return api.NewPage(items, page, total), nil
}

// dropSignIns forgets old ones; it writes only where there are some.
func (s *Service) dropSignIns(ctx context.Context) error {
	before := millis(s.now().Add(-signInsKept))
	var old bool
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &old, `SELECT EXISTS (SELECT 1 FROM sign_ins WHERE at < ?)`, before)
	})
	if err != nil || !old {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM sign_ins WHERE at < ?`, before)
		return err
	})
}
