//! The frames of a thread: which code it executes, and where in it.
//!
//! The thread runs on meanwhile. Its most recent frames are copied at one go, together with the chunk that they are in;
//! if the copy is no stack, it is made again.

use std::fmt;

use lockgate_profile::MOST_FRAMES;

use super::layout::{
    CHUNK_FRAMES, CHUNK_PREVIOUS, CHUNK_SIZE, CurrentFrame, FrameLayout, Instruction, Layout,
};
use super::memory::{Memory, Part, int_at, word_at};
use super::threads::ThreadState;

/// Most bytes of a chunk that are read. CPython makes chunks of 16 KiB, and larger ones for a frame that needs more.
const MOST_CHUNK: u64 = 256 << 10;
/// How often a thread state is copied with its chunk until they belong together. A thread that runs meanwhile changes
/// them all the time, so the last copy is taken as it is: what is no stack is found out later.
const COPIES: u32 = 4;
/// Most chunks that are read for a stack.
const MOST_CHUNKS: usize = 16;

/// What a frame executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RawFrame {
    /// The address of its code object.
    pub(super) code: u64,
    /// As [`Instruction`] says: an index, or an address.
    pub(super) instruction: i64,
}

/// Why a stack could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// An address is not mapped.
    Memory,
    /// Something that must be a code object is none.
    NotCode,
    /// A name, a path or a line table is none.
    NotText,
    /// Frames call themselves.
    Cycle,
    /// There are too many different stacks already.
    NoPlace,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "an address is not mapped",
            Self::NotCode => "a frame has no code object",
            Self::NotText => "a code object has no name",
            Self::Cycle => "frames call themselves",
            Self::NoPlace => "there are too many different stacks",
        })
    }
}

/// A stack.
#[derive(Debug, Default)]
pub(super) struct RawStack {
    /// The most recent frame first.
    pub(super) frames: Vec<RawFrame>,
    /// Whether it has more frames.
    pub(super) is_cut: bool,
}

/// Reads stacks. Keeps its memory from one to the next.
#[derive(Default)]
pub(super) struct FrameReader {
    /// A thread state.
    state: Vec<u8>,
    /// A chunk: where it begins, and its content.
    chunk: (u64, Vec<u8>),
    chunks: usize,
    visited: Vec<u64>,
}

impl FrameReader {
    /// The frames of a thread now; its state may have been read some time ago.
    pub(super) fn read(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        thread: &ThreadState,
        stack: &mut RawStack,
    ) -> Result<(), Unreadable> {
        stack.frames.clear();
        stack.is_cut = false;
        self.visited.clear();
        self.chunks = 1;
        let mut address = self.begin(memory, layout, thread)?;
        let mut own = [0; 128];
        let size = layout.frame.size.min(own.len());
        while address != 0 {
            if stack.frames.len() == MOST_FRAMES {
                stack.is_cut = true;
                break;
            }
            if self.visited.len() > 2 * MOST_FRAMES {
                return Err(Unreadable::Cycle);
            }
            self.visited.push(address);
            let is_new_chunk = self.in_chunk(address, size).is_none();
            if is_new_chunk && !self.read_chunk_before(memory, address) {
                // The frame of a generator is in its object. With Python 3.10 each frame is an object.
                if !memory.read(address, &mut own[..size]) {
                    return Err(Unreadable::Memory);
                }
            } else {
                let bytes = self.in_chunk(address, size).ok_or(Unreadable::Memory)?;
                own[..size].copy_from_slice(bytes);
            }
            stack.frames.extend(layout.frame.of(&own[..size]));
            address = word_at(&own, layout.frame.previous);
        }
        let count = self.visited.len();
        self.visited.sort_unstable();
        self.visited.dedup();
        match self.visited.len() == count {
            true => Ok(()),
            false => Err(Unreadable::Cycle),
        }
    }

