//! Files that are there whole or not at all, on local disks and on NFS: a temporary file in the same folder, `fsync`, and
//! a rename or a link.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes or replaces a file.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary(path, bytes, mode)?;
    let renamed = fs::rename(&temporary, path);
    if renamed.is_err() {
        let _left = fs::remove_file(&temporary);
    }
    renamed?;
    sync_folder(path);
    Ok(())
}

/// Writes a file unless there is one; false when there is.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    let temporary = temporary(path, bytes, mode)?;
    // link(2) is atomic and never replaces a file; NFS has it, and some file systems do not.
    let linked = match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => write_new(path, bytes, mode),
        linked => linked,
    };
    let _left = fs::remove_file(&temporary);
    match linked {
        Ok(()) => {
            sync_folder(path);
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a file, which may be gone already.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Makes a folder and its parents. One that is there keeps its mode.
pub(crate) fn create_folder(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        // Whatever the umask is.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// A file name beside `path` that no other process uses, also on another host.
pub(crate) fn sibling(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let process = std::process::id();
    path.with_file_name(format!(".{name}.{process}.{now}.{count}"))
}

fn temporary(path: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let temporary = sibling(path);
    write_new(&temporary, bytes, mode)?;
    Ok(temporary)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path)?;
    fill(file, path, bytes, mode)
}

/// Writes a file that was just made. A part of it, as on a full disk, does not stay.
fn fill(mut file: File, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let written = file
        .write_all(bytes)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        let _left = fs::remove_file(path);
    }
    written
}

/// The new name survives a power failure. Some file systems have no such call, and lose nothing without it.
fn sync_folder(path: &Path) {
    let folder = path.parent().and_then(|folder| File::open(folder).ok());
    let _unsupported = folder.map(|folder| folder.sync_all());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_a_new_one_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        replace(&path, b"1", 0o600).unwrap();
        replace(&path, b"2", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert!(!create(&path, b"3", 0o600).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"2");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(create(&path, b"4", 0o600).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"4");
        let names = fs::read_dir(folder.path()).unwrap();
        assert_eq!(names.count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_disk_that_is_full_leaves_no_part_of_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"1").unwrap();
        // Each write to it fails with ENOSPC (full(4)).
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert!(fill(full, &path, b"12", 0o600).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("folder");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("file"), "").unwrap();
        assert!(replace(&target, b"1", 0o600).is_err());
        assert!(replace(&folder.path().join("missing/a"), b"1", 0o600).is_err());
        let names = fs::read_dir(folder.path()).unwrap();
        assert_eq!(names.count(), 1);
    }
}
