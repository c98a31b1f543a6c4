//! A thread's Python traceback. Traceback are recorded without running Python code, so that the GIL is held for
//! microseconds and the frames are of one moment; the text is made without the GIL.
//!
//! Python's own `traceback` checks every source file and releases the GIL each time: beside CPU-bound threads it gets
//! the GIL back only after all of them (measured: 4 s for one stack of 30 files beside 24 threads).

use std::collections::HashMap;
use std::fmt::Write;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// At most this many equal lines in a row are shown, as Python does; more of a recursion adds nothing.
const EQUAL_AT_MOST: usize = 3;

/// One frame: file, line and function.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    file: String,
    line: usize,
    function: String,
}

/// The frames of a thread, outermost first.
#[derive(Debug)]
pub(crate) struct Traceback(Vec<Frame>);

impl Traceback {
    /// The frames of a thread; `None` when it runs no Python code.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn of_thread(py: Python<'_>, thread: u64) -> PyResult<Option<Self>> {
        let current = py.import("sys")?.call_method0("_current_frames")?;
        let mut next = current
            .call_method1("get", (thread,))?
            .extract::<Option<Bound<'_, PyAny>>>()?;
        if next.is_none() {
            return Ok(None);
        }
        let mut frames = Vec::new();
        while let Some(frame) = next {
            let code = frame.getattr("f_code")?;
            let text = |name| -> PyResult<String> {
                let text = code.getattr(name)?.cast_into::<PyString>()?;
                Ok(text.to_string_lossy().into_owned())
            };
            frames.push(Frame {
                file: text("co_filename")?,
                // Instructions that the compiler has added belong to no line.
                line: frame.getattr("f_lineno")?.extract().unwrap_or(0),
                function: text("co_name")?,
            });
            next = frame.getattr("f_back")?.extract()?;
        }
        frames.reverse();
        Ok(Some(Self(frames)))
    }

    /// As [`Traceback::of_thread`], where other threads run at the same time: without a GIL only `faulthandler` may read
    /// their frames, because it stops them for that (CPython's issue 128400).
    ///
    /// # Errors
    /// When there is no temporary file.
    pub(crate) fn of_running_thread(py: Python<'_>, thread: u64) -> PyResult<Option<Self>> {
        let file = py.import("tempfile")?.call_method0("TemporaryFile")?;
        let options = PyDict::new(py);
        options.set_item("file", &file)?;
        options.set_item("all_threads", true)?;
        py.import("faulthandler")?
            .call_method("dump_traceback", (), Some(&options))?;
        file.call_method1("seek", (0,))?;
        let dump: Vec<u8> = file.call_method0("read")?.extract()?;
        file.call_method0("close")?;
        Ok(frames_in(&String::from_utf8_lossy(&dump), thread).map(Self))
    }

    /// As Python prints it, without the trailing newline, and with source lines where the file can be read.
    pub(crate) fn text(&self) -> String {
        let mut sources = HashMap::new();
        let mut text = String::new();
        for equal in self.0.chunk_by(PartialEq::eq) {
            let frame = &equal[0];
            let source = sources
                .entry(frame.file.as_str())
                .or_insert_with(|| read(&frame.file));
            let source = frame
                .line
                .checked_sub(1)
                .and_then(|index| source.lines().nth(index))
                .map_or("", str::trim);
            for frame in equal.iter().take(EQUAL_AT_MOST) {
                let Frame {
                    file,
                    line,
                    function,
                } = frame;
                let _infallible = writeln!(text, "  File \"{file}\", line {line}, in {function}");
                if !source.is_empty() {
                    let _infallible = writeln!(text, "    {source}");
                }
            }
            let more = equal.len().saturating_sub(EQUAL_AT_MOST);
            if more > 0 {
                let times = if more == 1 { "time" } else { "times" };
                let _infallible = writeln!(text, "  [Previous line repeated {more} more {times}]");
            }
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// The frames of a thread in a dump of `faulthandler`, which has the innermost first; `None` if it has none.
fn frames_in(dump: &str, thread: u64) -> Option<Vec<Frame>> {
    let identifier = format!("hread 0x{thread:016x} ");
    let mut lines = dump.lines();
    lines.find(|line| line.contains(&identifier))?;
    let mut frames: Vec<Frame> = lines.map_while(frame_in).collect();
    frames.reverse();
    (!frames.is_empty()).then_some(frames)
}

/// A line such as `  File "app.py", line 3 in application`.
fn frame_in(line: &str) -> Option<Frame> {
    let (file, rest) = line.strip_prefix("  File \"")?.rsplit_once("\", line ")?;
    let (number, function) = rest.split_once(" in ")?;
    Some(Frame {
        file: file.to_owned(),
        // Instructions that the compiler has added belong to no line.
        line: number.parse().unwrap_or(0),
        function: function.to_owned(),
    })
}

/// Empty when there is no such file: Python code need not come from a file.
fn read(file: &str) -> String {
    let is_file = std::fs::metadata(file).is_ok_and(|found| found.is_file());
    let bytes = is_file.then(|| std::fs::read(file).ok()).flatten();
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(file: &str, line: usize, function: &str) -> Frame {
        Frame {
            file: file.to_owned(),
            line,
            function: function.to_owned(),
        }
    }

    #[test]
    fn the_frames_of_one_thread_are_found_in_a_dump() {
        let dump = "Thread 0x00007f0000000001 [lockgate-worker] (most recent call first):\n  \
                    File \"/srv/a \"b\".py\", line 12 in inner\n  \
                    File \"/srv/app.py\", line ??? in application\n\n\
                    Current thread 0x00007f0000000002 (most recent call first):\n  \
                    <no Python frame>\n\n\
                    Thread 0x00007f0000000003 (most recent call first):\n  \
                    File \"c.py\", line 1 in f\n";
        let first = vec![
            frame("/srv/app.py", 0, "application"),
            frame("/srv/a \"b\".py", 12, "inner"),
        ];
        for (thread, expected) in [
            (0x7f00_0000_0001, Some(first)),
            (0x7f00_0000_0002, None),
            (0x7f00_0000_0003, Some(vec![frame("c.py", 1, "f")])),
            (0x7f00_0000_0004, None),
        ] {
            assert_eq!(frames_in(dump, thread), expected, "{thread:x}");
        }
    }

    #[test]
    fn a_traceback_is_formatted_as_python_does() {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/interpreter/traceback.rs");
        let mut frames = vec![frame("<string>", 1, "<module>"), frame(source, 8, "first")];
        frames.extend((0..5).map(|_| frame("/dev/zero", 7, "again")));
        frames.push(frame(source, 99_999, "last"));
        let expected = format!(
            "  File \"<string>\", line 1, in <module>\n  \
             File \"{source}\", line 8, in first\n    \
             use std::fmt::Write;\n  \
             File \"/dev/zero\", line 7, in again\n  \
             File \"/dev/zero\", line 7, in again\n  \
             File \"/dev/zero\", line 7, in again\n  \
             [Previous line repeated 2 more times]\n  \
             File \"{source}\", line 99999, in last"
        );
        assert_eq!(Traceback(frames).text(), expected);
    }
}
