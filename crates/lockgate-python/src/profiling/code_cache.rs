//! The names and lines of code objects, by their address.
//!
//! Code objects are freed, and others take their place. So each is looked at again whenever it is in a stack: its
//! header in one call for all of them, and its texts as well where headers alone do not tell code objects apart.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::frames::{RawFrame, Unreadable};
use super::layout::{CLASS, CodeLayout, Instruction, LENGTH, Layout};
use super::line_table;
use super::memory::{Memory, Part, int_at, word_at};
use super::text;

/// Most code objects that are kept: some 20 MiB. Threads are seen in a few thousand.
pub(super) const MOST_CODES: usize = 20_000;
/// How often the texts of code that is not from a file are compared; others are in one of this number of stacks.
const COMPARED_EVERY: u32 = 64;

/// What a code object is called.
#[derive(Debug)]
pub(super) struct Code {
    /// A number that no other has had.
    pub(super) number: u32,
    pub(super) function: String,
    pub(super) file: String,
    identity: Identity,
    first_line: i32,
    line_table: Vec<u8>,
    uses: u32,
}

/// What differs when another code object has the place. Without a version that is nearly always so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    length: u64,
    file: u64,
    name: u64,
    line_table: u64,
    first_line: i32,
    version: u32,
}

/// See the module.
pub(super) struct CodeCache {
    layout: Layout,
    /// The address of the class of code objects.
    class: u64,
    codes: HashMap<u64, Code>,
    made: u32,
    bytes: Vec<u8>,
}

impl CodeCache {
    pub(super) fn new(layout: Layout, class: u64) -> Self {
        Self {
            layout,
            class,
            codes: HashMap::new(),
            made: 0,
            bytes: Vec::new(),
        }
    }

    /// Reads what is not known yet of the code of these frames.
    pub(super) fn learn(
        &mut self,
        memory: &impl Memory,
        frames: &[RawFrame],
    ) -> Result<(), Unreadable> {
        let mut addresses: Vec<u64> = frames.iter().map(|frame| frame.code).collect();
        addresses.sort_unstable();
        addresses.dedup();
        // Before the loop: a stack must not lose what was just read of it.
        let is_full = self.codes.len() + addresses.len() > MOST_CODES;
        if is_full && addresses.iter().any(|one| !self.codes.contains_key(one)) {
            self.codes.clear();
        }
        let size = self.layout.code.size;
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(addresses.len() * size, 0);
        let mut parts: Vec<Part<'_>> = (addresses.iter().zip(bytes.chunks_exact_mut(size)))
            .map(|(address, bytes)| Part::new(*address, bytes))
            .collect();
        memory.read_parts(&mut parts);
        let is_read = parts.iter().all(|part| part.is_read);
        let learned = match is_read {
            true => (addresses.iter().zip(bytes.chunks_exact(size)))
                .try_for_each(|(address, header)| self.learn_one(memory, *address, header)),
            false => Err(Unreadable::Memory),
        };
        self.bytes = bytes;
        learned
    }

    fn learn_one(
        &mut self,
        memory: &impl Memory,
        address: u64,
        header: &[u8],
    ) -> Result<(), Unreadable> {
        if word_at(header, CLASS) != self.class {
            return Err(Unreadable::NotCode);
        }
        let identity = self.layout.code.identity(header);
        let entry = match self.codes.entry(address) {
            Entry::Occupied(mut known) => {
                let code = known.get_mut();
                code.uses = code.uses.wrapping_add(1);
                let is_same = code.identity == identity
                    && (!code.is_compared() || code.has_same_texts(memory, &self.layout));
                if is_same {
                    return Ok(());
                }
                Entry::Occupied(known)
            }
            vacant @ Entry::Vacant(_) => vacant,
        };
        let text = |address| text::text(memory, self.layout.text, address);
        let code = Code {
            number: self.made,
            function: text(identity.name).ok_or(Unreadable::NotText)?,
            file: text(identity.file).ok_or(Unreadable::NotText)?,
            line_table: text::table(memory, identity.line_table).ok_or(Unreadable::NotText)?,
            first_line: identity.first_line,
            identity,
            uses: 0,
        };
        // When its memory was freed meanwhile, that of its texts may have had another content already.
        let mut again = vec![0; header.len()];
        let is_alive = memory.read(address, &mut again)
            && self.layout.code.identity(&again) == identity
            && has_references(&again);
        if !is_alive {
            return Err(Unreadable::NotCode);
        }
        self.made = self.made.wrapping_add(1);
        entry.insert_entry(code);
        Ok(())
    }

    /// The code of a frame, and which of its instructions the frame executes, if [`CodeCache::learn`] has read it.
    pub(super) fn of(&self, frame: &RawFrame) -> Option<(&Code, i64)> {
        let code = self.codes.get(&frame.code)?;
        let unit = match self.layout.frame.instruction {
            Instruction::Index(_) => frame.instruction,
            Instruction::Address(_) => {
                let start = frame.code.wrapping_add(self.layout.code.size as u64);
                frame.instruction.wrapping_sub(start.cast_signed()) >> 1
            }
        };
        Some((code, unit))
    }

    /// The line of an instruction; 0 if it has none.
    pub(super) fn line(&self, code: &Code, unit: i64) -> u32 {
        let format = self.layout.code.lines;
        // No code has more instructions than that.
        let unit = unit.clamp(-1, i64::from(u32::MAX));
        line_table::line(format, &code.line_table, code.first_line, unit)
    }

    /// Frees the memory.
    pub(super) fn clear(&mut self) {
        self.codes = HashMap::new();
        self.bytes = Vec::new();
    }
}

impl Code {
    /// Whether code like this is made and freed again and again: that of templates, of `exec` and the like.
    pub(super) fn is_short_lived(&self) -> bool {
        self.file.starts_with('<')
    }

    /// Whether its texts are to be compared now.
    fn is_compared(&self) -> bool {
        self.identity.version == 0
            && (self.is_short_lived() || self.uses.is_multiple_of(COMPARED_EVERY))
    }

    fn has_same_texts(&self, memory: &impl Memory, layout: &Layout) -> bool {
        let text = |address| text::text(memory, layout.text, address);
        text(self.identity.name).as_deref() == Some(&self.function)
            && text(self.identity.file).as_deref() == Some(&self.file)
            && text::table(memory, self.identity.line_table).as_deref() == Some(&self.line_table)
    }
}

/// Whether the memory of an object still is one: it begins with the count of its references, and with an address or
/// zero when it is free. Counts have 32 bits (from Python 3.14 on as their type, before that in fact), addresses more.
fn has_references(object: &[u8]) -> bool {
    let word = word_at(object, 0);
    // The highest 16 bits are flags of Python 3.14 and later.
    word & 0xffff_ffff != 0 && (word >> 32) & 0xffff == 0
}

impl CodeLayout {
    fn identity(&self, header: &[u8]) -> Identity {
        Identity {
            length: word_at(header, LENGTH),
            file: word_at(header, self.file),
            name: word_at(header, self.name),
            line_table: word_at(header, self.line_table),
            first_line: int_at(header, self.first_line),
            version: (self.version).map_or(0, |offset| int_at(header, offset).cast_unsigned()),
        }
    }
}
