//! A region of shared memory: locks first, then what they protect, in a file that the next program in this process can
//! map too.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::os::{map_lock_words, map_words_after, shared_memory};

/// See the module. Without memory it is empty.
pub(crate) struct Region<T> {
    content: Option<(T, OwnedFd)>,
}

/// What is in a region, and how large it is.
pub(super) trait Plan {
    /// What processes use.
    type Content: Clone;

    fn lock_words(&self) -> usize;

    fn words(&self) -> usize;

    /// The content of memory that is all zero or has this plan; `None` if it has another one. `secret` is the key of
    /// the hash functions of new content.
    fn open(
        &self,
        lock_words: &'static [AtomicU32],
        words: &'static [AtomicU64],
        secret: (u64, u64),
    ) -> Option<Self::Content>;
}

/// Bytes of a page, also of the largest that Linux uses for a mapping's offset.
const PAGE: usize = 64 * 1024;

impl<T> Default for Region<T> {
    fn default() -> Self {
        Self { content: None }
    }
}

impl<T: Clone> Region<T> {
    /// A new region.
    ///
    /// # Errors
    /// When the system provides no memory.
    pub(super) fn create(plan: &impl Plan<Content = T>) -> io::Result<Self> {
        let words = lock_bytes(plan) / size_of::<u64>() + plan.words();
        let memory = shared_memory(words)?;
        let content = map(&memory, plan)?.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self::of(content, memory))
    }

    /// The region in the memory that the previous program has left; `None` when it has another plan.
    pub(super) fn inherit(memory: OwnedFd, plan: &impl Plan<Content = T>) -> Option<Self> {
        let content = map(&memory, plan).ok().flatten()?;
        Some(Self::of(content, memory))
    }

    fn of(content: T, memory: OwnedFd) -> Self {
        Self {
            content: Some((content, memory)),
        }
    }

    pub(crate) fn get(&self) -> Option<T> {
        self.content.as_ref().map(|(content, _)| content.clone())
    }

    /// The memory, for the next program in this process.
    pub(crate) fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.content.as_ref().map(|(_, memory)| memory.as_fd())
    }
}

/// Bytes of the locks in whole pages.
fn lock_bytes(plan: &impl Plan) -> usize {
    (plan.lock_words() * size_of::<u32>()).next_multiple_of(PAGE)
}

/// The content of this memory; `None` when it has another plan.
fn map<P: Plan>(memory: &OwnedFd, plan: &P) -> io::Result<Option<P::Content>> {
    let lock_words = map_lock_words(memory, plan.lock_words())?;
    let words = map_words_after(memory, lock_bytes(plan), plan.words())?;
    Ok(plan.open(lock_words, words, random()?))
}

fn random() -> io::Result<(u64, u64)> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let [a, b] = [0, 8].map(|start| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[start..start + 8]);
        u64::from_le_bytes(word)
    });
    Ok((a, b))
}
