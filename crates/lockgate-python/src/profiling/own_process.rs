//! What the sampler has to know of the running Python, and the check that it reads what Python says.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use lockgate_profile::MOST_FRAMES;
use lockgate_worker::os::thread_id;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use super::code_cache::CodeCache;
use super::frames::{FrameReader, RawStack};
use super::layout::debug_offsets::WORDS;
use super::layout::{Layout, Unsupported};
use super::memory::{Memory, OwnMemory, word_at};
use super::sampler::Target;
use super::text::shortened;
use super::threads::{MOST_THREADS, ThreadList};
use crate::ffi::own_memory;

/// Why threads cannot be sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As long as the process lives.
    Never(String),
    /// Until its threads are fewer, or change less: the next request checks again.
    NotNow(String),
}

impl Refusal {
    fn changing_threads() -> Self {
        let text = "its Python threads start and end faster than they can be read: try again";
        Self::NotNow(text.to_owned())
    }

    fn too_many_threads() -> Self {
        Self::NotNow(format!(
            "it has more than {MOST_THREADS} Python threads, and the thread that checks what is read was not among the first ones: try again"
        ))
    }

    /// What was refused and may work now, made again with `make`.
    pub(super) fn retry<T>(
        made: &mut Result<T, Self>,
        make: impl FnOnce() -> Result<T, Self>,
    ) -> Result<&mut T, String> {
        if let Err(Self::NotNow(_)) = made {
            *made = make();
        }
        made.as_mut().map_err(|refusal| match refusal {
            Self::Never(why) | Self::NotNow(why) => why.clone(),
        })
    }
}

/// How much of a control block is searched for the TID: glibc has it in the first KiB, musl in the first 100 bytes.
const CONTROL_BLOCK: usize = 2048;

/// How often `PROGRAM` calls `probe`.
const PROBES: usize = 4;

/// Function, file and line: the most recent first.
type Frames = Vec<(String, String, u32)>;

/// What the sampler of this process reads, or why it must not: then stacks would be wrong.
pub(super) fn target(py: Python<'_>) -> Result<(OwnMemory, Target), Refusal> {
    let (memory, target) = found(py).map_err(Refusal::Never)?;
    check(py, memory, target)?;
    Ok((memory, target))
}

/// What is to be checked.
fn found(py: Python<'_>) -> Result<(OwnMemory, Target), String> {
    let version = py.version_info();
    let python = |error: PyErr| format!("Python says: {error}");
    if let Some(kind) = build(py).map_err(python)? {
        return Err(Unsupported::Build(kind).to_string());
    }
    let memory = OwnMemory::open().map_err(|error| {
        format!("the system does not let a process read its memory by process_vm_readv: {error}")
    })?;
    let runtime =
        own_memory::symbol(c"_PyRuntime").ok_or("this Python has no symbol _PyRuntime")?;
    let published = words(memory, runtime);
    let layout = Layout::of((version.major, version.minor), &published);
    let layout = layout.map_err(|error| error.to_string())?;
    let tid_offset = tid_offset(memory).ok_or("the C library has no TID in its threads")?;
    let code_class = py
        .eval(c"type((lambda: 0).__code__)", None, None)
        .map_err(python)?;
    let target = Target {
        layout,
        runtime,
        code_class: code_class.as_ptr().addr() as u64,
        tid_offset,
    };
    Ok((memory, target))
}

/// The first words of `_PyRuntime`.
fn words(memory: OwnMemory, runtime: u64) -> [u64; WORDS] {
    let mut bytes = [0; 8 * WORDS];
    // What is not read is no layout.
    let _is_read = memory.read(runtime, &mut bytes);
    std::array::from_fn(|index| word_at(&bytes, 8 * index))
}

