package custody

import "fmt"

// findings says what is not as it should be, with the way out of it.
func (s *Service) findings(st Status) []Finding {
	all := []Finding{}
	add := func(id, severity, text, fix string) { all = append(all, Finding{id, severity, text, fix}) }
	if err := s.slots.Check(s.config.Ring.Root()); err != nil {
		add("slots-damaged", "critical", "The slots file is not as it was written: a slot is damaged, was taken away or put back.",
			"Look at the slots; remove the damaged one (holdfast keys remove-slot ID) and add it again. Any change writes the file anew.")
	}
	if err := s.config.Ring.Check(); err != nil {
		add("ring-damaged", "critical", "The keyring, or its previous generation, is damaged on the disk. What is open goes on; the next start may not.",
			"holdfast keys restore --previous, or --from a copy, with the server stopped.")
	}
	slotFindings(st, add)
	copyFindings(st, add)
	for _, t := range st.Copies.Targets {
		s.targetFindings(t, add)
	}
	return all
}

func slotFindings(st Status, add func(id, severity, text, fix string)) {
	attended, unattended, unproven := 0, 0, ""
	for _, slot := range st.Slots {
		switch {
		case slot.Damaged:
		case slot.Unattended:
			unattended++
		default:
			attended++
		}
		if slot.Kind == "recovery" && slot.Proven == nil {
			unproven = slot.ID
		}
	}
	if attended == 0 {
		add("no-recovery", "critical", "No slot opens without this host's own files: if they are lost, so is all data.", "holdfast keys recovery")
	}
	if unproven != "" {
		add("recovery-unproven", "warning", "A recovery key was never typed back: nobody has shown that it was written down right.",
			"holdfast keys prove "+unproven+" --recovery-key-stdin")
	}
	if unattended == 0 {
		add("no-unattended", "info", "Every start is sealed until a person comes.", "holdfast keys add-slot key-file, or credential, if that is not meant")
	}
}

func copyFindings(st Status, add func(id, severity, text, fix string)) {
	if len(st.Copies.Targets) == 0 {
		add("no-copy", "warning", "No copy of the keyring is kept off this host: if its disk is lost, no snapshot can be read.",
			"holdfast keys copies add TARGET")
	}
}

func (s *Service) targetFindings(t CopyTarget, add func(id, severity, text, fix string)) {
	switch t.State {
	case "failed":
		add("copy-failed", "critical", fmt.Sprintf("The copies on %s are not kept: %s", t.Target, t.Error),
			"holdfast target test "+t.Target+"; it is tried again every ten minutes, or at once with: holdfast keys copies now")
	case "behind":
		add("copy-behind", "warning", "The newest copy on "+t.Target+" is older than the keys.", "holdfast keys copies now")
	}
	if t.Versions {
		add("copy-versioned", "critical", "The bucket of "+t.Target+" keeps old versions: deleted copies of the keys can still be read there, beyond the horizon.",
			"Use a bucket without versioning for copies of the keys.")
	}
	if t.Unsaid {
		add("copy-unsaid", "info", t.Target+" does not say whether it keeps deleted objects.", "Look into the bucket's settings: versioning and object lock must be off.")
	}
}
