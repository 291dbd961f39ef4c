package app

import (
	"regexp"
	"strings"
)

// place is where a request went, without what a client can vary at will.
type place struct {
	collection string // as the path names it; "" where it names none
	shape      string // "/api/collections/{collection}/records/{}"
}

// routeWords are the fixed parts of the routes of a store's API and the studio's.
var routeWords = wordSet(`api collections records files realtime batch settings logs backups crons health import truncate
	scaffolds meta token auth-methods auth-with-password auth-with-oauth2 auth-with-otp auth-refresh request-otp impersonate
	request-password-reset confirm-password-reset request-verification confirm-verification request-email-change
	confirm-email-change auth-with-totp auth-with-recovery-code request-passkey auth-with-passkey auth-policy recovery-codes factors totp passkeys confirm v1 dry-run-view oauth2-redirect upload restore stats test s3 email apple generate-client-secret open _`)

// besideCollections stand in a path where else a collection's name does.
var besideCollections = wordSet("import meta token")

var collectionName = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)

const maxShape = 8 // parts of a path

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}

func placeOf(path string) place {
	var p place
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) > maxShape {
		parts = append(parts[:maxShape], "…")
	}
	shape := make([]string, len(parts))
	for i, part := range parts {
		switch {
		case i > 0 && (parts[i-1] == "collections" || parts[i-1] == "files") && !besideCollections[part]:
			shape[i], p.collection = "{collection}", plainName(part)
		case routeWords[part]:
			shape[i] = part
		default:
			shape[i] = "{}"
		}
	}
	p.shape = "/" + strings.Join(shape, "/")
	return p
}

// plainName is a collection's name, "?" for what cannot be one.
func plainName(part string) string {
	if collectionName.MatchString(part) {
		return part
	}
	return "?"
}

func clipPath(path string) string {
	if len(path) <= maxPathInEntry {
		return strings.ToValidUTF8(path, "?")
	}
	return strings.ToValidUTF8(path[:maxPathInEntry], "") + "…"
}
