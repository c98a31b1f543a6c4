//! How frames are named: paths of packages from their package on, and those of the application without the directories
//! that all of its files share.

use std::collections::HashSet;
use std::fmt::Write;

use crate::{Frame, Profile, Row, StackId};

/// The label of threads that run neither a request nor Python code of the application: they read requests and wait for
/// connections.
const SERVER: &str = "Lockgate itself";

/// Whose code a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The application's own.
    Own,
    /// An installed package's.
    Package,
    /// Python's standard library.
    Python,
}

impl Origin {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Package => "package",
            Self::Python => "python",
        }
    }
}

/// Whose the file is, and its path from the package or the standard library on.
pub(super) fn origin(file: &str) -> (Origin, &str) {
    for directory in ["/site-packages/", "/dist-packages/"] {
        if let Some((_, rest)) = file.rsplit_once(directory) {
            return (Origin::Package, rest);
        }
    }
    if file.starts_with("<frozen ") {
        return (Origin::Python, file);
    }
    match file.rsplit_once("/python3") {
        // As in /usr/lib/python3.12/json/decoder.py and /usr/lib64/python3.13t/re.py.
        Some((before, rest)) if before.ends_with("/lib") || before.ends_with("/lib64") => {
            match rest.split_once('/') {
                Some((version, path)) if is_version(version) => (Origin::Python, path),
                _ => (Origin::Own, file),
            }
        }
        _ => (Origin::Own, file),
    }
}

/// As `.12` or `.13t`.
fn is_version(text: &str) -> bool {
    let mut parts = text.chars();
    parts.next() == Some('.') && parts.all(|part| part.is_ascii_digit() || part == 't')
}

/// The frames of a stack, the first caller first, without those that start every thread.
pub(super) fn shown_frames(profile: &Profile, stack: StackId) -> Vec<&Frame> {
    let mut frames: Vec<_> = profile.stacks.frames(stack).collect();
    frames.reverse();
    let start = frames.iter().position(|frame| !is_bootstrap(frame));
    // A thread that is nowhere else runs code of the server.
    frames.drain(..start.unwrap_or(frames.len()));
    frames
}

/// The label of a row with these shown frames; empty: a thread of the application without a request.
pub(super) fn shown_label<'a>(row: &'a Row, frames: &[&Frame]) -> &'a str {
    match (row.label.as_str(), frames) {
        ("", []) => SERVER,
        (label, _) => label,
    }
}

/// Whether the frame is of the thread's start, and the same in every stack: `threading`'s, or the server's.
fn is_bootstrap(frame: &Frame) -> bool {
    match origin(&frame.file) {
        (Origin::Python, path) => {
            // Before Python 3.11 names are not qualified.
            let name = frame.function.strip_prefix("Thread.");
            let name = name.unwrap_or(&frame.function);
            path == "threading.py" && matches!(name, "_bootstrap" | "_bootstrap_inner" | "run")
        }
        (Origin::Package, path) => path.starts_with("lockgate/"),
        (Origin::Own, _) => false,
    }
}

/// Shortens the paths of a profile.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The directories that all files of the application share, with the last slash.
    shared: String,
}

impl Names {
    pub(super) fn new(profile: &Profile) -> Self {
        let mut shared: Option<&str> = None;
        let stacks: HashSet<StackId> = (profile.counted_rows()).map(|(row, _)| row.stack).collect();
        let frames = stacks.into_iter();
        for frame in frames.flat_map(|stack| shown_frames(profile, stack)) {
            // Code without a file, as of exec, is named `<string>`.
            if origin(&frame.file).0 != Origin::Own || frame.file.starts_with('<') {
                continue;
            }
            let directory = match frame.file.rfind('/') {
                Some(last) => &frame.file[..=last],
                None => "",
            };
            shared = Some(match shared {
                None => directory,
                Some(shared) => shared_directories(shared, directory),
            });
        }
        Self {
            shared: shared.unwrap_or_default().to_owned(),
        }
    }

    /// The path as it is shown.
    pub(super) fn path<'a>(&self, file: &'a str) -> &'a str {
        match origin(file) {
            (Origin::Own, path) => path.strip_prefix(&*self.shared).unwrap_or(path),
            (_, path) => path,
        }
    }

    /// As `Cart.total (cart/models.py:12)`.
    pub(super) fn frame(&self, frame: &Frame) -> String {
        labelled(&frame.function, self.path(&frame.file), frame.line)
    }
}

fn labelled(function: &str, path: &str, line: u32) -> String {
    // Python's name of what is defined in a function: `price.<locals>.<genexpr>`.
    let function = function.replace(".<locals>.", ".");
    let mut text = format!("{function} ({path}");
    if line > 0 {
        // Writing to a String does not fail.
        let _ = write!(text, ":{line}");
    }
    text.push(')');
    text
}

