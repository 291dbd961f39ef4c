package custody

import (
	"context"
	"slices"
	"time"

	"holdfast/app/api"
	"holdfast/data/keys"
)

// CredentialName is what the service manager calls the credential that holds a
// slot's secret: a file in $CREDENTIALS_DIRECTORY.
const CredentialName = "holdfast.key"

// Status is all that is known of the keys without telling one.
type Status struct {
	Root     string    `json:"root" doc:"id of the root key"`
	Slots    []Slot    `json:"slots"`
	Ring     Ring      `json:"ring"`
	Copies   CopyState `json:"copies"`
	Findings []Finding `json:"findings"`
}

// Slot is one way to open the root key.
type Slot struct {
	ID         string     `json:"id"`
	Kind       string     `json:"kind" doc:"passphrase, key-file, recovery, credential, age, shares, damaged"`
	Created    *time.Time `json:"created"`
	Proven     *time.Time `json:"proven" doc:"when its secret last opened it; null: never"`
	Unattended bool       `json:"unattended" doc:"opens at a start without a person"`
	Damaged    bool       `json:"damaged"`
	Recipient  string     `json:"recipient,omitempty"`
	Set        string     `json:"set,omitempty" doc:"of shares"`
	Need       int        `json:"need,omitempty"`
	Of         int        `json:"of,omitempty"`
}

// Ring is the keyring in numbers.
type Ring struct {
	Serial uint64               `json:"serial" doc:"counts the changes"`
	Owners int                  `json:"owners"`
	States map[keys.State]int   `json:"states" doc:"how many keys are live, parked, retired, destroyed"`
	By     map[keys.Purpose]int `json:"purposes" doc:"how many keys there are of each purpose"`
}

// Entry is one key of the keyring.
type Entry struct {
	Owner       string    `json:"owner" doc:"system, or the store's id"`
	Name        string    `json:"name" doc:"the store's name; empty when it is not known"`
	Purpose     string    `json:"purpose"`
	Generation  uint32    `json:"generation"`
	State       string    `json:"state" enum:"live,parked,retired,destroyed"`
	Created     time.Time `json:"created"`
	Changed     time.Time `json:"changed" doc:"when it came into its state"`
	Fingerprint string    `json:"fingerprint"`
	Needed      string    `json:"needed,omitempty" doc:"of a retired key: what still needs it; it is destroyed when nothing does"`
	Seals       int64     `json:"seals,omitempty" doc:"how often it sealed, where that is counted and what it seals is open; a crash may add up to 65,536"`
	Bound       int64     `json:"bound,omitempty" doc:"how often it may seal: a new generation is made at half of it"`
}

// CopyState is how the copies off this host stand.
type CopyState struct {
	ID             string       `json:"id" doc:"this appliance's copies lie below keyring/<id>/"`
	HorizonSeconds int64        `json:"horizonSeconds" doc:"a destroyed key can be had from a copy for at most this long"`
	Targets        []CopyTarget `json:"targets"`
}

// CopyTarget is one target that copies are kept on.
type CopyTarget struct {
	Target  string     `json:"target"`
	URL     string     `json:"url"`
	State   string     `json:"state" enum:"current,behind,failed"`
	Newest  *Held      `json:"newest"`
	Held    []Held     `json:"held" doc:"oldest first"`
	Checked *time.Time `json:"checked" doc:"the last visit that ended well"`
	Error   string     `json:"error"`
	Oldest  *time.Time `json:"oldest" doc:"the oldest moment whose keys a copy still has"`
	// What the target said of itself.
	Versions bool `json:"versions" doc:"the bucket keeps deleted objects"`
	Unsaid   bool `json:"unsaid" doc:"the target does not say whether it does"`
}

// Finding is one thing that is not as it should be.
type Finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity" enum:"info,warning,critical"`
	Text     string `json:"text"`
	Fix      string `json:"fix"`
}

// Status looks at slots, keyring and copies. It asks no target: what a visit last
// saw is told.
func (s *Service) Status(ctx context.Context) (Status, error) {
	proofs, err := s.proofs(ctx)
	if err != nil {
		return Status{}, err
	}
	st := Status{Root: s.config.Ring.Root().ID(), Slots: []Slot{}, Ring: s.ring()}
	for _, info := range s.slots.List() {
		st.Slots = append(st.Slots, shownSlot(info, proofs))
	}
	if st.Copies, err = s.copyState(ctx); err != nil {
		return Status{}, err
	}
	st.Findings = append(s.findings(st), s.sealFindings(ctx)...)
	return st, nil
}

