//! The layout that CPython 3.13 and later publish themselves, at the beginning of `_PyRuntime`, for debuggers.
//!
//! Words in the order of `_Py_DebugOffsets` (Include/internal/pycore_debug_offsets.h, in 3.13 pycore_runtime.h). New
//! words are inserted with each version.

use super::{
    CodeLayout, CurrentFrame, FrameLayout, Instruction, Layout, LineFormat, TextLayout,
    ThreadLayout, Unsupported,
};

/// How many words are read.
pub(crate) const WORDS: usize = 64;

/// The first word.
const COOKIE: u64 = u64::from_le_bytes(*b"xdebugpy");
/// The second word is the version, as `PY_VERSION_HEX`.
const VERSION: usize = 1;
const FREE_THREADED: usize = 2;
const RUNTIME_SIZE: usize = 3;
const INTERPRETERS: usize = 5;
const NEXT_INTERPRETER: usize = 8;
const THREADS: usize = 9;

/// More than any offset into a thread state, a frame or a code object.
const MOST: u64 = 4096;

/// In code objects, the distance from the number of the first line to a number that no other code object has. It is not
/// published; in the headers of CPython (cpython/code.h) it is the same from 3.12 to 3.15.
const VERSION_AFTER_LINE: usize = 24;

/// Where the words of an object begin, and those that each version has elsewhere in it.
struct Places {
    thread: usize,
    /// In a thread state: the word of what pthread_self(3) returns, and that of the chunk.
    ident: usize,
    chunk: usize,
    frame: usize,
    code: usize,
}

pub(super) fn layout(minor: u8, words: &[u64; WORDS]) -> Result<Layout, Unsupported> {
    let places = match minor {
        13 => Places {
            thread: 19,
            ident: 5,
            chunk: 7,
            frame: 28,
            code: 34,
        },
        14 => Places {
            thread: 22,
            ident: 5,
            chunk: 7,
            frame: 31,
            code: 39,
        },
        15 => Places {
            thread: 22,
            ident: 8,
            chunk: 10,
            frame: 39,
            code: 47,
        },
        _ => return Err(Unsupported::Version(3, minor)),
    };
    if words[0] != COOKIE || words[VERSION] >> 16 != 0x300 | u64::from(minor) {
        return Err(Unsupported::NoOffsets);
    }
    if words[FREE_THREADED] != 0 {
        return Err(Unsupported::Build("free-threaded"));
    }
    let object = |start: usize, index: usize| {
        let offset = words.get(start + index).filter(|offset| **offset < MOST);
        offset
            .map(|offset| *offset as usize)
            .ok_or(Unsupported::NoOffsets)
    };
    let thread = |index| object(places.thread, index);
    let frame = |index| object(places.frame, index);
    let code = |index| object(places.code, index);
    let chunk = thread(places.chunk)?;
    let first_line = code(5)?;
    Ok(Layout {
        runtime_size: words[RUNTIME_SIZE],
        // Offsets into memory that is only read where it is mapped.
        interpreters: words[INTERPRETERS] as usize,
        next_interpreter: words[NEXT_INTERPRETER] as usize,
        threads: words[THREADS] as usize,
        thread: ThreadLayout {
            // With the word that follows: the end of the frames.
            size: chunk + 16,
            next: thread(2)?,
            ident: thread(places.ident)?,
            current: CurrentFrame::Direct(thread(4)?),
            chunk: Some(chunk),
        },
        frame: FrameLayout {
            size: frame(4)?,
            previous: frame(1)?,
            code: frame(2)?,
            instruction: Instruction::Address(frame(3)?),
            owner: Some(frame(5)?),
            first_other_owner: 3,
        },
        code: CodeLayout {
            size: code(9)?,
            file: code(1)?,
            name: code(3)?,
            first_line,
            line_table: code(4)?,
            version: Some(first_line + VERSION_AFTER_LINE),
            lines: LineFormat::Locations,
        },
        text: TextLayout {
            ascii: 40,
            other: 56,
        },
    })
}
