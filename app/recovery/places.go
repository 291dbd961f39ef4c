package recovery

import (
	"context"

	"holdfast/backup"
)

// Place is a target as other rooms use it, for objects that are no snapshots.
type Place struct {
	ID   string
	Name string
	URL  string
	Open func() (backup.ObjectStore, error) // makes no request yet
}

// Places lists the targets by name.
func (s *Service) Places(ctx context.Context) ([]Place, error) {
	rows, err := s.targets(ctx)
	if err != nil {
		return nil, err
	}
	places := make([]Place, len(rows))
	for i, row := range rows {
		places[i] = Place{row.ID, row.Name, row.URL, func() (backup.ObjectStore, error) { return s.open(row) }}
	}
	return places, nil
}
