package store

import "time"

// tendEvery is how often an open store's housekeeping runs: PocketBase's own jobs
// (expired one-time passwords and MFA steps, stale rate limiters, the planner's
// statistics, a WAL checkpoint), which its ticker would start in every store by
// itself, and the search for files without records. The appliance has one clock,
// and a closed store is not woken.
const tendEvery = time.Hour

// tend runs the jobs of the open stores that are due; the first time soon after
// opening.
func (p *Pool) tend(now time.Time) {
	for _, s := range p.due(now) {
		for _, job := range s.app.Cron().Jobs() {
			if job.Id() != "__pbAutoBackup__" {
				job.Run() // it notes its failures in PocketBase's log
			}
		}
		p.tendFiles(s, now)
		p.tendFeed(s, now)
		p.letGo(s, time.Time{})
	}
}

func (p *Pool) tendFiles(s *Store, now time.Time) {
	removed, err := s.sweepFiles(s.closing, now)
	if err != nil && s.closing.Err() == nil {
		p.config.Logger.Error("files without records were not looked for", "store", s.id.String(), "error", err)
	}
	if removed > 0 {
		p.config.Logger.Info("removed files that no record names", "store", s.id.String(), "files", removed)
	}
}

func (p *Pool) tendFeed(s *Store, now time.Time) {
	gone, err := s.pruneFeed(s.closing, now)
	if err != nil && s.closing.Err() == nil {
		p.config.Logger.Error("old changes stay in the feed", "store", s.id.String(), "error", err)
	}
	if gone > 0 {
		p.config.Logger.Info("old changes are no longer in the feed", "store", s.id.String(), "changes", gone)
	}
}

// due holds the stores that are to be tended, so that none closes under it.
func (p *Pool) due(now time.Time) (due []*Store) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.stores {
		if e.store != nil && !e.closing && now.Sub(e.tended) >= tendEvery {
			e.tended = now
			e.holds++
			due = append(due, e.store)
		}
	}
	return due
}
