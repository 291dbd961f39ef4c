package app

import (
	"reflect"
	"slices"
	"testing"

	"holdfast/app/api"
	"holdfast/app/identity"
)

// TestWhatTakesTwoPersons: every route that takes keys or whole data out of the host is
// marked, and whether there are two is looked at for each permission that they take.
func TestWhatTakesTwoPersons(t *testing.T) {
	got, later := []string{}, []string{}
	for _, r := range newMatrix(t).house.router.Routes() {
		if r.Pair == nil {
			continue
		}
		got = append(got, r.Pair.Action+" "+r.Method+" "+r.Path)
		if r.Request != nil {
			for f := range reflect.TypeOf(r.Request).Fields() {
				if f.Tag.Get("secret") == "later" {
					later = append(later, r.Pair.Action+" "+f.Name)
				}
			}
		}
		if !slices.Contains(identity.PairPermissions(), r.Permission) {
			t.Errorf("%s %s: nobody looks who holds %s", r.Method, r.Path, r.Permission)
		}
		if !r.Assurance.StepsUp() && r.Permission != api.TargetManage {
			t.Errorf("%s %s takes two persons and no fresh factor", r.Method, r.Path)
		}
	}
	slices.Sort(got)
	want := []string{
		"keycopy.add POST /api/v1/keys/copies",
		"keycopy.remove DELETE /api/v1/keys/copies/{target}",
		"mail.set DELETE /api/v1/mail",
		"mail.set PUT /api/v1/mail",
		"provider.set PATCH /api/v1/identity-providers/{id}",
		"provider.set POST /api/v1/identity-providers",
		"recovery.replace POST /api/v1/keys/recovery",
		"root.rotate POST /api/v1/keys/root/rotate",
		"slot.add POST /api/v1/keys/slots",
		"slot.remove DELETE /api/v1/keys/slots/{id}",
		"snapshot.takeover POST /api/v1/stores/{slug}/{env}/snapshots/takeover",
		"target.add POST /api/v1/targets",
		"target.set PATCH /api/v1/targets/{name}",
		"tenant.destroy DELETE /api/v1/tenants/{slug}",
		"two-persons.set PUT /api/v1/policies/two-persons",
	}
	if !slices.Equal(got, want) {
		t.Errorf("two persons are for\n%q\nwant\n%q", got, want)
	}
	// Everywhere else an approval says which secrets are given: a passphrase or credentials
	// that nobody spoke of would replace a team's.
	slices.Sort(later)
	if want := []string{"slot.add Identity", "slot.add Passphrase", "target.add AccessKey", "target.add SecretKey"}; !slices.Equal(later, want) {
		t.Errorf("secrets that other fields imply: %q, want %q", later, want)
	}
}
