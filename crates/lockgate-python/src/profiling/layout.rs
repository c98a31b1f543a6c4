//! Where CPython keeps what a stack consists of, for each version.
//!
//! Python 3.13 and later publish them (`debug_offsets`). The others are those of the headers of CPython on 64-bit systems (Include/internal/pycore_*.h, cpython/code.h,
//! frameobject.h), as a C program with `Py_BUILD_CORE` prints them. They have never changed within a minor version; the
//! self-check would notice.

pub(super) mod debug_offsets;

use std::fmt;

use debug_offsets::WORDS;

/// See the module. Offsets are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// The size of `_PyRuntime`, which has the GIL in it.
    pub(super) runtime_size: u64,
    /// In `_PyRuntime`: the first interpreter.
    pub(super) interpreters: usize,
    /// In an interpreter: the next one.
    pub(super) next_interpreter: usize,
    /// In an interpreter: its first thread state.
    pub(super) threads: usize,
    pub(super) thread: ThreadLayout,
    pub(super) frame: FrameLayout,
    pub(super) code: CodeLayout,
    pub(super) text: TextLayout,
}

/// In a thread state (`PyThreadState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThreadLayout {
    /// How much of it is read.
    pub(super) size: usize,
    pub(super) next: usize,
    /// What pthread_self(3) returns.
    pub(super) ident: usize,
    pub(super) current: CurrentFrame,
    /// The chunk of memory that the most recent frames are in; the next word is the end of these frames.
    pub(super) chunk: Option<usize>,
}

/// Where the most recent frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CurrentFrame {
    /// Here in the thread state.
    Direct(usize),
    /// Here in the thread state is the address of a `_PyCFrame`, on the stack of C, which has it at `frame`.
    Indirect { at: usize, frame: usize },
}

/// In a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameLayout {
    /// How much of it is read.
    pub(super) size: usize,
    pub(super) previous: usize,
    pub(super) code: usize,
    pub(super) instruction: Instruction,
    /// A byte: whose memory the frame is.
    pub(super) owner: Option<usize>,
    /// From this owner on it is no frame of Python code.
    pub(super) first_other_owner: u8,
}

/// Which instruction a frame executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instruction {
    /// A C `int`: the index of the instruction, in units of two bytes.
    Index(usize),
    /// The address of the instruction.
    Address(usize),
}

/// In a code object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CodeLayout {
    /// Before its instructions, and how much of it is read.
    pub(super) size: usize,
    pub(super) file: usize,
    /// Its qualified name, or its name.
    pub(super) name: usize,
    pub(super) first_line: usize,
    pub(super) line_table: usize,
    /// A number that no other code object has.
    pub(super) version: Option<usize>,
    pub(super) lines: LineFormat,
}

/// The format of line tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineFormat {
    /// PEP 626 (Objects/lnotab_notes.txt of CPython 3.10).
    Deltas,
    /// PEP 657 (Objects/locations.md of CPython 3.11).
    Locations,
}

/// In a `str`: where the characters begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextLayout {
    /// Of ASCII.
    pub(super) ascii: usize,
    /// Of others.
    pub(super) other: usize,
}

/// The length of an object that has one, `bytes` and `str`.
pub(super) const LENGTH: usize = 16;
/// The class of an object.
pub(super) const CLASS: usize = 8;
/// The content of `bytes`.
pub(super) const BYTES: usize = 32;
/// In a `str`: a word of bits. From the third on, three are the bytes of a character, the next says that the
/// characters follow, and the next that they are ASCII.
pub(super) const TEXT_STATE: usize = 32;

/// In a chunk: the chunk before it, its size in bytes, and, if it is not the last one, how much of it is used; then the
/// frames.
pub(super) const CHUNK_PREVIOUS: usize = 0;
pub(super) const CHUNK_SIZE: usize = 8;
pub(super) const CHUNK_FRAMES: usize = 24;

