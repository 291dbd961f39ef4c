package custody

import (
	"errors"
	"regexp"

	"holdfast/app/api"
	"holdfast/data/keys"
)

// Secret is what opens a slot, in a body: exactly one of its fields.
type Secret struct {
	Passphrase  string   `json:"passphrase,omitempty"`
	RecoveryKey string   `json:"recoveryKey,omitempty"`
	AgeIdentity string   `json:"ageIdentity,omitempty" doc:"AGE-SECRET-KEY-..., or the whole identity file"`
	AgeAnswer   string   `json:"ageAnswer,omitempty" doc:"what the slot's age file held, decrypted elsewhere"`
	Shares      []string `json:"shares,omitempty" doc:"one or more shares"`
}

// Slot is the way to open that the secret stands for, without its shares, of
// which there may be too few. A 422 unless exactly one field is given.
func (s Secret) Slot() (keys.Slot, error) {
	var found []keys.Slot
	for text, make := range map[*string]func(string) keys.Slot{
		&s.Passphrase:  func(t string) keys.Slot { return keys.Passphrase([]byte(t)) },
		&s.RecoveryKey: keys.Recovery,
		&s.AgeIdentity: keys.AgeIdentity,
		&s.AgeAnswer:   keys.AgeAnswer,
	} {
		if *text != "" {
			found = append(found, make(*text))
		}
	}
	if len(s.Shares) > 0 {
		found = append(found, keys.Shares(s.Shares...))
	}
	if len(found) != 1 {
		return nil, api.Errorf(422, "invalid", "Give exactly one of passphrase, recoveryKey, ageIdentity, ageAnswer, shares.")
	}
	return found[0], nil
}

// placeOfShare is how package keys begins to tell which share is wrong, and why.
var placeOfShare = regexp.MustCompile(`the \d+\w\w share that was given: [^\n]*?: not a usable share`)

// ShareText is what is wrong with shares, in words that hold nothing of them.
func ShareText(err error) string {
	if errors.Is(err, keys.ErrFewShares) {
		return "more shares are needed"
	}
	if text := placeOfShare.FindString(err.Error()); text != "" {
		return text
	}
	return "a share is mistyped, or is not of this appliance"
}