fn shared_directories<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one
        .bytes()
        .zip(other.bytes())
        .take_while(|(one, other)| one == other);
    // A slash is never inside a character.
    let end = one.as_bytes()[..same.count()]
        .iter()
        .rposition(|&byte| byte == b'/');
    end.map_or("", |end| &one[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activity, Weight};

    #[test]
    fn a_file_is_the_applications_a_packages_or_pythons() {
        for (file, expected, path) in [
            ("/srv/shop/app.py", Origin::Own, "/srv/shop/app.py"),
            (
                "/venv/lib/python3.12/site-packages/flask/app.py",
                Origin::Package,
                "flask/app.py",
            ),
            (
                "/usr/lib/python3/dist-packages/yaml/__init__.py",
                Origin::Package,
                "yaml/__init__.py",
            ),
            (
                "/usr/lib/python3.12/json/decoder.py",
                Origin::Python,
                "json/decoder.py",
            ),
            ("/usr/lib64/python3.13t/re.py", Origin::Python, "re.py"),
            (
                "<frozen importlib._bootstrap>",
                Origin::Python,
                "<frozen importlib._bootstrap>",
            ),
            (
                "/srv/lib/python3scripts/a.py",
                Origin::Own,
                "/srv/lib/python3scripts/a.py",
            ),
            ("/srv/python3.12/a.py", Origin::Own, "/srv/python3.12/a.py"),
            ("<string>", Origin::Own, "<string>"),
            ("", Origin::Own, ""),
        ] {
            assert_eq!(origin(file), (expected, path), "{file}");
        }
    }

    #[test]
    fn files_of_the_application_are_shown_without_the_directories_that_they_share() {
        for (files, shown) in [
            (
                &["/srv/shop/app.py", "/srv/shop/cart/views.py"][..],
                &["app.py", "cart/views.py"][..],
            ),
            (
                &["/srv/shop/a.py", "/srv/shopping/b.py"],
                &["shop/a.py", "shopping/b.py"],
            ),
            (
                &["/srv/größe/a.py", "/srv/gräße/b.py"],
                &["größe/a.py", "gräße/b.py"],
            ),
            (&["a.py", "/srv/b.py"], &["a.py", "/srv/b.py"]),
            (&["/srv/a.py", "<string>"], &["a.py", "<string>"]),
            (
                &["/srv/a.py", "/venv/site-packages/django/urls.py"],
                &["a.py", "django/urls.py"],
            ),
        ] {
            let mut profile = Profile::default();
            for file in files {
                let frame = Frame {
                    function: "f".to_owned(),
                    file: (*file).to_owned(),
                    line: 1,
                };
                let row = |label: &str, stack| Row {
                    label: label.to_owned(),
                    stack,
                    activity: Activity::Sleep,
                };
                let stack = profile.stacks.push(StackId::EMPTY, &frame);
                profile.record(row("GET /", stack), Weight::default());
                let idle = Frame {
                    file: "/idle/thread.py".to_owned(),
                    ..frame
                };
                let stack = profile.stacks.push(StackId::EMPTY, &idle);
                profile.record(row("", stack), Weight::default());
            }
            let names = Names::new(&profile);
            let found: Vec<_> = files.iter().map(|file| names.path(file)).collect();
            assert_eq!(found, shown);
        }
    }

    #[test]
    fn the_start_of_a_thread_is_known_in_each_python() {
        let threading = "/usr/lib/python3.12/threading.py";
        for (function, file, expected) in [
            ("_bootstrap", threading, true),
            ("Thread._bootstrap_inner", threading, true),
            ("Thread.run", threading, true),
            ("Timer.run", threading, false),
            ("Event.wait", threading, false),
            ("main", "/venv/site-packages/lockgate/__main__.py", true),
            ("run", "/srv/shop/threading.py", false),
        ] {
            let frame = Frame {
                function: function.to_owned(),
                file: file.to_owned(),
                line: 1,
            };
            assert_eq!(is_bootstrap(&frame), expected, "{function} {file}");
        }
    }

    #[test]
    fn lines_that_are_not_known_and_locals_are_left_out() {
        assert_eq!(labelled("f", "a.py", 3), "f (a.py:3)");
        assert_eq!(labelled("f", "<string>", 0), "f (<string>)");
        let inner = "Cart.total.<locals>.price.<locals>.<genexpr>";
        assert_eq!(
            labelled(inner, "a.py", 3),
            "Cart.total.price.<genexpr> (a.py:3)"
        );
    }
}
