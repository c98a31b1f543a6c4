//! A process that is made for a test: memory with threads, frames and code objects as a version of CPython has them.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lockgate_profile::Activity;

use crate::profiling::layout::{
    BYTES, CHUNK_FRAMES, CLASS, CurrentFrame, Instruction, LENGTH, Layout, TEXT_STATE,
};
use crate::profiling::memory::{Memory, Part, Presence, Threads};
use crate::profiling::sampler::Target;

/// The address of `_PyRuntime`, of the interpreter, and of the class of code objects.
const RUNTIME: u64 = 0x1000_0000;
const INTERPRETER: u64 = 0x2000_0000;
const CODE_CLASS: u64 = 0x3000_0000;
/// Where a control block has the TID.
const TID_OFFSET: u64 = 720;

/// See the module. Objects are [`FakeProcess::STEP`] bytes apart, so nothing is mapped behind them.
#[derive(Default)]
pub(super) struct FakeProcess {
    memory: RefCell<BTreeMap<u64, Vec<u8>>>,
    reads: RefCell<u64>,
}

/// A function: its name, file, first line and line table.
type Function<'a> = (&'a str, &'a str, i32, &'a [u8]);

impl FakeProcess {
    const STEP: u64 = 0x1_0000;

    /// A process of this version without threads.
    pub(super) fn new(layout: &Layout) -> Self {
        let process = Self::default();
        process.put(RUNTIME, layout.interpreters + 8);
        let size = layout.threads.max(layout.next_interpreter) + 8;
        process.put(INTERPRETER, size);
        process.put_word(RUNTIME + layout.interpreters as u64, INTERPRETER);
        process
    }

    pub(super) fn target(layout: Layout) -> Target {
        Target {
            layout,
            runtime: RUNTIME,
            code_class: CODE_CLASS,
            tid_offset: TID_OFFSET,
        }
    }

    /// How often memory was read.
    pub(super) fn reads(&self) -> u64 {
        *self.reads.borrow()
    }

    fn put(&self, address: u64, size: usize) {
        self.memory.borrow_mut().insert(address, vec![0; size]);
    }

    pub(super) fn put_word(&self, address: u64, value: u64) {
        self.put_bytes(address, &value.to_ne_bytes());
    }

