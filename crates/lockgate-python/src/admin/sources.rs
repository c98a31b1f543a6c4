//! Lines of the application's source files, for stacks that are shown. One thread reads the files: a network file system
//! that hangs blocks it, and not the threads that answer. This process runs as the workers' user.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};

/// How long an answer waits for files, all together.
const PATIENCE: Duration = Duration::from_millis(200);
/// A file that was read before this time is read again.
const FRESH: Duration = Duration::from_secs(5);
/// Bytes of a file that are read.
const MOST_SOURCE: u64 = 4 << 20;
/// Files, and bytes of them, that are kept.
const MOST_FILES: usize = 500;
const MOST_BYTES: usize = 16 << 20;
/// Files that wait for the thread.
const MOST_WANTED: usize = 64;

/// See the module.
pub(super) struct SourceFiles {
    cache: Arc<Cache>,
    wanted: SyncSender<String>,
}

#[derive(Default)]
struct Cache {
    files: Mutex<Files>,
    /// A file was read.
    read: Condvar,
}

#[derive(Default)]
struct Files {
    known: HashMap<String, (Instant, Option<Source>)>,
    bytes: usize,
    /// Those that the thread has been asked for.
    wanted: HashSet<String>,
}

struct Source {
    text: String,
    /// Whether every user may read the file.
    is_public: bool,
    /// When the file, its name or its owner was last changed: milliseconds since 1970.
    changed: u64,
}

/// Who gets an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// The user and the group of the server, whom a unix socket lets in.
    Server,
    /// Any user of this machine: over TCP.
    Anyone,
}

/// The files for one answer, with the time until which it waits for them.
pub(super) struct Sources<'a> {
    files: &'a SourceFiles,
    reader: Reader,
    until: Instant,
}

impl SourceFiles {
    /// Starts the thread.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn start() -> io::Result<Self> {
        let (files, wanted) = Self::new();
        let cache = Arc::clone(&files.cache);
        let builder = thread::Builder::new().name("sources".to_owned());
        builder.spawn(move || cache.fill(&wanted))?;
        Ok(files)
    }

    fn new() -> (Self, Receiver<String>) {
        let (sender, wanted) = sync_channel(MOST_WANTED);
        let files = Self {
            cache: Arc::default(),
            wanted: sender,
        };
        (files, wanted)
    }

    /// For one answer that begins now.
    pub(super) fn sources(&self, reader: Reader) -> Sources<'_> {
        Sources {
            files: self,
            reader,
            until: Instant::now() + PATIENCE,
        }
    }
}

