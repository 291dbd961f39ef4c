package app

import "golang.org/x/sys/unix"

// shares are the file systems that lie on other machines, by statfs(2)'s type.
var shares = map[uint32]string{
	unix.NFS_SUPER_MAGIC:   "NFS",
	unix.SMB_SUPER_MAGIC:   "SMB",
	unix.SMB2_SUPER_MAGIC:  "SMB",
	unix.CIFS_SUPER_MAGIC:  "CIFS",
	unix.AFS_SUPER_MAGIC:   "AFS",
	unix.CODA_SUPER_MAGIC:  "Coda",
	unix.CEPH_SUPER_MAGIC:  "CephFS",
	0x0bd00bd0:             "Lustre",
	0x01161970:             "GFS2",
	unix.OCFS2_SUPER_MAGIC: "OCFS2",
	unix.V9FS_MAGIC:        "9P",
}

// shareOf names the kind of network share that a folder lies on; "" for a disk.
func shareOf(path string) (string, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return "", err
	}
	return shares[uint32(s.Type)], nil //nolint:gosec // the types are numbers of 32 bits
}
