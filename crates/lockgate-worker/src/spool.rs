//! Collects a request body: in memory while it is small, in an unnamed temporary file beyond. Knows no framing.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

use std::sync::Arc;

use crate::body_buffer::{BodyBuffer, BodyPool};
use crate::request::Body;

/// From so much on a body is received where it is collected; below, one read with the head is cheaper.
const RECEIVED_DIRECTLY: u64 = 8 * 1024;

/// A body on its way in.
#[derive(Debug, Default)]
pub enum Spool {
    /// Nothing has come.
    #[default]
    Empty,
    /// So far it fits into memory.
    Memory(BodyBuffer),
    /// It has outgrown memory.
    Disk { file: File, length: u64 },
}

impl Spool {
    /// Prepares for a body of an announced length.
    pub fn with_length(pool: &Arc<BodyPool>, length: u64) -> Self {
        Self::Memory(BodyBuffer::with_room(pool, length))
    }

    /// Whether what is added costs a system call.
    pub fn is_on_disk(&self) -> bool {
        matches!(self, Self::Disk { .. })
    }

    /// Where the next part of a body, of which `left` bytes are to come, may be received without a copy.
    pub fn room(&mut self, left: u64, memory: usize) -> Option<&mut [u8]> {
        let Self::Memory(held) = self else {
            return None;
        };
        let fits = left.saturating_add(held.len() as u64) <= memory as u64;
        if !fits || left < RECEIVED_DIRECTLY {
            return None;
        }
        Some(held.room(usize::try_from(left).ok()?))
    }

    /// So many bytes were received into [`Spool::room`].
    pub fn note_received(&mut self, count: usize) {
        if let Self::Memory(held) = self {
            held.note_received(count);
        }
    }

    /// Adds bytes; past `memory` bytes in all they go to an unnamed file in `directory`.
    ///
    /// # Errors
    /// The file system's: no space, no permission. What was collected is dropped with the spool.
    pub fn append(
        &mut self,
        bytes: &[u8],
        memory: usize,
        directory: Option<&Path>,
    ) -> io::Result<()> {
        match self {
            Self::Empty if bytes.len() <= memory => {
                let mut held = BodyBuffer::default();
                held.extend(bytes);
                *self = Self::Memory(held);
            }
            Self::Memory(held) if held.len() + bytes.len() <= memory => held.extend(bytes),
            Self::Disk { file, length } => {
                file.write_all(bytes)?;
                *length += bytes.len() as u64;
            }
            Self::Empty | Self::Memory(_) => {
                // O_TMPFILE where the file system has it: there is no name that could be left behind.
                let mut file = match directory {
                    Some(directory) => tempfile::tempfile_in(directory)?,
                    None => tempfile::tempfile()?,
                };
                let mut length = bytes.len() as u64;
                if let Self::Memory(held) = self {
                    file.write_all(held)?;
                    length += held.len() as u64;
                }
                file.write_all(bytes)?;
                *self = Self::Disk { file, length };
            }
        }
        Ok(())
    }

    /// The whole body, ready to be read from its start.
    ///
    /// # Errors
    /// When the file cannot be rewound.
    pub fn into_body(self) -> io::Result<Body> {
        Ok(match self {
            Self::Empty => Body::Empty,
            Self::Memory(bytes) if bytes.is_empty() => Body::Empty,
            Self::Memory(bytes) => Body::Memory(bytes),
            Self::Disk { mut file, length } => {
                file.rewind()?;
                Body::Spooled { file, length }
            }
        })
    }
}

/// Whether bodies can be kept in a directory: writes a byte to a file there that has no name.
///
/// # Errors
/// The file system's.
pub fn try_directory(directory: &Path) -> io::Result<()> {
    tempfile::tempfile_in(directory)?.write_all(b"?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Read;

    #[test]
    fn a_body_moves_to_disk_when_it_outgrows_memory_and_loses_nothing() {
        for (pieces, on_disk) in [
            (vec![&b""[..]], false),
            (vec![&b"abcd"[..]], false),
            (vec![&b"abcd"[..], b"efgh"], false),
            (vec![&b"abcd"[..], b"efgh", b"i"], true),
            (vec![&b"123456789"[..]], true),
            (vec![&b"123456789"[..], b"more"], true),
        ] {
            let mut spool = Spool::with_length(&Arc::default(), 4);
            for piece in &pieces {
                spool.append(piece, 8, None).unwrap();
            }
            let whole = pieces.concat();
            match spool.into_body().unwrap() {
                Body::Empty => assert!(whole.is_empty()),
                Body::Memory(bytes) => {
                    assert!(!on_disk);
                    assert_eq!(*bytes, whole);
                }
                Body::Spooled { mut file, length } => {
                    assert!(on_disk);
                    let mut bytes = Vec::new();
                    file.read_to_end(&mut bytes).unwrap();
                    assert_eq!((bytes, length), (whole.clone(), whole.len() as u64));
                }
            }
        }
    }

    #[test]
    fn a_disk_that_is_full_is_an_error_wherever_in_the_body_it_comes() {
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        for length in [0, 9, 1 << 40] {
            let mut spool = Spool::Disk {
                file: full(),
                length,
            };
            let error = spool.append(b"more", 8, None).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }

    #[test]
    fn a_directory_is_tried_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        try_directory(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(try_directory(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn a_directory_that_is_missing_is_an_error_with_nothing_kept() {
        let mut spool = Spool::default();
        assert!(
            spool
                .append(b"123456789", 8, Some(Path::new("/nonexistent-spool")))
                .is_err()
        );
    }
}