impl Sources<'_> {
    /// The text of a line, from 1, of a file that was loaded at this time (milliseconds since 1970). `None` if it has
    /// changed since, is not read in time, or is not for this reader.
    pub(super) fn line(&self, file: &str, line: u32, loaded: u64) -> Option<String> {
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        // What is kept is of files that the thread has read: other names cost nothing.
        if !is_python(Path::new(file)) {
            return None;
        }
        let cache = &self.files.cache;
        let mut files = cache.files();
        if !files.is_fresh(file) {
            if !files.wanted.contains(file) && self.files.wanted.try_send(file.to_owned()).is_ok() {
                files.wanted.insert(file.to_owned());
            }
            let left = self.until.saturating_duration_since(Instant::now());
            let is_missing = |files: &mut Files| files.wanted.contains(file);
            let waited = cache.read.wait_timeout_while(files, left, is_missing);
            (files, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if !files.is_fresh(file) {
            return None;
        }
        let (_, source) = files.known.get(file)?;
        let source = (source.as_ref()).filter(|source| source.changed <= loaded)?;
        if self.reader == Reader::Anyone && !source.is_public {
            return None;
        }
        source.text.lines().nth(index).map(str::to_owned)
    }
}

impl Cache {
    fn files(&self) -> MutexGuard<'_, Files> {
        // Each change is whole.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads files until nothing can ask for one any more.
    fn fill(&self, wanted: &Receiver<String>) {
        for name in wanted {
            let source = read(Path::new(&name));
            self.files().keep(name, source);
            self.read.notify_all();
        }
    }
}

impl Files {
    fn is_fresh(&self, file: &str) -> bool {
        (self.known.get(file)).is_some_and(|(at, _)| at.elapsed() < FRESH)
    }

    fn keep(&mut self, name: String, source: Option<Source>) {
        let length = |source: &Option<Source>| source.as_ref().map_or(0, |one| one.text.len());
        self.wanted.remove(&name);
        if let Some((_, before)) = self.known.remove(&name) {
            self.bytes -= length(&before);
        }
        if self.known.len() >= MOST_FILES || self.bytes + length(&source) > MOST_BYTES {
            self.known.clear();
            self.bytes = 0;
        }
        self.bytes += length(&source);
        self.known.insert(name, (Instant::now(), source));
    }
}

/// Names of code objects can be any text: a pipe or a device is not read.
fn is_python(path: &Path) -> bool {
    path.is_absolute() && path.extension().is_some_and(|ending| ending == "py")
}

/// Whether every user may read the file: its own mode, and that of each directory above it.
fn is_public(path: &Path, mode: u32) -> bool {
    const OTHERS_READ: u32 = 0o4;
    const OTHERS_ENTER: u32 = 0o1;
    let is_open = |directory: &Path| {
        fs::metadata(directory).is_ok_and(|metadata| metadata.mode() & OTHERS_ENTER != 0)
    };
    let real = path.canonicalize();
    mode & OTHERS_READ != 0 && real.is_ok_and(|real| real.ancestors().skip(1).all(is_open))
}

fn read(path: &Path) -> Option<Source> {
    let nonblocking = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(open(path, OFlags::RDONLY | nonblocking, Mode::empty()).ok()?);
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    let mut bytes = Vec::new();
    file.take(MOST_SOURCE).read_to_end(&mut bytes).ok()?;
    let millis = |seconds: i64, nanos: i64| {
        let millis = seconds
            .saturating_mul(1000)
            .saturating_add(nanos / 1_000_000);
        u64::try_from(millis).unwrap_or(0)
    };
    // A file that was copied keeps the time of its content, and has another time of its inode.
    let content = millis(metadata.mtime(), metadata.mtime_nsec());
    Some(Source {
        text: String::from_utf8_lossy(&bytes).into_owned(),
        is_public: is_public(path, metadata.mode()),
        changed: content.max(millis(metadata.ctime(), metadata.ctime_nsec())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use rustix::fs::{CWD, FileType};

    const LATER: u64 = u64::MAX;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }

    /// With time for a machine that is busy.
    fn line(files: &SourceFiles, path: &Path, line: u32, loaded: u64) -> Option<String> {
        let until = Instant::now() + Duration::from_secs(30);
        let reader = Reader::Server;
        let sources = Sources {
            files,
            reader,
            until,
        };
        sources.line(path.to_str().unwrap(), line, loaded)
    }

    #[test]
    fn lines_are_read_from_python_files_only() {
        let directory = directory("sources");
        std::fs::create_dir_all(directory.join("folder.py")).unwrap();
        for name in ["app.py", "secret.txt"] {
            std::fs::write(directory.join(name), "one\n  two\nl\u{e9}\n").unwrap();
        }
        // Nothing writes into this pipe.
        let pipe = directory.join("pipe.py");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let files = SourceFiles::start().unwrap();
        for (name, number, expected) in [
            ("app.py", 2, Some("  two")),
            ("app.py", 3, Some("l\u{e9}")),
            ("app.py", 0, None),
            ("app.py", 4, None),
            ("secret.txt", 1, None),
            ("folder.py", 1, None),
            ("absent.py", 1, None),
            ("pipe.py", 1, None),
        ] {
            let found = line(&files, &directory.join(name), number, LATER);
            assert_eq!(found.as_deref(), expected, "{name}:{number}");
        }
        for name in ["app.py", "<string>", "/dev/zero", ""] {
            assert_eq!(line(&files, Path::new(name), 1, LATER), None, "{name}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_file_that_has_changed_since_it_was_loaded_is_not_shown() {
        let directory = directory("changed-sources");
        let path = directory.join("app.py");
        std::fs::write(&path, "one\n").unwrap();
        let changed = read(&path).unwrap().changed;
        let files = SourceFiles::start().unwrap();
        for (loaded, expected) in [
            (changed - 1, None),
            (changed, Some("one")),
            (changed + 1, Some("one")),
        ] {
            assert_eq!(line(&files, &path, 1, loaded).as_deref(), expected);
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn any_user_sees_lines_of_files_that_every_user_may_read() {
        let directory = directory("private-sources");
        let path = directory.join("app.py");
        std::fs::write(&path, "one\n").unwrap();
        let set_mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for (of_file, of_directory, is_shown) in [
            (0o644, 0o755, true),
            (0o604, 0o711, true),
            (0o640, 0o755, false),
            (0o644, 0o750, false),
        ] {
            set_mode(&directory, of_directory);
            set_mode(&path, of_file);
            let files = SourceFiles::start().unwrap();
            for (reader, is_shown) in [(Reader::Anyone, is_shown), (Reader::Server, true)] {
                let sources = Sources {
                    reader,
                    until: Instant::now() + Duration::from_secs(30),
                    files: &files,
                };
                let found = sources.line(path.to_str().unwrap(), 1, LATER);
                let modes = (of_file, of_directory, reader);
                assert_eq!(found.is_some(), is_shown, "{modes:?}");
            }
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn an_answer_does_not_wait_for_files_that_are_not_read() {
        // The thread is stopped: its receiver is never read.
        let (files, _wanted) = SourceFiles::new();
        let sources = files.sources(Reader::Server);
        let began = Instant::now();
        for number in 0..2 * MOST_WANTED {
            let name = format!("/nfs/{number}.py");
            assert_eq!(sources.line(&name, 1, LATER), None);
        }
        assert!(began.elapsed() < 20 * PATIENCE, "{:?}", began.elapsed());
        assert!(files.cache.files().wanted.len() <= MOST_WANTED);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut files = Files::default();
        for (count, length) in [(3 * MOST_FILES, 1), (20, MOST_BYTES / 5)] {
            for number in 0..count {
                let source = Source {
                    text: "x".repeat(length),
                    is_public: true,
                    changed: 0,
                };
                files.keep(format!("/{}.py", number % 1000), Some(source));
                assert!(files.bytes <= MOST_BYTES && files.known.len() <= MOST_FILES);
                let sources = files.known.values().flat_map(|(_, source)| source);
                assert_eq!(
                    files.bytes,
                    sources.map(|one| one.text.len()).sum::<usize>()
                );
            }
        }
    }
}
