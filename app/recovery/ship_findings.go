package recovery

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Finding is something about targets and shipping that somebody ought to mend.
type Finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity" enum:"warning,error"`
	What     string `json:"what"`
	Fix      string `json:"fix"`
}

// Findings tells what is wrong or missing.
func (s *Service) Findings(ctx context.Context) ([]Finding, error) {
	targets, err := s.targets(ctx)
	if err != nil {
		return nil, err
	}
	names, err := s.chains(ctx)
	if err != nil {
		return nil, err
	}
	list := placeFindings(targets)
	for _, t := range targets {
		if t.Health == failed {
			list = append(list, Finding{"target-failed", "error", fmt.Sprintf("Target %s does not work: %s", t.Name, t.Why), "Mend it, then try it: holdfast target test " + t.Name})
		}
	}
	damaged, err := s.verifyFindings(ctx)
	if err != nil {
		return nil, err
	}
	list = append(list, damaged...)
	more, err := s.policyFindings(ctx, names, targets)
	return append(append(list, s.chainFindings()...), more...), err
}

// placeFindings wants two targets in different places that work.
func placeFindings(targets []targetRow) []Finding {
	const fix = "Add a target in another place: holdfast target add NAME s3://bucket/prefix?endpoint=URL&region=REGION"
	places := map[string]bool{}
	for _, t := range targets {
		if t.Health == healthy {
			places[t.Place] = true
		}
	}
	switch {
	case len(targets) == 0:
		return []Finding{{"no-target", "error", "Nothing is shipped: there is no target.", "Add one: holdfast target add NAME URL"}}
	case len(places) == 0:
		return []Finding{{"distinct-places", "error", "No target is known to work.", "Try each: holdfast target test NAME"}}
	case len(places) == 1:
		return []Finding{{"distinct-places", "warning", "All targets that work are in one place (" + sortedKeys(places)[0] + "): a fire there takes every snapshot.", fix}}
	}
	return nil
}

// chainFindings tells of chains that are fenced, absent or behind, one finding for
// each state and target.
func (s *Service) chainFindings() []Finding {
	type group struct{ state, target string }
	stores := map[group][]string{}
	why := map[group]string{}
	for _, one := range s.ships.see("", s.now()) {
		if one.state == stateCurrent || one.state == statePaused {
			continue
		}
		g := group{one.state, one.target.Name}
		stores[g], why[g] = append(stores[g], one.key.chain), one.why
	}
	var list []Finding
	for g, names := range stores {
		f := Finding{"shipping-" + g.state, "error", fmt.Sprintf("On target %s %s: %s. %s", g.target, g.state, some(names), why[g]), "See holdfast snapshot status TENANT and holdfast target test " + g.target}
		if g.state == stateFenced {
			f.Fix = "Find the other appliance and stop it. Then, if this one is to go on: holdfast snapshot takeover TENANT --target " + g.target
		}
		if g.state == stateBehind {
			f.Severity = "warning"
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b Finding) int { return strings.Compare(a.ID+a.What, b.ID+b.What) })
	return list
}

func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// policyFindings tells of policies that cannot be kept.
func (s *Service) policyFindings(ctx context.Context, names []string, targets []targetRow) (list []Finding, err error) {
	for _, name := range names {
		p, err := s.policyOf(ctx, name)
		if err != nil {
			return nil, err
		}
		if text := p.collision(); text != "" {
			list = append(list, Finding{"erasure-horizon", "warning", "Store " + name + ": " + text, "Change the policy: a shorter lock or retention, or a later erasure horizon."})
		}
		out := 0
		for _, t := range targets {
			if p.keepsOut(t) != "" {
				out++
			} else if p.Lock.Mode != "" && !t.locks() {
				list = append(list, Finding{"no-lock", "warning", fmt.Sprintf("Store %s: its policy asks for locks, which target %s cannot give.", name, t.Name),
					"Use a bucket with object lock, and say so in its URL: versions=true."})
			}
		}
		if out > 0 && out == len(targets) {
			list = append(list, Finding{"nowhere-allowed", "error", "Store " + name + ": its policy allows none of the targets; it is not shipped.", "Add a target in an allowed region, or change the policy."})
		}
	}
	return list, nil
}
