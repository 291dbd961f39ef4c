package identity

import (
	"slices"

	"holdfast/app/api"
)

// Owner is the first role of the appliance and of each tenant: it may all that has
// a meaning there. Neither may lose its last one.
const Owner = "owner"

// Role is a named set of permissions. Built-in ones are of the appliance or of any
// tenant; custom ones are of one tenant.
type Role struct {
	Name   string           `json:"name"`
	Where  string           `json:"where" enum:"appliance,tenant"`
	About  string           `json:"about"`
	Allow  []api.Permission `json:"allow"`
	Deny   []api.Permission `json:"deny" doc:"refused to who has the role, whatever other roles allow"`
	Custom bool             `json:"custom"`
}

// BuiltinRoles is the one table of the roles that are always there. Those of the
// appliance reach into every tenant, but for its records and who may have them: that is
// the tenant's own to give.
func BuiltinRoles() []Role {
	return []Role{
		{Name: Owner, Where: api.OnAppliance, About: "Runs the appliance; of tenants it sees sizes and health, no records.", Allow: all(onAppliance)},
		{Name: "admin", Where: api.OnAppliance, About: "Runs tenants, targets and snapshots day by day.",
			Allow: without(all(onAppliance), api.OperatorManage, api.CustodyManage, api.ReviewManage, api.AccessDecide)},
		{Name: "support", Where: api.OnAppliance, About: "Helps tenants: sees how they are, never their records.",
			Allow: []api.Permission{api.TenantRead, api.MemberRead, api.SnapshotRead, api.TargetRead, api.OperationRead}},
		{Name: "security", Where: api.OnAppliance, About: "Watches who may what and reads the logs.",
			Allow: []api.Permission{api.OperatorRead, api.MemberRead, api.TenantRead,
				api.SnapshotRead, api.TargetRead, api.AuditRead, api.OperationRead, api.DisposalRead, api.CustodyRead, api.DoctorRead, api.ReviewRead, api.AccessDecide}},
		{Name: "auditor", Where: api.OnAppliance, About: "Reads what is kept as evidence and changes nothing.",
			Allow: []api.Permission{api.OperatorRead, api.MemberRead, api.TenantRead, api.SnapshotRead,
				api.TargetRead, api.AuditRead, api.OperationRead, api.DisposalRead, api.CustodyRead, api.DoctorRead, api.ReviewRead}},
		{Name: "billing", Where: api.OnAppliance, About: "Sees which tenants there are and how large they are.",
			Allow: []api.Permission{api.TenantRead}},

		{Name: Owner, Where: api.OnTenant, About: "Answers for the tenant and may all in it.", Allow: all(onTenant)},
		{Name: "admin", Where: api.OnTenant, About: "Runs the tenant: people, keys, data, restores.",
			Allow: without(all(onTenant), api.TenantDelete, api.ReviewManage)},
		{Name: "developer", Where: api.OnTenant, About: "Builds on the tenant's data: collections, records, keys.",
			Allow: []api.Permission{api.MemberRead, api.TenantRead, api.EnvironmentCreate, api.DataRead, api.DataExport, api.DataWrite,
				api.SchemaManage, api.KeyManage, api.SnapshotRead, api.SnapshotCreate, api.TargetRead, api.OperationRead, api.OperationCancel, api.StudioOpen}},
		{Name: "analyst", Where: api.OnTenant, About: "Reads records and takes them out.",
			Allow: []api.Permission{api.TenantRead, api.DataRead, api.DataExport, api.OperationRead}},
		{Name: "viewer", Where: api.OnTenant, About: "Reads records.",
			Allow: []api.Permission{api.TenantRead, api.DataRead}},
		{Name: "auditor", Where: api.OnTenant, About: "Reads logs and members, no records.",
			Allow: []api.Permission{api.MemberRead, api.TenantRead, api.SnapshotRead, api.AuditRead, api.OperationRead, api.ReviewRead}},
	}
}

func onAppliance(p api.Permission) bool { return !p.Content() }
func onTenant(p api.Permission) bool    { return !p.ApplianceOnly() }

func all(of func(api.Permission) bool) []api.Permission {
	return slices.DeleteFunc(api.Permissions(), func(p api.Permission) bool { return !of(p) })
}

func without(list []api.Permission, but ...api.Permission) []api.Permission {
	return slices.DeleteFunc(list, func(p api.Permission) bool { return slices.Contains(but, p) })
}

// permissions is a set.
type permissions map[api.Permission]bool

func setOf(list []api.Permission) permissions {
	set := permissions{}
	for _, p := range list {
		set[p] = true
	}
	return set
}

// missing is the first of the list that is not in the set.
func (s permissions) missing(list []api.Permission) (api.Permission, bool) {
	for _, p := range list {
		if !s[p] {
			return p, true
		}
	}
	return "", false
}

// effect is a role in the form that deciding needs.
type effect struct{ allow, deny permissions }

// builtins are the effects of the built-in roles, made once.
type builtins struct{ appliance, tenant map[string]effect }

func newBuiltins() builtins {
	b := builtins{map[string]effect{}, map[string]effect{}}
	for _, r := range BuiltinRoles() {
		if r.Where == api.OnAppliance {
			b.appliance[r.Name] = effect{allow: setOf(r.Allow)}
		} else {
			b.tenant[r.Name] = effect{allow: setOf(r.Allow)}
		}
	}
	return b
}

// of finds a built-in role of a scope.
func (b builtins) of(scope, role string) (effect, bool) {
	if scope == Appliance {
		e, ok := b.appliance[role]
		return e, ok
	}
	e, ok := b.tenant[role]
	return e, ok
}
