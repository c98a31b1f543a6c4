//! A part of a file in the output queue: what of it is in memory, and whether it is still the same file.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::transport::page_cache::{FileRead, resident};
use lockgate_files::SharedFile;

/// A part of a file that is left to send.
pub(super) struct FilePart {
    pub(super) file: Arc<SharedFile>,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// What is before this offset can be read without waiting.
    resident_until: u64,
    /// What comes next is read by another thread, or has to be.
    read: Option<FileRead>,
    /// Another thread reads it.
    is_read_taken: bool,
    /// The file as it was when the first bytes of it were sent.
    version: Option<Version>,
}

/// What tells that a file was written to.
#[derive(PartialEq, Eq)]
struct Version {
    size: u64,
    modified: (i64, i64),
}

impl Version {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

impl FilePart {
    pub(super) fn new(file: Arc<SharedFile>, offset: u64, length: u64) -> Self {
        Self {
            file,
            offset,
            length,
            resident_until: offset,
            read: None,
            is_read_taken: false,
            version: None,
        }
    }

    /// The read that has to be done before the part can be sent, once.
    pub(super) fn take_read(&mut self) -> Option<FileRead> {
        let is_taken = std::mem::replace(&mut self.is_read_taken, true);
        self.read.clone().filter(|_| !is_taken)
    }

    /// How many of the next `wanted` bytes can be read without waiting. None of them: a read is prepared.
    pub(super) fn resident(&mut self, wanted: u64) -> u64 {
        if let Some(read) = self.read.take_if(|read| read.is_done()) {
            self.resident_until = read.end();
        }
        let until = self.offset + wanted;
        if self.read.is_none() && self.resident_until < until {
            let from = self.resident_until.max(self.offset);
            self.resident_until = from + resident(&self.file, from, until - from);
            if self.resident_until <= self.offset {
                self.read = Some(FileRead::new(&self.file, self.offset, self.length));
                self.is_read_taken = false;
            }
        }
        wanted.min(self.resident_until.saturating_sub(self.offset))
    }

    /// Fails if the file was written to since its first bytes were sent: the client would get parts of two versions. A
    /// file that only grows, such as a log, is the same as before where it is sent. `ready`: bytes that are sent next; a
    /// part that is sent at once has one version.
    pub(super) fn check_version(&mut self, ready: u64) -> io::Result<()> {
        if self.version.is_none() && ready == self.length {
            return Ok(());
        }
        let now = Version::of(&self.file)?;
        let is_same =
            (self.version.as_ref()).is_none_or(|then| then == &now || now.size > then.size);
        self.version.get_or_insert(now);
        if is_same {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    pub(super) fn advance(&mut self, count: u64) {
        self.offset += count;
        self.length -= count;
    }
}