func shownSlot(i keys.SlotInfo, proofs map[string]time.Time) Slot {
	s := Slot{ID: i.ID, Kind: i.Kind, Unattended: i.Unattended(), Damaged: i.Damaged, Recipient: i.Recipient, Set: i.Set, Need: i.Need, Of: i.Of}
	if !i.Created.IsZero() {
		s.Created = &i.Created
	}
	if at, ok := proofs[i.ID]; ok {
		s.Proven = &at
	}
	return s
}

func (s *Service) ring() Ring {
	r := Ring{Serial: s.config.Ring.Serial(), States: map[keys.State]int{}, By: map[keys.Purpose]int{}}
	owners := map[keys.Owner]bool{}
	for _, e := range s.config.Ring.Entries() {
		owners[e.Owner] = true
		r.States[e.State]++
		r.By[e.Purpose]++
	}
	r.Owners = len(owners)
	return r
}

// EntryFilter narrows a list of keys; empty fields narrow nothing.
type EntryFilter struct {
	Owner   string // system, or a store's name
	Purpose string
	State   string
}

// Entries gives a page of the keyring's keys, by owner, purpose and generation.
func (s *Service) Entries(ctx context.Context, f EntryFilter, p api.Paging) (api.Page[Entry], error) {
	var owner keys.Owner
	if f.Owner != "" {
		var err error
		if owner, _, err = s.owner(ctx, f.Owner); err != nil {
			return api.Page[Entry]{}, err
		}
	}
	found := slices.DeleteFunc(s.config.Ring.Entries(), func(e keys.Entry) bool {
		return owner != "" && e.Owner != owner || f.Purpose != "" && string(e.Purpose) != f.Purpose || f.State != "" && string(e.State) != f.State
	})
	page, seals := api.Cut(found, p), s.seals()
	shown := api.Page[Entry]{Items: []Entry{}, Page: page.Page, PerPage: page.PerPage, Total: page.Total}
	for _, e := range page.Items {
		sealed := seals[keyName{e.Owner, e.Purpose, e.Generation}]
		shown.Items = append(shown.Items, Entry{
			Owner: string(e.Owner), Name: s.config.Name(ctx, e.Owner), Purpose: string(e.Purpose), Generation: e.Generation,
			State: string(e.State), Created: e.Created, Changed: e.Changed, Fingerprint: e.Fingerprint,
			Seals: sealed.Count, Bound: sealed.Bound, Needed: s.needed(e),
		})
	}
	return shown, nil
}

func (s *Service) needed(e keys.Entry) string {
	if e.State != keys.Retired || s.config.Needed == nil {
		return ""
	}
	return s.config.Needed(e.Owner, e.Purpose)
}

func (s *Service) copyState(ctx context.Context) (CopyState, error) {
	c := CopyState{ID: s.copies.id, HorizonSeconds: int64(s.config.Horizon / time.Second), Targets: []CopyTarget{}}
	rows, err := s.copies.rows(ctx)
	if err != nil || len(rows) == 0 {
		return c, err
	}
	targets, err := s.config.Targets(ctx)
	if err != nil {
		return c, err
	}
	urls := map[string]string{}
	for _, t := range targets {
		urls[t.ID] = t.URL
	}
	digest := digestNow(s.config, s.now())
	for _, row := range rows {
		c.Targets = append(c.Targets, s.shownTarget(row, urls[row.Target], row.seen(), digest))
	}
	return c, nil
}

func (s *Service) shownTarget(row copyRow, url string, found seen, digest string) CopyTarget {
	t := CopyTarget{Target: row.Name, URL: url, State: "behind", Held: found.Held, Error: found.Error, Versions: found.Versions, Unsaid: found.Unsaid}
	if t.Held == nil {
		t.Held = []Held{}
	}
	if !found.Checked.IsZero() {
		t.Checked = &found.Checked
	}
	if n := len(t.Held); n > 0 {
		newest := t.Held[n-1]
		t.Newest, t.Oldest = &newest, &t.Held[0].Made
		if h, ok := parseName(newest.Name); ok && h.digest == digest {
			t.State = "current"
		}
	}
	if t.Error != "" {
		t.State = "failed"
	}
	return t
}

// Copy is a copy of the keys off this host, for who has to say what remains.
type Copy struct {
	Target string
	Held
}

// Remaining lists the copies that may hold keys which were destroyed at a moment:
// those made before it, after every target was visited. The newest of a target
// that could not be visited may be among them; its Until is nil then.
func (s *Service) Remaining(ctx context.Context, destroyed time.Time) ([]Copy, error) {
	if err := s.Flush(ctx); err != nil {
		return nil, err
	}
	rows, err := s.copies.rows(ctx)
	if err != nil {
		return nil, err
	}
	var all []Copy
	for _, row := range rows {
		for _, h := range row.seen().Held {
			if h.Made.Before(destroyed) {
				all = append(all, Copy{row.Name, h})
			}
		}
	}
	return all, nil
}
