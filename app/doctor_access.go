package app

import (
	"context"
	"fmt"

	"holdfast/data"
)

// mostKeysNamed bounds how many keys the doctor names; the others are counted.
const mostKeysNamed = 20

// ofAPIKeys tells of keys that end soon: a program stops working then.
func (d doctor) ofAPIKeys(ctx context.Context) (out []Ailment, err error) {
	ending, err := d.identity.EndingKeys(ctx)
	for i, k := range ending {
		if i == mostKeysNamed {
			out = append(out, Ailment{"keys-ending", info, fmt.Sprintf("%d more API keys end within two weeks.", len(ending)-i), "holdfast key list TENANT shows those of a tenant."})
			break
		}
		severity := info
		if k.Warning <= 3 {
			severity = warning
		}
		name, of := d.keyHome(ctx, k.Store)
		out = append(out, Ailment{"key-ends", severity, fmt.Sprintf("The API key %q (%s) of %s ends on %s, and nothing follows it.", k.Name, k.ID, name, k.Expires.Format("2006-01-02 15:04 MST")),
			"holdfast key rotate " + of + " " + k.ID + " makes one that follows; or revoke it if nobody needs it."})
	}
	return out, err
}

// keyHome words where a key is of, for people and for the command line.
func (d doctor) keyHome(ctx context.Context, home string) (name, argument string) {
	id, err := data.ParseStoreID(home)
	if err != nil {
		return "the control plane", "--appliance"
	}
	name, err = (drilledTenants{directory{d.tenants}}).Name(ctx, id)
	if err != nil { // of a tenant that is deleted
		return home, home
	}
	return name, name
}

func (d doctor) ofReviews(ctx context.Context) (out []Ailment, err error) {
	found, err := d.reviews.Findings(ctx)
	for _, f := range found {
		out = append(out, Ailment(f))
	}
	return out, err
}
