//! The process that is sampled, as a trait: samples of recorded memory can be tested.

use std::io;
use std::time::Duration;

use lockgate_profile::Activity;

use crate::ffi::own_memory;
pub(super) use crate::ffi::own_memory::Part;

use super::descriptors::OwnDescriptors;
use super::waiting::Waits;

/// Memory that changes while it is read.
pub(super) trait Memory {
    /// Reads all parts that are readable.
    fn read_parts(&self, parts: &mut [Part<'_>]);

    /// Whether all bytes were read.
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        let mut parts = [Part::new(address, bytes)];
        self.read_parts(&mut parts);
        let [part] = parts;
        part.is_read
    }

    /// A word.
    fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)
            .then(|| u64::from_ne_bytes(bytes))
    }
}

/// What is known of a thread from the samples before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It was somewhere else.
    New,
    /// It has run since, and is in the same stack again.
    Back,
    /// It has not run for longer than a thread that waits for the GIL, which wakes each switch interval.
    Unmoved,
}

/// What else is known of its threads.
pub(super) trait Threads {
    /// The CPU time of a thread; `None` when it has ended.
    fn cpu_time(&self, tid: u64) -> Option<Duration>;

    /// What a thread does now.
    fn activity(&mut self, tid: u64, presence: Presence) -> Activity;

    /// There are no samples for now.
    fn end(&mut self);
}

/// The memory of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnMemory {
    /// Its process id: a child of this process has another memory.
    pid: i32,
}

impl OwnMemory {
    /// # Errors
    /// Where the system does not let a process read its memory by process_vm_readv(2).
    pub(super) fn open() -> io::Result<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let value = 0x10c6_9a7e_u64;
        let mut bytes = [0; 8];
        let mut parts = [Part::new((&raw const value).addr() as u64, &mut bytes)];
        own_memory::read_parts(pid, &mut parts)?;
        match u64::from_ne_bytes(bytes) == value {
            true => Ok(Self { pid }),
            false => Err(io::Error::other("it reads something else")),
        }
    }
}

impl Memory for OwnMemory {
    fn read_parts(&self, parts: &mut [Part<'_>]) {
        // `open` has seen that the call works; if it fails later, nothing is read.
        let _nothing_is_read = own_memory::read_parts(self.pid, parts);
    }
}

/// The threads of this process.
pub(super) struct OwnThreads {
    pub(super) waits: Waits<OwnMemory, OwnDescriptors>,
}

impl Threads for OwnThreads {
    fn cpu_time(&self, tid: u64) -> Option<Duration> {
        own_memory::cpu_time(u32::try_from(tid).ok()?)
    }

    fn activity(&mut self, tid: u64, presence: Presence) -> Activity {
        self.waits.of(tid, presence)
    }

    fn end(&mut self) {
        self.waits.end();
    }
}

/// A word in bytes that were read; 0 beyond their end.
pub(super) fn word_at(bytes: &[u8], offset: usize) -> u64 {
    let word = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    word.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// As [`word_at`], for a C `int`.
pub(super) fn int_at(bytes: &[u8], offset: usize) -> i32 {
    let int = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    int.map_or(0, |bytes| i32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_mapped_is_not_read_and_the_rest_is() {
        let memory = OwnMemory::open().unwrap();
        let value: [u64; 2] = [7, 8];
        let address = |index: usize| (&raw const value[index]).addr() as u64;
        let (mut first, mut absent, mut last) = ([0; 8], [0; 8], [0; 8]);
        let mut parts = [
            Part::new(address(0), &mut first),
            Part::new(16, &mut absent),
            Part::new(address(1), &mut last),
        ];
        memory.read_parts(&mut parts);
        assert_eq!(parts.map(|part| part.is_read), [true, false, true]);
        assert_eq!(u64::from_ne_bytes(last), 8);
        assert_eq!(memory.word(address(0)), Some(7));
        for address in [0, 1 << 47, u64::MAX, u64::MAX - 7] {
            assert_eq!(memory.word(address), None, "{address:#x}");
        }
    }

    #[test]
    fn a_thread_uses_cpu_time_and_an_absent_one_has_none() {
        let own = u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        let before = own_memory::cpu_time(own).unwrap();
        while own_memory::cpu_time(own).unwrap() < before + Duration::from_millis(2) {}
        for tid in [0, u32::MAX >> 4] {
            assert_eq!(own_memory::cpu_time(tid), None, "{tid}");
        }
    }
}
