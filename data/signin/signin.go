// Package signin is what the sign-ins of operators and of tenants' own users have in
// common: the codes of authenticator apps, what a password is worth, the patience
// with those who guess. It knows nobody and keeps nothing on disk.
package signin
