package api

import "slices"

// Permission names one thing that a role may allow.
type Permission string

// The permissions. Public and Signed are no grant: the one asks for nobody, the
// other for any signed-in actor. A new one also gets its line in catalogue.
const (
	Public            Permission = "public"
	Signed            Permission = "signed-in"
	OperatorRead      Permission = "operator.read"
	OperatorManage    Permission = "operator.manage"
	MemberRead        Permission = "member.read"
	MemberManage      Permission = "member.manage"
	RoleManage        Permission = "role.manage"
	TenantCreate      Permission = "tenant.create"
	TenantRead        Permission = "tenant.read"
	EnvironmentCreate Permission = "environment.create"
	TenantDelete      Permission = "tenant.delete"
	DataRead          Permission = "data.read"
	DataExport        Permission = "data.export"
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
	DrillRun          Permission = "drill.run"
	DoctorRead        Permission = "doctor.read"
	ReviewRead        Permission = "review.read"
	ReviewManage      Permission = "review.manage"
	AccessDecide      Permission = "access.decide"
)

// Where a permission has a meaning.
const (
	OnAppliance = "appliance" // not within one tenant: no tenant role can hold it
	OnTenant    = "tenant"    // within a tenant, and for roles of the appliance in all of them: never a record
	OnContent   = "content"   // within a tenant, and for its own people alone: it lets records be seen or changed, or says who may
)

// Named is a permission as it is shown to people.
type Named struct {
	Permission Permission `json:"name"`
	Where      string     `json:"where" enum:"appliance,tenant,content"`
	About      string     `json:"about"`
}

// Catalogue is the one list of the permissions that a role can hold, in the order
// they are shown.
func Catalogue() []Named {
	return []Named{
		{OperatorRead, OnAppliance, "See who operates this appliance, and with which roles."},
		{OperatorManage, OnAppliance, "Make operators, change their roles and end them."},
		{MemberRead, OnTenant, "See who belongs to a tenant, with which roles and since when."},
		{MemberManage, OnContent, "Bring people into a tenant, change their roles and end them."},
		{RoleManage, OnContent, "Make, change and delete a tenant's own roles."},
		{TenantCreate, OnAppliance, "Create tenants."},
		{TenantRead, OnTenant, "See a tenant's name, state, sizes and counts, never its records."},
		{TenantDelete, OnTenant, "Delete a tenant, and bring it back while that is possible."},
		{EnvironmentCreate, OnTenant, "Create the test and dev environments of a tenant."},
		{DataRead, OnContent, "Read records and files, a page at a time."},
		{DataExport, OnContent, "Take whole collections out of a store."},
		{DataWrite, OnContent, "Import and change records."},
		{SchemaManage, OnContent, "Create and change collections, their rules and a store's settings."},
		{KeyManage, OnContent, "Make, rotate and revoke API keys, which reach records."},
		{SnapshotRead, OnTenant, "See a store's snapshots and verify them."},
		{SnapshotCreate, OnTenant, "Ship a snapshot now."},
		{SnapshotRestore, OnTenant, "Restore a store, in place or as another tenant of the same people; nobody sees records by it."},
		{DrillRun, OnTenant, "Try a restore into scratch and measure it, and make reports of drills."},
		{TargetRead, OnTenant, "See the names and states of snapshot targets."},
		{TargetManage, OnAppliance, "Add, test and remove snapshot targets."},
		{AccessDecide, OnAppliance, "Approve, with a second operator, emergency access to a tenant that allows it."},
		{AuditRead, OnTenant, "Read the audit logs and check their proofs."},
		{OperationRead, OnTenant, "See long actions and how far they are."},
		{OperationCancel, OnTenant, "Cancel long actions."},
		{StudioOpen, OnContent, "Open PocketBase's dashboard on a store, where all can be seen and changed."},
		{DataErase, OnContent, "Erase records so that no restore brings them back, and see what was erased."},
		{DisposalRead, OnAppliance, "Read certificates of disposal and the ledger of destructions."},
		{CustodyRead, OnAppliance, "See the slots, keys and copies that guard the root key."},
		{CustodyManage, OnAppliance, "Change slots, rotate keys, keep and purge copies of the keyring."},
		{DoctorRead, OnAppliance, "See what is misconfigured, insecure or failing on this appliance."},
		{ReviewRead, OnTenant, "See access reviews, what they decided, and their signed reports."},
		{ReviewManage, OnTenant, "Begin access reviews, and confirm or revoke what others hold."},
	}
}

// Permissions lists all that a role can hold, in the order they are shown.
func Permissions() []Permission {
	var all []Permission
	for _, n := range Catalogue() {
		all = append(all, n.Permission)
	}
	return all
}

func (p Permission) where() string {
	all := Catalogue()
	if i := slices.IndexFunc(all, func(n Named) bool { return n.Permission == p }); i >= 0 {
		return all[i].Where
	}
	return ""
}

// ApplianceOnly says that the permission has no meaning inside one tenant, so
// that no tenant role can hold it.
func (p Permission) ApplianceOnly() bool { return p.where() == OnAppliance }

// Content says that the permission lets somebody see or change a tenant's records, or
// say who may. No role of the appliance holds one within a tenant.
func (p Permission) Content() bool { return p.where() == OnContent }

// Known says whether a route may declare the permission.
func (p Permission) Known() bool { return p == Public || p == Signed || p.where() != "" }
