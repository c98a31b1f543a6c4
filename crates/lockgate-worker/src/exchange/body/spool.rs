//! Collects a request body: in memory while it is small, in an unnamed temporary file beyond.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::exchange::body::buffer::{BodyBuffer, BodyPool};
use crate::transport::descriptors::budget::DescriptorBudget;
use crate::transport::descriptors::move_up;

/// From this size on a body is received directly into its buffer; below, one read together with the head is cheaper.
const RECEIVED_DIRECTLY: u64 = 8 * 1024;

/// Where the bodies of a worker are kept.
#[derive(Debug)]
pub struct BodyStore {
    /// Bytes of one body that are held in memory.
    pub memory: usize,
    pub pool: Arc<BodyPool>,
    /// `None`: the system's directory for temporary files.
    pub directory: Option<PathBuf>,
    pub descriptors: Arc<DescriptorBudget>,
}

/// Why a body is not stored.
#[derive(Debug)]
pub enum NotStored {
    /// The file system's error.
    Disk(io::Error),
    /// Connections and other bodies use all descriptors that the server may use, or the process has no more.
    NoDescriptors,
}

/// The file of a body, counted among the worker's descriptors.
#[derive(Debug)]
pub struct SpoolFile {
    file: File,
    descriptors: Arc<DescriptorBudget>,
}

impl SpoolFile {
    fn create(store: &BodyStore) -> Result<Self, NotStored> {
        if !store.descriptors.take_file() {
            return Err(NotStored::NoDescriptors);
        }
        // O_TMPFILE where the file system supports it: no name can be left behind.
        let created = match &store.directory {
            Some(directory) => tempfile::tempfile_in(directory),
            None => tempfile::tempfile(),
        };
        match created {
            Ok(file) => Ok(Self {
                file: move_up(file.into()).into(),
                descriptors: Arc::clone(&store.descriptors),
            }),
            Err(error) => {
                store.descriptors.give_file();
                Err(NotStored::from(error))
            }
        }
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        self.descriptors.give_file();
    }
}

impl Deref for SpoolFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl DerefMut for SpoolFile {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.file
    }
}

impl From<io::Error> for NotStored {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::MFILE | Errno::NFILE) => Self::NoDescriptors,
            _ => Self::Disk(error),
        }
    }
}

/// An incoming body.
#[derive(Debug, Default)]
pub enum Spool {
    /// Nothing has arrived.
    #[default]
    Empty,
    /// It fits into memory so far.
    Memory(BodyBuffer),
    /// It has outgrown memory.
    Disk { file: SpoolFile, length: u64 },
}

impl Spool {
    /// Prepares for a body with a Content-Length.
    pub fn with_length(store: &BodyStore, length: u64) -> Self {
        let held = length.min(store.memory as u64);
        Self::Memory(BodyBuffer::with_room(&store.pool, held))
    }

    /// Whether appending costs a system call.
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
        held.room(usize::try_from(left).ok()?)
    }

    /// `count` bytes were received into [`Spool::room`].
    pub fn record_received(&mut self, count: usize) {
        if let Self::Memory(held) = self {
            held.record_received(count);
        }
    }

    /// Appends bytes. They go to a file when the body exceeds the memory for one body, or all bodies the memory for
    /// all.
    ///
    /// # Errors
    /// Why they are not stored. What was collected is dropped with the spool.
    pub fn append(&mut self, bytes: &[u8], store: &BodyStore) -> Result<(), NotStored> {
        if let Self::Empty = self {
            *self = Self::Memory(BodyBuffer::with_room(&store.pool, 0));
        }
        if let Self::Memory(held) = self
            && held.len() + bytes.len() <= store.memory
            && held.extend(bytes)
        {
            return Ok(());
        }
        if !self.is_on_disk() {
            let mut file = SpoolFile::create(store)?;
            let mut length = 0;
            if let Self::Memory(held) = self {
                file.write_all(held)?;
                length = held.len() as u64;
            }
            *self = Self::Disk { file, length };
        }
        if let Self::Disk { file, length } = self {
            file.write_all(bytes)?;
            *length += bytes.len() as u64;
        }
        Ok(())
    }

    /// The complete body; a file is positioned at its start.
    ///
    /// # Errors
    /// Why it is not stored.
    #[inline]
    pub fn finish(mut self) -> Result<Self, NotStored> {
        if let Self::Disk { file, .. } = &mut self {
            file.rewind()?;
        }
        Ok(self)
    }
}

