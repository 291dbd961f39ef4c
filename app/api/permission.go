package api

import "slices"

// Permission names one thing that a role may allow.
type Permission string

// The permissions. Public and Signed are no grant: the one asks for nobody, the
// other for any signed-in actor.
const (
	Public            Permission = "public"
	Signed            Permission = "signed-in"
	OperatorManage    Permission = "operator.manage"
	MemberManage      Permission = "member.manage"
	TenantCreate      Permission = "tenant.create"
	TenantRead        Permission = "tenant.read"
	EnvironmentCreate Permission = "environment.create"
	TenantDelete      Permission = "tenant.delete"
	DataRead          Permission = "data.read"
	DataWrite         Permission = "data.write"
	SchemaManage      Permission = "schema.manage"
	KeyManage         Permission = "key.manage"
	SnapshotRead      Permission = "snapshot.read"
	SnapshotCreate    Permission = "snapshot.create"
	SnapshotRestore   Permission = "snapshot.restore"
	TargetRead        Permission = "target.read"
	TargetManage      Permission = "target.manage"
	AuditRead         Permission = "audit.read"
	OperationRead     Permission = "operation.read"
	OperationCancel   Permission = "operation.cancel"
	StudioOpen        Permission = "studio.open"
	DataErase         Permission = "data.erase"
	DisposalRead      Permission = "disposal.read"
	CustodyRead       Permission = "custody.read"
	CustodyManage     Permission = "custody.manage"
)

// Permissions lists all that a role can hold, in the order they are shown.
func Permissions() []Permission {
	return []Permission{
		OperatorManage, MemberManage, TenantCreate, TenantRead, TenantDelete, EnvironmentCreate,
		DataRead, DataWrite, SchemaManage, KeyManage,
		SnapshotRead, SnapshotCreate, SnapshotRestore,
		TargetRead, TargetManage, AuditRead, OperationRead, OperationCancel, StudioOpen, DataErase, DisposalRead,
		CustodyRead, CustodyManage,
	}
}

// ApplianceOnly says that the permission has no meaning inside one tenant, so
// that no tenant role can hold it. Members are among them until they are invited:
// who adds one learns whether there is an account.
func (p Permission) ApplianceOnly() bool {
	switch p {
	case OperatorManage, MemberManage, TenantCreate, TargetManage, DisposalRead, CustodyRead, CustodyManage:
		return true
	}
	return false
}

// Known says whether a route may declare the permission.
func (p Permission) Known() bool {
	return p == Public || p == Signed || slices.Contains(Permissions(), p)
}