/// Why there is no layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unsupported {
    /// The version is older or newer than those known.
    Version(u8, u8),
    /// Its build differs: the free-threaded one, or one with debugging.
    Build(&'static str),
    /// It does not publish its layout as its version does.
    NoOffsets,
    /// A system of 32 bits.
    WordSize,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(major, minor) => {
                write!(f, "stacks of Python {major}.{minor} cannot be sampled yet")
            }
            Self::Build(kind) => write!(f, "stacks of a {kind} build of Python cannot be sampled"),
            Self::NoOffsets => f.write_str("this Python does not publish its layout"),
            Self::WordSize => f.write_str("stacks can be sampled on 64-bit systems only"),
        }
    }
}

impl Layout {
    /// The layout of a version, such as 3, 11.
    /// `published` are the first words of `_PyRuntime`.
    pub(super) fn of(version: (u8, u8), published: &[u64; WORDS]) -> Result<Self, Unsupported> {
        if size_of::<usize>() != 8 {
            return Err(Unsupported::WordSize);
        }
        match version {
            (3, 10) => Ok(PYTHON_3_10),
            (3, 11) => Ok(PYTHON_3_11),
            (3, 12) => Ok(PYTHON_3_12),
            (3, minor @ 13..) => debug_offsets::layout(minor, published),
            (major, minor) => Err(Unsupported::Version(major, minor)),
        }
    }
}

const PYTHON_3_10: Layout = Layout {
    runtime_size: 672,
    interpreters: 32,
    next_interpreter: 0,
    threads: 8,
    thread: ThreadLayout {
        size: 184,
        next: 8,
        ident: 176,
        current: CurrentFrame::Direct(24),
        chunk: None,
    },
    frame: FrameLayout {
        size: 112,
        previous: 24,
        code: 32,
        instruction: Instruction::Index(96),
        owner: None,
        first_other_owner: u8::MAX,
    },
    code: CodeLayout {
        size: 128,
        file: 104,
        name: 112,
        first_line: 40,
        line_table: 120,
        version: None,
        lines: LineFormat::Deltas,
    },
    text: TextLayout {
        ascii: 48,
        other: 72,
    },
};

const PYTHON_3_11: Layout = Layout {
    runtime_size: 166688,
    interpreters: 40,
    next_interpreter: 0,
    threads: 16,
    thread: ThreadLayout {
        size: 312,
        next: 8,
        ident: 152,
        current: CurrentFrame::Indirect { at: 56, frame: 8 },
        chunk: Some(296),
    },
    frame: FrameLayout {
        size: 72,
        previous: 48,
        code: 32,
        instruction: Instruction::Address(56),
        owner: Some(69),
        first_other_owner: 3,
    },
    code: CodeLayout {
        size: 184,
        file: 112,
        name: 128,
        first_line: 72,
        line_table: 136,
        version: None,
        lines: LineFormat::Locations,
    },
    text: TextLayout {
        ascii: 48,
        other: 72,
    },
};

