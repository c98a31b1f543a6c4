//! The page cache: what of a file can be read without waiting for its disk, and reading the rest on another thread.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockgate_files::SharedFile;
use rustix::time::clock_gettime;

use crate::os::{COARSE_MONOTONIC, read_cached};

/// The kernel reads ahead in larger steps, so that one page in this many bytes stands for the others.
const STRIDE: u64 = 128 << 10;

/// Bytes that another thread reads before the event loop continues.
const READ_AT_ONCE: u64 = 256 << 10;

/// How many bytes from `offset` on, `length` at most, can be read without waiting. The end of the file counts as such.
pub fn resident(file: &SharedFile, offset: u64, length: u64) -> u64 {
    let end = offset.saturating_add(length);
    let now = coarse_clock();
    if file.is_resident(offset, end, now) {
        return length;
    }
    let found = look_for(file, offset, length);
    if found == length {
        file.found_resident(offset, end, now);
    }
    found
}

/// A clock that costs no system call, and is right to 10 ms.
fn coarse_clock() -> Duration {
    let now = clock_gettime(COARSE_MONOTONIC);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

fn look_for(file: &File, offset: u64, length: u64) -> u64 {
    let end = offset.saturating_add(length);
    let mut at = offset;
    while at < end {
        let mut byte = [0];
        if read_cached(file, &mut byte, at).is_err() {
            break;
        }
        at = (at + STRIDE).min(end);
    }
    // The last page may be in another step of the kernel than the one before.
    if at == end && length > STRIDE && read_cached(file, &mut [0], end - 1).is_err() {
        at = end - (length % STRIDE).max(1);
    }
    at - offset
}

/// A part of a file that a thread reads, so that it is in the page cache afterwards.
#[derive(Debug, Clone)]
pub struct FileRead {
    file: Arc<SharedFile>,
    offset: u64,
    length: u64,
    is_done: Arc<AtomicBool>,
}

impl FileRead {
    pub fn new(file: &Arc<SharedFile>, offset: u64, length: u64) -> Self {
        Self {
            file: Arc::clone(file),
            offset,
            length: length.min(READ_AT_ONCE),
            is_done: Arc::default(),
        }
    }

    /// Where the part ends.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// Waits for the disk.
    pub fn run(&self) {
        let mut buffer = vec![0; 64 << 10];
        let mut at = self.offset;
        while at < self.end() {
            let wanted = (self.end() - at).min(buffer.len() as u64) as usize;
            match self.file.read_at(&mut buffer[..wanted], at) {
                Ok(count @ 1..) => at += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The end of the file, or an error, which the next read of the event loop finds.
                Ok(0) | Err(_) => break,
            }
        }
        self.skip();
    }

    /// The event loop continues as if the part had been read.
    pub fn skip(&self) {
        self.is_done.store(true, Ordering::Release);
    }

    pub fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(size: usize) -> SharedFile {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'x'; size]).unwrap();
        SharedFile::new(file)
    }

    /// Removes the file from the page cache. False: its file system has no other place for it.
    #[cfg(target_os = "linux")]
    fn evict(file: &SharedFile) -> bool {
        use rustix::fs::{Advice, fadvise};
        file.sync_all().unwrap();
        fadvise(&**file, 0, None, Advice::DontNeed).unwrap();
        resident(file, 0, 1) == 0
    }

    #[test]
    fn what_was_just_written_is_resident() {
        let file = file(1_000_000);
        for (offset, length) in [
            (0, 1_000_000),
            (5, 1),
            (999_999, 1),
            (0, STRIDE),
            (1, STRIDE),
            (0, STRIDE + 1),
            (100, 0),
            // Beyond its end: a read finds that out at once.
            (2_000_000, 10),
        ] {
            assert_eq!(resident(&file, offset, length), length, "{offset} {length}");
        }
    }

    #[test]
    fn a_file_in_memory_is_resident_whatever_the_kernel_knows() {
        let Ok(mut file) = tempfile::tempfile_in("/dev/shm") else {
            return;
        };
        file.write_all(b"abc").unwrap();
        let file = SharedFile::new(file);
        assert_eq!(resident(&file, 0, 3), 3);
        let mut buffer = [0; 3];
        assert_eq!(read_cached(&file, &mut buffer, 0).unwrap(), 3);
        assert_eq!(&buffer, b"abc");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_was_evicted_is_resident_after_a_read() {
        let file = Arc::new(file(1_000_000));
        if !evict(&file) {
            return;
        }
        let read = FileRead::new(&file, 300_000, 700_000);
        read.run();
        assert!(resident(&file, 300_000, 100_000) == 100_000);
    }

    #[test]
    fn a_read_is_bounded_and_ends_with_the_file() {
        let file = Arc::new(file(1_000_000));
        for (offset, length, end) in [
            (0, 10, 10),
            (5, 900_000, 5 + READ_AT_ONCE),
            (999_990, 100, 1_000_090),
        ] {
            let read = FileRead::new(&file, offset, length);
            assert!(!read.is_done());
            read.run();
            assert!(read.is_done());
            assert_eq!(read.end(), end);
        }
    }
}
