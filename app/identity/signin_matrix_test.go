package identity

// signInMatrix is matrix for the way in, factors and sessions.
var signInMatrix = map[string]struct{ guest, stranger, member, owner int }{
	"POST /api/v1/session":                          {401, 401, 401, 401}, // no valid credentials
	"POST /api/v1/session/factor":                   {401, 401, 401, 401}, // nothing is pending
	"POST /api/v1/session/passkey":                  {422, 422, 422, 422}, // passkeys need a name, the test has an address
	"GET /api/v1/session/factors":                   {401, 200, 200, 200},
	"POST /api/v1/session/factors/totp":             {401, 200, 200, 200},
	"POST /api/v1/session/factors/totp/confirm":     {401, 409, 409, 409},
	"DELETE /api/v1/session/factors/totp":           {401, 404, 404, 404},
	"POST /api/v1/session/factors/passkeys/options": {401, 422, 422, 422},
	"POST /api/v1/session/factors/passkeys":         {401, 409, 409, 409},
	"PATCH /api/v1/session/factors/passkeys/{id}":   {401, 422, 422, 422},
	"DELETE /api/v1/session/factors/passkeys/{id}":  {401, 404, 404, 404},
	"POST /api/v1/session/factors/recovery-codes":   {401, 409, 409, 409},
	"POST /api/v1/session/step-up":                  {401, 422, 422, 422},
	"GET /api/v1/session/step-up":                   {401, 200, 200, 200},
	"POST /api/v1/session/step-up/passkey":          {401, 422, 422, 422},
	"GET /api/v1/session/sessions":                  {401, 200, 200, 200},
	"DELETE /api/v1/session/sessions/{session}":     {401, 404, 404, 404},
	"DELETE /api/v1/session/sessions":               {401, 204, 204, 204},
	"GET /api/v1/session/sign-ins":                  {401, 200, 200, 200},
	"GET /api/v1/people/{id}/sessions":              {401, 403, 403, 404},
	"DELETE /api/v1/people/{id}/sessions":           {401, 403, 403, 404},
	"DELETE /api/v1/people/{id}/sessions/{session}": {401, 403, 403, 404},
	"GET /api/v1/policies/sign-in":                  {401, 403, 403, 200},
	"PUT /api/v1/policies/sign-in":                  {401, 403, 403, 200},
	"GET /api/v1/tenants/{slug}/policies/sign-in":   {401, 403, 200, 200},
	"PUT /api/v1/tenants/{slug}/policies/sign-in":   {401, 403, 200, 403},
	"POST /api/v1/people/{id}/lock":                 {401, 403, 403, 404},
	"POST /api/v1/people/{id}/unlock":               {401, 403, 403, 404},
	"DELETE /api/v1/people/{id}/factors":            {401, 403, 403, 404},
}
