//! What distinguishes one version of a file from the next, and the entity tags that follow from it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

/// A file that has changed within this time may change again without another time stamp: the clock of the kernel
/// advances in steps of at most 10 ms.
pub(crate) const STEP: Duration = Duration::from_millis(100);

/// The same where times are whole seconds, or every second one (FAT).
const COARSE_STEP: Duration = Duration::from_secs(3);

/// Bytes of a digest in an entity tag.
const TAG_BYTES: usize = 12;

/// The identity of a file and the version of its content, as far as the file system knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    pub(crate) size: u64,
    /// Seconds and nanoseconds, as are the next.
    pub(crate) modified: (i64, i64),
    /// Content, owner or mode: unlike `modified`, programs cannot set it.
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the file may change once more without a new stamp. `now` is the time since 1970.
    pub(crate) fn is_young(&self, now: Duration) -> bool {
        let changed = Duration::new(
            u64::try_from(self.changed.0).unwrap_or(0),
            u32::try_from(self.changed.1).unwrap_or(0),
        );
        let is_coarse = self.changed.1 == 0 && self.modified.1 == 0;
        now < changed + if is_coarse { COARSE_STEP } else { STEP }
    }

    /// The time of the last modification, in seconds since 1970, but not later than `now` (RFC 9110 §8.8.2.1).
    pub(crate) fn last_modified(&self, now: Duration) -> u64 {
        u64::try_from(self.modified.0)
            .unwrap_or(0)
            .min(now.as_secs())
    }

    /// The entity tag of a file whose content was not read: weak as long as the stamp does not tell versions apart.
    pub(crate) fn entity_tag(&self, now: Duration) -> String {
        let mut context = Context::new(&SHA256);
        for number in [self.device, self.inode, self.size] {
            context.update(&number.to_be_bytes());
        }
        for time in [self.modified, self.changed] {
            context.update(&time.0.to_be_bytes());
            context.update(&time.1.to_be_bytes());
        }
        let strength = if self.is_young(now) { "W/" } else { "" };
        format!("{strength}{}", quoted(context.finish().as_ref()))
    }
}

/// The entity tag of a content. Always strong, and the same on every host.
pub(crate) fn content_tag(content: &[u8]) -> String {
    quoted(aws_lc_rs::digest::digest(&SHA256, content).as_ref())
}

fn quoted(digest: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * TAG_BYTES);
    text.push('"');
    for byte in digest.iter().take(TAG_BYTES) {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        device: 1,
        inode: 2,
        size: 3,
        modified: (1_000, 4),
        changed: (2_000, 5),
    };
    const LATER: Duration = Duration::from_secs(3_000);

    #[test]
    fn every_part_of_a_stamp_changes_the_tag() {
        let others = [
            Stamp { device: 9, ..STAMP },
            Stamp { inode: 9, ..STAMP },
            Stamp { size: 9, ..STAMP },
            Stamp {
                modified: (1_000, 9),
                ..STAMP
            },
            Stamp {
                modified: (9, 4),
                ..STAMP
            },
            Stamp {
                changed: (2_000, 9),
                ..STAMP
            },
            Stamp {
                changed: (9, 5),
                ..STAMP
            },
        ];
        let tag = STAMP.entity_tag(LATER);
        assert_eq!((tag.len(), tag.starts_with('"')), (26, true));
        for other in others {
            assert_ne!(other.entity_tag(LATER), tag, "{other:?}");
        }
    }

    #[test]
    fn the_tag_of_a_file_that_has_just_changed_is_weak() {
        for (millis, is_weak) in [(1_999_000, true), (2_000_050, true), (2_000_101, false)] {
            let tag = STAMP.entity_tag(Duration::from_millis(millis));
            assert_eq!(tag.starts_with("W/"), is_weak, "{millis}");
            assert_eq!(tag.trim_start_matches("W/"), STAMP.entity_tag(LATER));
        }
        let coarse = Stamp {
            modified: (1_000, 0),
            changed: (2_000, 0),
            ..STAMP
        };
        assert!(coarse.is_young(Duration::from_secs(2_002)));
        assert!(!coarse.is_young(Duration::from_secs(2_003)));
    }

    #[test]
    fn a_modification_in_the_future_counts_as_now() {
        assert_eq!(STAMP.last_modified(LATER), 1_000);
        assert_eq!(STAMP.last_modified(Duration::from_secs(999)), 999);
        let before_1970 = Stamp {
            modified: (-5, 0),
            ..STAMP
        };
        assert_eq!(before_1970.last_modified(LATER), 0);
    }

    #[test]
    fn equal_contents_have_equal_tags() {
        assert_eq!(content_tag(b"a"), content_tag(b"a"));
        assert_ne!(content_tag(b"a"), content_tag(b"b"));
        // The beginning of what sha256sum prints.
        assert_eq!(content_tag(b""), "\"e3b0c44298fc1c149afbf4c8\"");
    }
}
