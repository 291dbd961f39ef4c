package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// SetupLinkLife is how long a setup link can be used.
const SetupLinkLife = 30 * time.Minute

// ErrSetupDone refuses a setup where there is an owner already.
var ErrSetupDone = errors.New("the appliance has an owner already")

// SetupNeeded says that nobody owns the appliance yet.
func (s *Service) SetupNeeded(ctx context.Context) (bool, error) {
	var owned bool
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		var err error
		owned, err = hasOwner(ctx, tx)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look for an owner: %w", err)
	}
	return !owned, nil
}

func hasOwner(ctx context.Context, tx *sqlx.Tx) (found bool, err error) {
	err = tx.GetContext(ctx, &found, `SELECT EXISTS (SELECT 1 FROM grants WHERE scope = ? AND role = ? AND revoked = 0)`,
		Appliance, Owner)
	return found, err
}

// SetupToken makes the secret of a setup link, good once and for SetupLinkLife;
// earlier ones end. ErrSetupDone when there is an owner.
func (s *Service) SetupToken(ctx context.Context) (string, error) {
	token := newToken()
	hash, now := sha256.Sum256([]byte(token)), s.now()
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		if owned, err := hasOwner(ctx, tx); err != nil || owned {
			return errors.Join(err, ifTrue(owned, ErrSetupDone))
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM setup_links`); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO setup_links (hash, created, expires) VALUES (?, ?, ?)`,
			hash[:], millis(now), millis(now.Add(SetupLinkLife)))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make setup link: %w", err)
	}
	return token, nil
}

func ifTrue(b bool, err error) error {
	if b {
		return err
	}
	return nil
}

// claim uses a setup link and makes its person the appliance's owner.
func (s *Service) claim(ctx context.Context, token string, n NewPerson) (Person, error) {
	s.setup.Lock()
	defer s.setup.Unlock()
	if err := s.setupLinkValid(ctx, token); err != nil {
		return Person{}, err
	}
	if wrong := n.clean(s.weak); len(wrong) > 0 {
		return Person{}, api.Invalid(wrong...)
	}
	hash, err := s.hasher.hash(ctx, n.Password)
	if err != nil {
		return Person{}, err
	}
	return s.addOperator(ctx, n, Grant{Role: Owner}, hash, token)
}

// operatorNoted enters a new operator into the log; who sets the appliance up is the
// first to act.
func (s *Service) operatorNoted(ctx context.Context, person, role, token string) error {
	action := "operator.create"
	if token != "" {
		action, ctx = "setup", data.WithActor(ctx, data.Actor{Kind: data.Person, ID: person})
	}
	return s.record(ctx, action, person, api.OK, map[string]string{"role": role, "scope": Appliance})
}

// errSetupLink is one answer for used, old and invented links.
func errSetupLink() error {
	return api.Errorf(403, "setup-link", "This setup link is not valid any more. Restart the server for a new one.")
}

func (s *Service) setupLinkValid(ctx context.Context, token string) error {
	hash := sha256.Sum256([]byte(token))
	var valid bool
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &valid, `SELECT EXISTS (SELECT 1 FROM setup_links WHERE hash = ? AND used = 0 AND expires > ?)`,
			hash[:], millis(s.now()))
	})
	if err != nil {
		return fmt.Errorf("check setup link: %w", err)
	}
	return ifTrue(!valid, errSetupLink())
}

// addOperator makes a person with a role on the appliance. With a token, it
// uses that link up in the same transaction. It is in the log before it is so.
func (s *Service) addOperator(ctx context.Context, n NewPerson, grant Grant, hash, token string) (Person, error) {
	p := Person{system.NewID(), n.Email, n.Name}
	now := s.now()
	grant.ID, grant.Person, grant.Scope, grant.From = system.NewID(), p.ID, Appliance, now
	err := s.noted(ctx, func(tx *sqlx.Tx) error {
		if token != "" {
			if err := useSetupLink(ctx, tx, token, now); err != nil {
				return err
			}
		}
		if err := insertPerson(ctx, tx, p.ID, n, hash, millis(now)); err != nil {
			return err
		}
		return insertGrant(ctx, tx, grant, now)
	}, func(ctx context.Context) error { return s.operatorNoted(ctx, p.ID, grant.Role, token) })
	if err != nil {
		return p, fmt.Errorf("add operator: %w", err)
	}
	return p, nil
}

func useSetupLink(ctx context.Context, tx *sqlx.Tx, token string, now time.Time) error {
	if owned, err := hasOwner(ctx, tx); err != nil || owned {
		return errors.Join(err, ifTrue(owned, errSetupLink()))
	}
	hash := sha256.Sum256([]byte(token))
	done, err := tx.ExecContext(ctx, `UPDATE setup_links SET used = ? WHERE hash = ? AND used = 0 AND expires > ?`,
		millis(now), hash[:], millis(now))
	if err = changedOne(done, err); errors.Is(err, data.ErrNotFound) {
		return errSetupLink()
	}
	return err
}

func (s *Service) dropSetupLinks(ctx context.Context) error {
	now := millis(s.now())
	var old bool
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &old, `SELECT EXISTS (SELECT 1 FROM setup_links WHERE expires <= ?)`, now)
	})
	if err != nil || !old { // a write for nothing would make a snapshot for nothing
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM setup_links WHERE expires <= ?`, now)
		return err
	})
}