/// Checks that bodies can be stored in a directory: writes a byte to an unnamed file there.
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

    fn store(memory: usize) -> BodyStore {
        BodyStore {
            memory,
            pool: Arc::new(BodyPool::new(64 << 20)),
            directory: None,
            descriptors: Arc::new(DescriptorBudget::new(10, None, 0)),
        }
    }

    #[test]
    fn a_body_is_received_directly_only_if_all_of_it_fits_into_memory() {
        let directly = RECEIVED_DIRECTLY;
        for (held, left, memory, expected) in [
            (0, directly, directly, true),
            (0, directly, directly - 1, false),
            (0, directly - 1, directly, false),
            (1, directly, directly, false),
            (1, directly, directly + 1, true),
            (0, u64::MAX, directly, false),
        ] {
            let store = store(memory as usize);
            let mut spool = Spool::with_length(&store, held + left.min(directly));
            spool.append(&vec![0; held as usize], &store).unwrap();
            let room = spool.room(left, memory as usize).is_some();
            assert_eq!(room, expected, "{held} {left} {memory}");
        }
        let mut disk = Spool::Empty;
        disk.append(b"on disk", &store(1)).unwrap();
        assert!(disk.room(directly, usize::MAX).is_none());
    }

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
            let store = store(8);
            let mut spool = Spool::with_length(&store, 4);
            for piece in &pieces {
                spool.append(piece, &store).unwrap();
            }
            let whole = pieces.concat();
            match spool.finish().unwrap() {
                Spool::Empty => assert!(whole.is_empty()),
                Spool::Memory(bytes) => {
                    assert!(!on_disk);
                    assert_eq!(*bytes, whole);
                }
                Spool::Disk { mut file, length } => {
                    assert!(on_disk);
                    let mut bytes = Vec::new();
                    file.read_to_end(&mut bytes).unwrap();
                    assert_eq!((bytes, length), (whole.clone(), whole.len() as u64));
                }
            }
        }
    }

    #[test]
    fn a_full_disk_is_an_error_anywhere_in_the_body() {
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        let store = store(8);
        for length in [0, 9, 1 << 40] {
            assert!(store.descriptors.take_file());
            let mut spool = Spool::Disk {
                file: SpoolFile {
                    file: full(),
                    descriptors: Arc::clone(&store.descriptors),
                },
                length,
            };
            match spool.append(b"more", &store) {
                Err(NotStored::Disk(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(store.descriptors.files(), 0);
    }

    #[test]
    fn a_body_goes_to_disk_when_other_bodies_use_all_memory() {
        let mut store = store(1 << 20);
        store.pool = Arc::new(BodyPool::new(100_000));
        let mut spools = Vec::new();
        for (size, on_disk) in [
            (90_000, false),
            (20_000, true),
            (10_000, false),
            (4_000, false),
        ] {
            let mut spool = Spool::with_length(&store, size);
            spool.append(&vec![7; size as usize], &store).unwrap();
            assert_eq!(spool.is_on_disk(), on_disk, "{size}");
            spools.push(spool);
        }
        assert_eq!(store.descriptors.files(), 1);
        drop(spools);
        assert_eq!(store.descriptors.files(), 0);
    }

    #[test]
    fn a_body_without_a_free_descriptor_is_not_stored() {
        let mut store = store(8);
        store.descriptors = Arc::new(DescriptorBudget::new(10, Some(64), 24));
        let bodies: Vec<_> = std::iter::repeat_with(|| {
            let mut spool = Spool::default();
            spool.append(b"123456789", &store).map(|()| spool)
        })
        .take_while(Result::is_ok)
        .collect();
        assert_eq!(bodies.len(), 7);
        let mut one_more = Spool::default();
        let outcome = one_more.append(b"123456789", &store);
        assert!(matches!(outcome, Err(NotStored::NoDescriptors)));
        drop(bodies);
        assert!(one_more.append(b"123456789", &store).is_ok());
    }

    #[test]
    fn checking_a_directory_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        try_directory(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(try_directory(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn a_missing_directory_is_an_error_and_frees_the_descriptor() {
        let mut store = store(8);
        store.directory = Some("/nonexistent-spool".into());
        let outcome = Spool::default().append(b"123456789", &store);
        assert!(matches!(outcome, Err(NotStored::Disk(_))));
        assert_eq!(store.descriptors.files(), 0);
    }
}