/// What differs in this build, if anything.
fn build(py: Python<'_>) -> PyResult<Option<&'static str>> {
    let flags: String = py.import("sys")?.getattr("abiflags")?.extract()?;
    Ok(match flags {
        flags if flags.contains('t') => Some("free-threaded"),
        flags if flags.contains('d') => Some("debugging"),
        _ => None,
    })
}

/// Where a control block has the TID: at the same place in two threads.
fn tid_offset(memory: OwnMemory) -> Option<u64> {
    let (sender, receiver) = channel();
    let search = move || {
        let tid = thread_id();
        let block = own_memory::thread_ident();
        let mut found = Vec::new();
        for offset in (0..CONTROL_BLOCK).step_by(4) {
            let mut bytes = [0; 4];
            if memory.read(block + offset as u64, &mut bytes) && u32::from_ne_bytes(bytes) == tid {
                found.push(offset as u64);
            }
        }
        found
    };
    let here = search();
    let other = thread::Builder::new().spawn(move || sender.send(search()));
    other.ok()?.join().ok()?.ok()?;
    let there = receiver.recv().ok()?;
    here.into_iter().find(|offset| there.contains(offset))
}

/// A stack of all kinds of frames, with names and paths of all widths. `probe` is called at its end, and `walk` says
/// what Python itself sees.
const PROGRAM: &std::ffi::CStr = c"
import sys

def walk():
    frame = sys._getframe(1)
    frames = []
    while frame is not None:
        code = frame.f_code
        name = getattr(code, 'co_qualname', code.co_name)
        frames.append((name, code.co_filename, frame.f_lineno or 0))
        frame = frame.f_back
    return frames

class K\u{e4}se:
    def \u{540d}\u{524d}(self, depth):
        if depth:
            return self.\u{540d}\u{524d}(depth - 1)
        return sum(self.generator())

    def generator(self):
        try:
            raise ValueError
        except ValueError:
            yield sorted([1], key=lambda one: (
                self.executed(
                    one
                )
            ))[0]

    def executed(self, one):
        for file in ('<executed>', '<\u{540d}\u{524d}>', '<\u{1f40d}>', '<Caf\u{e9}>'):
            exec(compile('\\n\\nprobe(walk)\\n', file, 'exec'), {'probe': probe, 'walk': walk})
        return one

K\u{e4}se().\u{540d}\u{524d}(40)
";

/// Compares what is read of this thread with what Python says.
fn check(py: Python<'_>, memory: OwnMemory, target: Target) -> Result<(), Refusal> {
    let comparisons: Arc<Mutex<Vec<Result<(), Refusal>>>> = Arc::default();
    let results = Arc::clone(&comparisons);
    let probe = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        let expected: Frames = arguments.get_item(0)?.call0()?.extract()?;
        let result = frames_of_this_thread(memory, target)
            .and_then(|frames| compare(&frames, &expected).map_err(Refusal::Never));
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        results.push(result);
        PyResult::Ok(())
    };
    let run = || -> PyResult<()> {
        let globals = PyDict::new(py);
        globals.set_item("probe", PyCFunction::new_closure(py, None, None, probe)?)?;
        py.run(PROGRAM, Some(&globals), None)
    };
    let failed = |error| Refusal::Never(format!("the self-check has failed: {error}"));
    run().map_err(failed)?;
    let mut results = comparisons.lock().unwrap_or_else(PoisonError::into_inner);
    match results.len() {
        PROBES => results.drain(..).collect(),
        count => Err(Refusal::Never(format!(
            "the self-check has compared {count} stacks"
        ))),
    }
}

fn frames_of_this_thread(memory: OwnMemory, target: Target) -> Result<Frames, Refusal> {
    let Target { layout, .. } = target;
    let wrong = |what: &str| Refusal::Never(format!("its stacks are not what Python says: {what}"));
    let mut list = ThreadList::new(layout, target.runtime, target.tid_offset);
    let states = list.read(&memory).ok_or_else(Refusal::changing_threads)?;
    let ident = own_memory::thread_ident();
    let tid = thread_id();
    let own = states.iter().find(|state| state.ident == ident).copied();
    let own = own.ok_or_else(|| match list.left_out() {
        0 => wrong("this thread is not in the list of threads"),
        _ => Refusal::too_many_threads(),
    })?;
    if i64::try_from(own.tid) != Ok(tid.into()) {
        return Err(wrong("this thread has another TID"));
    }
    let mut stack = RawStack::default();
    let mut codes = CodeCache::new(layout, target.code_class);
    FrameReader::default()
        .read(&memory, &layout, &own, &mut stack)
        .and_then(|()| codes.learn(&memory, &stack.frames))
        .map_err(|error| wrong(&error.to_string()))?;
    let frames = stack.frames.iter().filter_map(|raw| codes.of(raw));
    let named = frames.map(|(code, unit)| {
        let line = codes.line(code, unit);
        (code.function.clone(), code.file.clone(), line)
    });
    Ok(named.collect())
}

fn compare(frames: &Frames, expected: &Frames) -> Result<(), String> {
    let expected = expected.iter().take(MOST_FRAMES);
    let expected: Frames = expected
        .map(|(function, file, line)| (shortened(function), shortened(file), *line))
        .collect();
    if *frames == expected {
        return Ok(());
    }
    let differs = (0..).find(|index| frames.get(*index) != expected.get(*index));
    let index = differs.unwrap_or_default();
    let shown = |frames: &Frames| match frames.get(index) {
        Some((function, file, line)) => format!("{function} ({file}:{line})"),
        None => "no frame".to_owned(),
    };
    Err(format!(
        "its stacks are not what Python says: frame {index} is {}, and was read as {}",
        shown(&expected),
        shown(frames)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_work_later_is_checked_again() {
        let never = || Err(Refusal::Never("free-threaded".to_owned()));
        for (made, again, expected) in [
            (Ok(1), Ok(2), Ok(1)),
            (never(), Ok(2), Err("free-threaded")),
            (Err(Refusal::too_many_threads()), Ok(2), Ok(2)),
            (
                Err(Refusal::changing_threads()),
                never(),
                Err("free-threaded"),
            ),
        ] {
            let mut made: Result<u8, Refusal> = made;
            let found = Refusal::retry(&mut made, || again).map(|made| *made);
            assert_eq!(found, expected.map_err(str::to_owned));
        }
    }

    #[test]
    fn the_first_frame_that_differs_is_named() {
        let frame = |function: &str, line| (function.to_owned(), "a.py".to_owned(), line);
        let expected = vec![frame("f", 1), frame("g", 2)];
        assert_eq!(compare(&expected, &expected), Ok(()));
        for (frames, difference) in [
            (vec![], "frame 0 is f (a.py:1), and was read as no frame"),
            (
                vec![frame("f", 1), frame("g", 3)],
                "frame 1 is g (a.py:2), and was read as g (a.py:3)",
            ),
            (
                [&expected[..], &[frame("h", 1)]].concat(),
                "frame 2 is no frame, and was read as h (a.py:1)",
            ),
        ] {
            let error = compare(&frames, &expected).unwrap_err();
            assert!(error.ends_with(difference), "{error}");
        }
    }
}
