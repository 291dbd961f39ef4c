package api

import (
	"encoding/json"
	"errors"
	"time"
)

// OperationState is how far an operation is.
type OperationState string

// The states. Interrupted is what a running one becomes when the process ends under it.
const (
	Running     OperationState = "running"
	Done        OperationState = "done"
	OpFailed    OperationState = "failed"
	Interrupted OperationState = "interrupted"
	Cancelled   OperationState = "cancelled"
)

// Amount is how much of an operation is done. Total 0 means unknown.
type Amount struct {
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	Unit  string `json:"unit" doc:"bytes, records, pages, ..."`
	Text  string `json:"text"`

	PerSecond   float64 `json:"per_second,omitempty" doc:"how fast it is, in units"`
	SecondsLeft float64 `json:"seconds_left,omitempty" doc:"at that rate"`
}

// Operation is one long action as a lasting resource.
type Operation struct {
	ID       string          `json:"id"`
	Kind     string          `json:"kind" doc:"import, snapshot, restore, ..."`
	Target   string          `json:"target"`
	Store    string          `json:"store" doc:"the store's id, or empty"`
	State    OperationState  `json:"state" enum:"running,done,failed,interrupted,cancelled"`
	Progress Amount          `json:"progress"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *Problem        `json:"error,omitempty"`
	Actor    string          `json:"actor"`
	Created  time.Time       `json:"created"`
	Updated  time.Time       `json:"updated"`
}

// ErrDraining refuses to start an operation while the process ends.
var ErrDraining = errors.New("the appliance is shutting down")

// OperationFilter narrows a list; empty fields narrow nothing.
type OperationFilter struct {
	State OperationState
	Store string // a store's id
	Kind  string
	Reach Reach // only operations of these tenants' stores, unless All
}

// row is an operation as the table holds it. Times are Unix milliseconds.
type operationRow struct {
	ID       string `db:"id"`
	Kind     string `db:"kind"`
	Target   string `db:"target"`
	Store    string `db:"store"`
	State    string `db:"state"`
	Progress string `db:"progress"`
	Result   string `db:"result"`
	Error    string `db:"error"`
	Actor    string `db:"actor"`
	Created  int64  `db:"created"`
	Updated  int64  `db:"updated"`
}

func (o Operation) row() (operationRow, error) {
	progress, err := json.Marshal(o.Progress)
	if err != nil {
		return operationRow{}, err
	}
	failure := ""
	if o.Error != nil {
		b, err := json.Marshal(o.Error)
		if err != nil {
			return operationRow{}, err
		}
		failure = string(b)
	}
	return operationRow{
		ID: o.ID, Kind: o.Kind, Target: o.Target, Store: o.Store, State: string(o.State),
		Progress: string(progress), Result: string(o.Result), Error: failure, Actor: o.Actor,
		Created: o.Created.UnixMilli(), Updated: o.Updated.UnixMilli(),
	}, nil
}

func (r operationRow) operation() (Operation, error) {
	o := Operation{
		ID: r.ID, Kind: r.Kind, Target: r.Target, Store: r.Store, State: OperationState(r.State),
		Result: json.RawMessage(r.Result), Actor: r.Actor,
		Created: time.UnixMilli(r.Created).UTC(), Updated: time.UnixMilli(r.Updated).UTC(),
	}
	if r.Result == "" {
		o.Result = nil
	}
	if r.Error != "" {
		o.Error = new(Problem)
		if err := json.Unmarshal([]byte(r.Error), o.Error); err != nil {
			return o, err
		}
	}
	return o, json.Unmarshal([]byte(r.Progress), &o.Progress)
}