    /// Copies the thread state and the last chunk; returns the address of the most recent frame.
    fn begin(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        thread: &ThreadState,
    ) -> Result<u64, Unreadable> {
        let mut thread = *thread;
        let mut copies = 1;
        loop {
            let (now, current) = self.copy(memory, layout, &thread)?;
            if now.ident != thread.ident {
                return Err(Unreadable::Memory);
            }
            if now.current == 0 {
                return Ok(0);
            }
            // What has the address of the most recent frame may be that of a call that has returned.
            let is_same = match layout.thread.current {
                CurrentFrame::Direct(_) => true,
                CurrentFrame::Indirect { .. } => now.current == thread.current,
            };
            if copies == COPIES || is_same && now.chunk.0 == thread.chunk.0 {
                return current.ok_or(Unreadable::Memory);
            }
            thread = now;
            copies += 1;
        }
    }

    /// Copies the thread state and, in the same call, the last chunk and the address of the most recent frame from where
    /// the state before says.
    fn copy(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        before: &ThreadState,
    ) -> Result<(ThreadState, Option<u64>), Unreadable> {
        let (start, end) = before.chunk;
        let length = end.wrapping_sub(start).min(MOST_CHUNK);
        self.chunk.0 = start;
        // At most 256 KiB.
        self.chunk.1.resize(length as usize, 0);
        self.state.resize(layout.thread.size, 0);
        let mut current = [0; 8];
        let place = match layout.thread.current {
            CurrentFrame::Direct(at) => before.address.wrapping_add(at as u64),
            CurrentFrame::Indirect { frame, .. } => before.current.wrapping_add(frame as u64),
        };
        let mut parts = [
            Part::new(before.address, &mut self.state),
            Part::new(place, &mut current),
            Part::new(start, &mut self.chunk.1),
        ];
        memory.read_parts(&mut parts);
        let [is_read, is_current_read, is_chunk_read] = parts.map(|part| part.is_read);
        if !is_chunk_read {
            // A thread without frames has no chunk.
            self.chunk.1.clear();
        }
        match is_read {
            true => Ok((
                layout.state(before.address, &self.state),
                is_current_read.then_some(u64::from_ne_bytes(current)),
            )),
            false => Err(Unreadable::Memory),
        }
    }

    /// The bytes of a frame, if it is in the chunk that was read.
    fn in_chunk(&self, address: u64, size: usize) -> Option<&[u8]> {
        let offset = usize::try_from(address.checked_sub(self.chunk.0)?).ok()?;
        self.chunk.1.get(offset..)?.get(..size)
    }

    /// Reads the chunk before the one that was read, if the frame is in it.
    fn read_chunk_before(&mut self, memory: &impl Memory, address: u64) -> bool {
        let before = word_at(&self.chunk.1, CHUNK_PREVIOUS);
        if self.chunk.1.len() < CHUNK_FRAMES || before == 0 || self.chunks == MOST_CHUNKS {
            return false;
        }
        let Some(size) = memory.word(before.wrapping_add(CHUNK_SIZE as u64)) else {
            return false;
        };
        let is_in = address
            .checked_sub(before)
            .is_some_and(|offset| offset < size);
        if !is_in || size > MOST_CHUNK {
            return false;
        }
        let mut bytes = std::mem::take(&mut self.chunk.1);
        bytes.resize(size as usize, 0);
        let is_read = memory.read(before, &mut bytes);
        if !is_read {
            bytes.clear();
        }
        self.chunk = (before, bytes);
        self.chunks += 1;
        is_read
    }
}

impl FrameLayout {
    /// The frame in these bytes; `None` if C code has put it there.
    fn of(&self, bytes: &[u8]) -> Option<RawFrame> {
        let owner = self.owner.and_then(|offset| bytes.get(offset));
        if owner.is_some_and(|owner| *owner >= self.first_other_owner) {
            return None;
        }
        Some(RawFrame {
            // Python 3.14 has marks in the lowest bits; objects are at multiples of 8.
            code: word_at(bytes, self.code) & !7,
            instruction: match self.instruction {
                Instruction::Index(offset) => int_at(bytes, offset).into(),
                Instruction::Address(offset) => word_at(bytes, offset).cast_signed(),
            },
        })
    }
}
