package identity

import (
	"context"
	"fmt"

	"holdfast/data"
)

// What people are written of their own accounts, beside what stands where it happens: a
// new browser (noteSignIn), a new factor (addFactor), a new password (setPassword), and
// what operators did to the account (resetFactors, serveResetOf).

var factorNames = map[string]string{kindTOTP: "an authenticator app", kindPasskey: "a passkey"}

func (s *Service) alertOfRemoved(ctx context.Context, person, kind string) {
	s.alert(ctx, person, "A way to confirm who you are was removed", fmt.Sprintf("%s was removed from your account on %s.", factorNames[kind], s.stamp(ctx, person, s.now())))
}

func (s *Service) alertOfNewCodes(ctx context.Context, person string) {
	s.alert(ctx, person, "New recovery codes were made", fmt.Sprintf("new recovery codes were made for your account on %s. The old ones are worth nothing any more.", s.stamp(ctx, person, s.now())))
}

// alertOfUsedCode tells of the way in that people use least.
func (s *Service) alertOfUsedCode(ctx context.Context, person string) {
	s.alert(ctx, person, "A recovery code was used", fmt.Sprintf("one of your recovery codes was used on %s. It is worth nothing any more.", s.stamp(ctx, person, s.now())))
}

func (s *Service) alertOfDroppedPassword(ctx context.Context, person string) {
	s.alert(ctx, person, "Your password was taken away", "your account signs in through single sign-on only from now on, so its password was deleted.")
}

// alertOfKey tells the one who made a key: it opens doors for long without a factor. What
// the host or a program makes has no person to write to; the log has it.
func (s *Service) alertOfKey(ctx context.Context, row keyRow) {
	by := data.ActorFrom(ctx)
	if by.Kind != data.Person {
		return
	}
	what := "an API key for " + s.placeOfKey(ctx, row)
	if row.Predecessor != "" {
		what = "an API key that follows another, for " + s.placeOfKey(ctx, row)
	}
	s.alert(ctx, by.ID, "An API key was made in your name", fmt.Sprintf("%s was made on %s, with your account: %q, scope %s, good until %s.",
		what, s.stamp(ctx, by.ID, fromMillis(row.Created)), row.Name, row.Scope, s.stamp(ctx, by.ID, fromMillis(row.Expires))))
}

// placeOfKey words what a key is for.
func (s *Service) placeOfKey(ctx context.Context, row keyRow) string {
	id, err := data.ParseStoreID(row.Store)
	if err != nil {
		return "the control plane"
	}
	slug, err := s.config.Tenants.Slug(ctx, id.Tenant)
	if err != nil {
		slug = id.Tenant
	}
	return slug + " (" + id.Environment + ")"
}
