package app

import (
	"context"
	"fmt"
)

// ofPairs tells what the host's command line did alone of late though it takes two persons.
func (d doctor) ofPairs(ctx context.Context) (out []Ailment, err error) {
	alone, err := d.identity.DoneAlone(ctx)
	for _, a := range alone {
		out = append(out, Ailment{"host-alone", info, fmt.Sprintf("The command line of the host did alone what takes two persons, at %s: %s%s.", when(&a.Asked), a.Title, factsOf(a)),
			"Nothing, if one of you did it: this goes after seven days. Otherwise look at the audit log, and at who may come onto the host."})
	}
	return out, err
}
