package recovery

import (
	"errors"
	"net/http"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/data"
)

func unknownTarget(name string) error {
	return api.Errorf(http.StatusNotFound, "not-found", "There is no target %q (not found).", name).Because(data.ErrNotFound)
}

const (
	parkedText = "The tenant is deleted and its keys are parked. Within the undelete window it can be undeleted, " +
		"and its snapshots restored under another name."
	destroyedText = "The tenant was deleted for good and its keys were destroyed. Its snapshots are still on the target, " +
		"but nobody can read them again, on purpose."
	putBackText = "A page of the store is older than what was shipped, and nothing in the store changed it: while the store was closed, " +
		"somebody put an older copy of it in its place on this disk. Nothing was shipped. A scrub names every such page; " +
		"restore the store in place from its newest snapshot."
)

// explain words the errors of chain and target for a client. What is said of
// an object is its name, which tells nothing of its content.
func (s *Service) explain(err error) error {
	var ready *api.Problem
	var object *backup.ObjectError
	switch {
	case err == nil, errors.As(err, &ready):
		return err
	case errors.Is(err, data.ErrDestroyed):
		return api.Errorf(http.StatusGone, "destroyed", "%s", destroyedText).Because(err)
	case errors.Is(err, data.ErrParked):
		return api.Errorf(http.StatusGone, "parked", "%s", parkedText).Because(err)
	case errors.Is(err, backup.ErrNoSnapshot):
		return api.Errorf(http.StatusNotFound, "no-snapshot", "There is no such snapshot: %v.", err).Because(err)
	case errors.Is(err, backup.ErrFenced):
		return api.Errorf(http.StatusConflict, "fenced", "Another appliance ships this store to the same place. Nothing was overwritten.").Because(err)
	case errors.Is(err, chain.ErrPutBack):
		return api.Errorf(http.StatusConflict, "put-back", "%s", putBackText).Because(err)
	case errors.As(err, &object) && damaged(err):
		return api.Errorf(http.StatusBadGateway, "damaged", "The chain is damaged: %v. Nothing of it was used.", object).Because(err)
	case targetFailed(err):
		return api.Errorf(http.StatusBadGateway, "target-failed", "The target cannot be used: %v", err).Because(err)
	}
	return err
}

func damaged(err error) bool {
	return isAny(err, data.ErrNotFound, data.ErrTampered, data.ErrNewer, backup.ErrFormat)
}

func targetFailed(err error) bool {
	return isAny(err, objects.ErrRefused, objects.ErrNoBucket, objects.ErrUnconditional, objects.ErrSkew, errTarget)
}

func isAny(err error, any ...error) bool {
	for _, e := range any {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// errTarget marks an error that the target caused.
var errTarget = errors.New("target failed")
