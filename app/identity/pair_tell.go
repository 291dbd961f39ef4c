package identity

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const askedText = `Hello %s,

%s asks for a second person:

    %s
%s
Approve or refuse it until %s:

    %s/approvals

Approve only what you know to be wanted: ask %s on another way if in doubt.
Nobody needs your password for it.
`

// tellAsked writes to those who could approve. What cannot be written is logged and holds
// nothing up: the question stands in the console all the same.
func (s *Service) tellAsked(ctx context.Context, r pairRow, could []string) {
	asker, _ := s.personByID(ctx, r.Requester)
	for _, id := range could {
		if id == r.Requester {
			continue
		}
		s.tell(ctx, id, "Somebody asks for your approval: "+r.Title, fromMillis(r.Expires), func(to personRow, at string) string {
			return fmt.Sprintf(askedText, to.Name, asker.Name+" ("+asker.Email+")", r.Title, indented(r), at, s.console(), asker.Name)
		})
	}
}

const decidedText = `Hello %s,

what you asked for is %s:

    %s
%s
%s
`

// tellDecided writes to who asked.
func (s *Service) tellDecided(ctx context.Context, r pairRow) {
	s.tell(ctx, r.Requester, "Your request is "+r.State+": "+r.Title, s.now().Add(alertLife), func(to personRow, _ string) string {
		next := "Note: " + r.Note
		if r.State == requestApproved {
			next = "Do exactly the same again until " + s.stamp(ctx, to.ID, fromMillis(r.Expires)) + ". It is good once."
		}
		return fmt.Sprintf(decidedText, to.Name, r.State, r.Title, indented(r), next)
	})
}

const aloneText = `Hello %s,

this takes two persons, and the command line of the host did it or approved
it without a second one, on %s:

    %s
%s
Whoever is root on the host can always do so. If nobody of you knows why,
somebody else may be: look at the audit log at %s/audit
`

// tellAlone writes to everybody who could have been the second person.
func (s *Service) tellAlone(ctx context.Context, r pairRow, could []string) {
	for _, id := range could {
		s.tell(ctx, id, "Done on the host without a second person: "+r.Title, s.now().Add(7*alertLife), func(to personRow, _ string) string {
			return fmt.Sprintf(aloneText, to.Name, s.stamp(ctx, to.ID, s.now()), r.Title, indented(r), s.console())
		})
	}
}

// tell writes one letter; at is when it stops to mean anything, in the reader's zone.
func (s *Service) tell(ctx context.Context, person, subject string, until time.Time, text func(to personRow, at string) string) {
	row, err := s.personByID(ctx, person)
	if err == nil {
		err = s.write(ctx, Letter{To: row.Email, Kind: "alert", Subject: subject, Text: text(row, s.stamp(ctx, person, until)), Expires: until})
	}
	if err != nil {
		s.config.Logger.ErrorContext(ctx, "nobody was told of what takes two persons", "person", person, "error", err)
	}
}

func (s *Service) console() string { return strings.TrimSuffix(s.config.URL(), "/") }

// indented is what was asked for, a line each.
func indented(r pairRow) string {
	if r.Facts == "[]" {
		return ""
	}
	return "    " + factText(r, "\n    ") + "\n"
}
