package store

import (
	"context"
	"fmt"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/security"
)

const secretLength = 50 // PocketBase's own

// sessionTables hold what belongs to sign-ins: a copy of a store starts without. What
// comes back as itself keeps how its users sign in.
var (
	sessionTables = []string{"_superusers", "_externalAuths", "_mfas", "_otps", "_authOrigins"}
	asAnother     = sessionTables
	asItself      = []string{"_superusers", "_mfas", "_otps"}
)

// rotateSecrets makes every token that was ever signed worthless: new secrets for
// each auth collection, and nothing carried over of the tables.
func (s *Store) rotateSecrets(ctx context.Context, without []string) error {
	app, done := s.as(ctx)
	defer done()
	err := app.RunInTransaction(func(tx core.App) error {
		collections, err := tx.FindAllCollections(core.CollectionTypeAuth)
		if err != nil {
			return err
		}
		for _, c := range collections {
			renewSecrets(c)
			if err := tx.SaveNoValidate(c); err != nil {
				return fmt.Errorf("rotate the secrets of %s: %w", c.Name, err)
			}
		}
		return emptyTables(ctx, tx, without)
	})
	if err != nil {
		return fmt.Errorf("rotate secrets: %w", err)
	}
	return nil
}

func renewSecrets(c *core.Collection) {
	for _, token := range []*core.TokenConfig{&c.AuthToken, &c.PasswordResetToken, &c.EmailChangeToken, &c.VerificationToken, &c.FileToken} {
		token.Secret = security.RandomString(secretLength)
	}
}

func emptyTables(ctx context.Context, tx core.App, tables []string) error {
	for _, table := range tables {
		if _, err := execInner(ctx, tx.NonconcurrentDB(), "DELETE FROM "+quote(table), nil); err != nil {
			return fmt.Errorf("empty %s: %w", table, err)
		}
	}
	return nil
}