const PYTHON_3_12: Layout = Layout {
    runtime_size: 459944,
    interpreters: 40,
    next_interpreter: 0,
    threads: 72,
    thread: ThreadLayout {
        size: 248,
        next: 8,
        ident: 136,
        current: CurrentFrame::Indirect { at: 56, frame: 0 },
        chunk: Some(232),
    },
    frame: FrameLayout {
        size: 72,
        previous: 8,
        code: 0,
        instruction: Instruction::Address(56),
        owner: Some(70),
        first_other_owner: 3,
    },
    code: CodeLayout {
        size: 192,
        file: 112,
        name: 128,
        first_line: 68,
        line_table: 136,
        version: Some(92),
        lines: LineFormat::Locations,
    },
    text: TextLayout {
        ascii: 40,
        other: 56,
    },
};

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What CPython 3.13.0 publishes.
    const PUBLISHED_3_13: [u64; WORDS] = [
        8750607829840520312,
        51183856,
        0,
        283320,
        608,
        632,
        194968,
        7272,
        7264,
        7344,
        7400,
        7656,
        7640,
        7648,
        16,
        7752,
        0,
        7768,
        7760,
        304,
        0,
        8,
        16,
        72,
        152,
        160,
        232,
        32,
        80,
        8,
        0,
        56,
        72,
        70,
        208,
        112,
        120,
        128,
        136,
        68,
        52,
        96,
        104,
        200,
        16,
        8,
        416,
        24,
        88,
        168,
        32,
        24,
        16,
        40,
        24,
        16,
        48,
        32,
        40,
        24,
        0,
        0,
        0,
        0,
    ];

    /// What CPython 3.14.10 publishes after the first word.
    const PUBLISHED_3_14: [u64; WORDS - 1] = [
        51251952, 0, 316616, 784, 808, 225864, 7280, 7272, 7344, 7360, 7408, 7688, 7672, 7680, 16,
        7784, 0, 7800, 7792, 7992, 0, 832, 0, 8, 16, 72, 152, 160, 232, 32, 88, 8, 0, 56, 80, 74,
        64, 0, 216, 112, 120, 128, 136, 68, 52, 96, 104, 208, 0, 16, 8, 416, 24, 88, 168, 40, 32,
        16, 40, 24, 16, 200, 24,
    ];

    /// What CPython 3.15.2 publishes after the first word.
    const PUBLISHED_3_15: [u64; WORDS - 1] = [
        51315440, 0, 346568, 912, 936, 226240, 7272, 7264, 7336, 7352, 7400, 7592, 7576, 7584, 16,
        7736, 0, 7752, 7744, 7944, 0, 888, 0, 8, 16, 72, 80, 88, 96, 176, 184, 256, 32, 36, 40,
        136, 288, 0, 88, 8, 0, 56, 80, 74, 64, 0, 216, 112, 120, 128, 136, 68, 52, 96, 104, 208, 0,
        16, 8, 424, 24, 88, 168,
    ];

    /// What this version of CPython has at the beginning of `_PyRuntime`; before 3.13 that is not read.
    pub(crate) fn published(minor: u8) -> [u64; WORDS] {
        let rest = match minor {
            14 => PUBLISHED_3_14,
            15 => PUBLISHED_3_15,
            _ => return PUBLISHED_3_13,
        };
        std::array::from_fn(|index| match index {
            0 => PUBLISHED_3_13[0],
            _ => rest[index - 1],
        })
    }

    /// The expected values are those that a C program with `Py_BUILD_CORE` prints.
    #[test]
    fn the_layout_that_python_publishes_is_that_of_its_headers() {
        let python_3_13 = Layout {
            runtime_size: 283_320,
            interpreters: 632,
            next_interpreter: 7264,
            threads: 7344,
            thread: ThreadLayout {
                size: 248,
                next: 8,
                ident: 152,
                current: CurrentFrame::Direct(72),
                chunk: Some(232),
            },
            code: CodeLayout {
                size: 200,
                ..PYTHON_3_12.code
            },
            ..PYTHON_3_12
        };
        let python_3_14 = Layout {
            runtime_size: 316_616,
            interpreters: 808,
            next_interpreter: 7272,
            threads: 7344,
            frame: FrameLayout {
                size: 80,
                owner: Some(74),
                ..PYTHON_3_12.frame
            },
            code: CodeLayout {
                size: 208,
                ..PYTHON_3_12.code
            },
            ..python_3_13
        };
        let python_3_15 = Layout {
            runtime_size: 346_568,
            interpreters: 936,
            next_interpreter: 7264,
            threads: 7336,
            thread: ThreadLayout {
                size: 272,
                ident: 176,
                chunk: Some(256),
                ..python_3_13.thread
            },
            ..python_3_14
        };
        for (minor, expected) in [(13, python_3_13), (14, python_3_14), (15, python_3_15)] {
            let layout = Layout::of((3, minor), &published(minor));
            assert_eq!(layout, Ok(expected));
        }
    }

    #[test]
    fn what_is_no_layout_is_refused() {
        let changed = |index: usize, value| {
            let mut words = PUBLISHED_3_13;
            words[index] = value;
            Layout::of((3, 13), &words).unwrap_err()
        };
        assert_eq!(changed(0, 7), Unsupported::NoOffsets);
        assert_eq!(changed(1, 0x030e_0000), Unsupported::NoOffsets);
        assert_eq!(changed(2, 1), Unsupported::Build("free-threaded"));
        assert_eq!(changed(26, u64::MAX), Unsupported::NoOffsets);
        for version in [(3, 9), (3, 16), (4, 0)] {
            let refused = Layout::of(version, &PUBLISHED_3_13).unwrap_err();
            assert_eq!(refused, Unsupported::Version(version.0, version.1));
        }
    }
}