    pub(super) fn put_bytes(&self, address: u64, bytes: &[u8]) {
        let mut memory = self.memory.borrow_mut();
        let (start, region) = memory.range_mut(..=address).next_back().unwrap();
        let offset = (address - start) as usize;
        region[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn unmap(&self, address: u64) {
        self.memory.borrow_mut().remove(&address);
    }

    /// A `str` at this address, as wide as its widest character needs.
    pub(super) fn put_text(&self, layout: &Layout, address: u64, text: &str) {
        let widest = text.chars().map(u32::from).max().unwrap_or(0);
        let width = match widest {
            0..0x100 => 1,
            0x100..0x1_0000 => 2,
            _ => 4,
        };
        let is_ascii = widest < 128;
        let start = match is_ascii {
            true => layout.text.ascii,
            false => layout.text.other,
        };
        let units: Vec<u8> = text
            .chars()
            .flat_map(|character| u32::from(character).to_ne_bytes()[..width].to_vec())
            .collect();
        self.put(address, start + units.len());
        self.put_word(address + LENGTH as u64, text.chars().count() as u64);
        let state = (width as u64) << 2 | 1 << 5 | u64::from(is_ascii) << 6;
        self.put_bytes(address + TEXT_STATE as u64, &state.to_ne_bytes()[..4]);
        self.put_bytes(address + start as u64, &units);
    }

    /// A code object at this address.
    pub(super) fn put_code(&self, layout: &Layout, address: u64, function: Function<'_>) {
        let (name, file, first_line, table) = function;
        let code = &layout.code;
        let (name_at, file_at, table_at) = (address + 0x1000, address + 0x4000, address + 0x8000);
        self.put_text(layout, name_at, name);
        self.put_text(layout, file_at, file);
        self.put(table_at, BYTES + table.len());
        self.put_word(table_at + LENGTH as u64, table.len() as u64);
        self.put_bytes(table_at + BYTES as u64, table);
        self.put(address, code.size);
        self.put_word(address, 1);
        self.put_word(address + CLASS as u64, CODE_CLASS);
        self.put_word(address + code.name as u64, name_at);
        self.put_word(address + code.file as u64, file_at);
        self.put_word(address + code.line_table as u64, table_at);
        self.put_bytes(address + code.first_line as u64, &first_line.to_ne_bytes());
    }

    /// Threads with these TIDs and stacks: the code and the instruction of each frame, the most recent first.
    pub(super) fn put_threads(&self, layout: &Layout, threads: &[(u32, &[(u64, i64)])]) {
        let address = |index: usize| 0x4000_0000 + index as u64 * 0x100_0000;
        let first = if threads.is_empty() { 0 } else { address(0) };
        self.put_word(INTERPRETER + layout.threads as u64, first);
        for (index, (tid, stack)) in threads.iter().enumerate() {
            let (at, block) = (address(index), address(index) + Self::STEP);
            let next = match index + 1 == threads.len() {
                true => 0,
                false => address(index + 1),
            };
            self.put(at, layout.thread.size);
            self.put_word(at + layout.thread.next as u64, next);
            self.put_word(at + layout.thread.ident as u64, block);
            self.put(block, TID_OFFSET as usize + 4);
            self.put_bytes(block + TID_OFFSET, &tid.to_ne_bytes());
            self.put_stack(layout, at, stack);
        }
    }

    /// This number of younger interpreters, without threads.
    pub(super) fn put_interpreters(&self, layout: &Layout, count: u64) {
        let mut first = INTERPRETER;
        for number in 1..=count {
            let address = INTERPRETER + number * Self::STEP;
            self.put(address, layout.threads.max(layout.next_interpreter) + 8);
            self.put_word(address + layout.next_interpreter as u64, first);
            first = address;
        }
        self.put_word(RUNTIME + layout.interpreters as u64, first);
    }

    fn put_stack(&self, layout: &Layout, thread: u64, stack: &[(u64, i64)]) {
        let size = layout.frame.size;
        let start = thread + 4 * Self::STEP;
        let frames = start + CHUNK_FRAMES as u64;
        self.put(start, CHUNK_FRAMES + stack.len() * size);
        let address = |index: usize| frames + (index * size) as u64;
        for (index, (code, instruction)) in stack.iter().enumerate() {
            let previous = match index + 1 == stack.len() {
                true => 0,
                false => address(index + 1),
            };
            self.put_word(address(index) + layout.frame.previous as u64, previous);
            self.put_word(address(index) + layout.frame.code as u64, *code);
            let (offset, bytes) = match layout.frame.instruction {
                Instruction::Index(offset) => {
                    (offset, (*instruction as i32).to_ne_bytes().to_vec())
                }
                Instruction::Address(offset) => {
                    let start = *code + layout.code.size as u64;
                    let at = start.wrapping_add_signed(*instruction * 2);
                    (offset, at.to_ne_bytes().to_vec())
                }
            };
            self.put_bytes(address(index) + offset as u64, &bytes);
        }
        let current = if stack.is_empty() { 0 } else { address(0) };
        match layout.thread.current {
            CurrentFrame::Direct(at) => self.put_word(thread + at as u64, current),
            CurrentFrame::Indirect { at, frame } => {
                let control = thread + 2 * Self::STEP;
                self.put(control, 24);
                self.put_word(control + frame as u64, current);
                self.put_word(thread + at as u64, control);
            }
        }
        if let Some(chunk) = layout.thread.chunk {
            self.put_word(thread + chunk as u64, start);
            self.put_word(thread + chunk as u64 + 8, address(stack.len()));
        }
    }

    /// The address of a frame of the first thread.
    pub(super) fn frame(layout: &Layout, index: usize) -> u64 {
        let chunk = 0x4000_0000 + 4 * Self::STEP;
        chunk + (CHUNK_FRAMES + index * layout.frame.size) as u64
    }
}

impl Memory for &FakeProcess {
    fn read_parts(&self, parts: &mut [Part<'_>]) {
        *self.reads.borrow_mut() += 1;
        let memory = self.memory.borrow();
        for part in parts {
            let region = memory.range(..=part.address).next_back();
            let bytes = region.and_then(|(start, region)| {
                let offset = (part.address - start) as usize;
                region.get(offset..)?.get(..part.bytes.len())
            });
            if let Some(bytes) = bytes {
                part.bytes.copy_from_slice(bytes);
                part.is_read = true;
            }
        }
    }
}

/// Threads with the CPU time and the activity that a test gives them.
#[derive(Default)]
pub(super) struct FakeThreads {
    pub(super) threads: RefCell<HashMap<u64, (Duration, Activity)>>,
}

impl Threads for &FakeThreads {
    fn cpu_time(&self, tid: u64) -> Option<Duration> {
        Some(self.threads.borrow().get(&tid)?.0)
    }

    fn activity(&mut self, tid: u64, presence: Presence) -> Activity {
        let threads = self.threads.borrow();
        match threads.get(&tid) {
            // As where the kernel hides the arguments of system calls.
            Some((_, Activity::Waiting)) if presence == Presence::Back => Activity::Gil,
            Some((_, Activity::Waiting)) if presence == Presence::Unmoved => Activity::Lock,
            Some((_, activity)) => activity.clone(),
            None => Activity::Waiting,
        }
    }
    fn end(&mut self) {}
}
