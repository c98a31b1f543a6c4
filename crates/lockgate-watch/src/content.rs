//! What is known of a file: its signature, which shows that it was written, and a hash of its content, which shows that
//! this has changed something.

use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// Larger files are not read: each write to them is a change.
const LARGEST: u64 = 4 << 20;

/// Differs after each write, also after one that replaces the file by another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature {
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

impl Signature {
    /// The signature of a file; `None` if there is no such file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        (!metadata.is_dir()).then(|| Self::from(&metadata))
    }

    /// When the file was written, if that is no earlier than 1970.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        let (seconds, nanos) = self.modified;
        let since = std::time::Duration::new(seconds.try_into().ok()?, nanos.try_into().ok()?);
        SystemTime::UNIX_EPOCH.checked_add(since)
    }
}

impl From<&Metadata> for Signature {
    fn from(metadata: &Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
            inode: metadata.ino(),
        }
    }
}

/// A hash of the file's content; `None` if it is too large or cannot be read.
pub(crate) fn hash(path: &Path) -> Option<u64> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_write_a_file_changes_its_signature_and_only_another_content_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.py");
        let other = folder.path().join("b.py");
        assert_eq!((Signature::of(&path), hash(&path)), (None, None));
        fs::write(&path, "1").unwrap();
        let before = (Signature::of(&path), hash(&path));
        assert_eq!((Signature::of(&path), hash(&path)), before);
        // As an editor saves: another file takes the place, here with the same time.
        fs::write(&other, "1").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        File::options()
            .write(true)
            .open(&other)
            .unwrap()
            .set_modified(time)
            .unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(Signature::of(&path), before.0);
        assert_eq!(hash(&path), before.1);
        fs::write(&path, "23").unwrap();
        assert_ne!(hash(&path), before.1);
        assert_eq!(Signature::of(&path).unwrap().size, 2);
        assert_eq!(Signature::of(folder.path()), None, "a directory");
        assert_eq!(hash(folder.path()), None);
    }
}
