//! The version of a file: what changes when it is replaced or written, found without reading it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// See the module. Symbolic links are followed, because certbot and Kubernetes replace those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileVersion {
    path: PathBuf,
    /// `None` when there is no such file, or no access to it.
    found: Option<Found>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// The time of the last change of the inode: it also shows a write that restores the modification time.
    changed: (i64, i64),
}

impl FileVersion {
    pub(super) fn of(path: &Path) -> Self {
        let found = fs::metadata(path).ok().map(|found| Found {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        });
        Self {
            path: path.to_owned(),
            found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_version_changes_with_the_file_and_with_every_link_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let [file, other, link, staged] =
            ["file", "other", "link", "staged"].map(|name| folder.path().join(name));
        let missing = FileVersion::of(&link);
        fs::write(&file, "1").unwrap();
        fs::write(&other, "1").unwrap();
        symlink(&file, &link).unwrap();
        let first = FileVersion::of(&link);
        assert_ne!(missing, first);
        assert_eq!(FileVersion::of(&link), first);
        assert_ne!(FileVersion::of(&file), first, "another path");
        symlink(&other, &staged).unwrap();
        fs::rename(&staged, &link).unwrap();
        let second = FileVersion::of(&link);
        assert_ne!(second, first);
        fs::write(&other, "12").unwrap();
        assert_ne!(FileVersion::of(&link), second);
        fs::remove_file(&other).unwrap();
        assert_eq!(FileVersion::of(&link), missing);
    }
}
