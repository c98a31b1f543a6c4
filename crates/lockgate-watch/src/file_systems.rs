//! File systems that notify only of writes by this machine: they are looked at as well.

use std::path::Path;

/// Magic numbers of file systems (statfs(2)) that other machines write to, or the host of a virtual machine.
#[cfg(target_os = "linux")]
const SHARED: [(u64, &str); 11] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x786F_4256, "VirtualBox shared folders"),
    (0x7C7C_6673, "Parallels shared folders"),
    (0xBACB_ACBC, "VMware shared folders"),
    (0x5346_414F, "AFS"),
    (0x00C3_6400, "Ceph"),
];

/// The name of the file system if others than this machine may write to it.
#[cfg(target_os = "linux")]
pub(crate) fn shared(path: &Path) -> Option<&'static str> {
    let statistics = rustix::fs::statfs(path).ok()?;
    name_of(u64::try_from(statistics.f_type).ok()?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn shared(_path: &Path) -> Option<&'static str> {
    None
}

#[cfg(target_os = "linux")]
fn name_of(magic: u64) -> Option<&'static str> {
    // The type is signed on some architectures, and 32 bits wide on others.
    let magic = magic & 0xFFFF_FFFF;
    let mut known = SHARED.iter();
    known
        .find(|(number, _)| *number == magic)
        .map(|(_, name)| *name)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn shared_file_systems_are_known_by_their_numbers() {
        assert_eq!(name_of(0x6969), Some("NFS"));
        assert_eq!(name_of(0xFFFF_FFFF_FF53_4D42), Some("CIFS"));
        // ext4, tmpfs.
        assert_eq!(name_of(0xEF53), None);
        assert_eq!(name_of(0x0102_1994), None);
        assert_eq!(shared(Path::new("/proc")), None);
    }
}
