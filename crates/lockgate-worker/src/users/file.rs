//! A file of users, and the thread that reads it again when it has changed.
//!
//! Invariant: a change that cannot be read changes nothing; the users of the last readable file count.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use lockgate_access::Users;
use lockgate_observe::Level;

use crate::date::unix_seconds;
use crate::helper_thread::PanicGuard;
use crate::log::ErrorLog;

/// How often the thread looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A second change within the resolution of a file system's clock leaves the time as it was: what was changed so lately
/// is read again. In seconds.
const SETTLED_AFTER: i64 = 3;

/// About 150,000 users.
const LARGEST_FILE: u64 = 16 << 20;

/// See the module documentation.
pub(super) struct UsersFile {
    path: PathBuf,
    content: Mutex<Content>,
}

struct Content {
    users: Arc<Users>,
    version: Version,
    /// The last look has failed, and this was logged.
    has_failed: bool,
}

/// What tells two contents of a file apart.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    file: (u64, u64),
    size: u64,
    /// Modification and change of state, in seconds and nanoseconds.
    times: [(i64, i64); 2],
    is_settled: bool,
}

impl Version {
    fn of(file: &File, now: u64) -> io::Result<Self> {
        let status = file.metadata()?;
        Ok(Self {
            file: (status.dev(), status.ino()),
            size: status.size(),
            times: [
                (status.mtime(), status.mtime_nsec()),
                (status.ctime(), status.ctime_nsec()),
            ],
            is_settled: status.mtime().saturating_add(SETTLED_AFTER)
                <= i64::try_from(now).unwrap_or(0),
        })
    }
}

impl UsersFile {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or has a line that is none of a user; the text names the file and the line.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let read = open(path).and_then(|file| read(&file, unix_seconds()));
        let (users, version) = read.map_err(|error| {
            let shown = path.display();
            let advice = match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("; make it with: lockgate hash-password --user NAME >> {shown}")
                }
                _ => String::new(),
            };
            io::Error::new(
                error.kind(),
                format!("basic_auth: {shown}: {error}{advice}"),
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            content: Mutex::new(Content {
                users: Arc::new(users),
                version,
                has_failed: false,
            }),
        })
    }

    pub(super) fn users(&self) -> Arc<Users> {
        Arc::clone(&self.lock().users)
    }

    /// Reads the file if it has changed. `Some`: what to log.
    fn look(&self, now: u64) -> Option<(Level, String)> {
        let known = self.lock().version;
        let shown = self.path.display();
        let changed = open(&self.path).and_then(|file| {
            let found = Version::of(&file, now)?;
            match found == known && known.is_settled {
                true => Ok(None),
                false => read(&file, now).map(Some),
            }
        });
        let mut content = self.lock();
        match changed {
            Ok(None) => {
                content.has_failed = false;
                None
            }
            Ok(Some((users, version))) => {
                let is_new = (version.file, version.size, version.times)
                    != (known.file, known.size, known.times);
                let count = users.count();
                *content = Content {
                    users: Arc::new(users),
                    version,
                    has_failed: false,
                };
                is_new.then(|| {
                    let message =
                        format!("read {shown} again, because it has changed: {count} users");
                    (Level::Info, message)
                })
            }
            Err(error) => {
                // Once, and not each second until it is corrected.
                let is_logged = std::mem::replace(&mut content.has_failed, true);
                (!is_logged).then(|| {
                    let message = format!(
                        "cannot read the users of {shown} again: {error}; those that were read before still count"
                    );
                    (Level::Error, message)
                })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    let status = file.metadata()?;
    match (status.is_file(), status.len() <= LARGEST_FILE) {
        (true, true) => Ok(file),
        (false, _) => Err(io::Error::other("it is no regular file")),
        (true, false) => Err(io::Error::other("it has more than 16 MiB")),
    }
}

/// The version is that from before: a change while the file is read is seen at the next look.
fn read(file: &File, now: u64) -> io::Result<(Users, Version)> {
    let version = Version::of(file, now)?;
    let mut content = Vec::new();
    file.take(LARGEST_FILE).read_to_end(&mut content)?;
    let users = Users::parse(&content).map_err(io::Error::other)?;
    Ok((users, version))
}

/// Starts the thread. It ends when the files are used no more.
///
/// # Errors
/// The system's error when it cannot start a thread.
pub(super) fn watch(
    files: &[Arc<UsersFile>],
    error_log: &Arc<ErrorLog>,
    panic_guard: &PanicGuard,
) -> io::Result<()> {
    let files: Vec<Weak<UsersFile>> = files.iter().map(Arc::downgrade).collect();
    let error_log = Arc::clone(error_log);
    panic_guard.spawn("lockgate-users", move || {
        loop {
            thread::sleep(LOOK_EVERY);
            let live: Vec<Arc<UsersFile>> = files.iter().filter_map(Weak::upgrade).collect();
            if live.is_empty() {
                return;
            }
            for file in live {
                if let Some((level, message)) = file.look(unix_seconds()) {
                    error_log.write(level, &message);
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_access::Credentials;
    use std::fs;

    /// Of the empty password.
    const HASH: &str = "$2b$04$jc4wKtTDie8NVU/5oKuYgOgoG6ML9hwKjSuW/f2ePIjYvHSbN5t7.";

    #[test]
    fn a_change_is_read_and_a_fault_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let write = |names: &[&str]| {
            let lines = names.iter().map(|name| format!("{name}:{HASH}\n"));
            let text: String = lines.collect();
            fs::write(&path, text).unwrap();
        };
        write(&["alice"]);
        let file = UsersFile::open(&path).unwrap();
        let has = |name: &str| file.users().check(&Credentials::new(name, b""));
        // The clock is ahead, so that the file counts as settled.
        let mut now = unix_seconds();
        let mut look = || {
            now += 10;
            let logged = file.look(now);
            logged.map(|(level, text)| (level, text.replace(&*path.to_string_lossy(), "FILE")))
        };
        let changed = |count: u32| {
            let text = format!("read FILE again, because it has changed: {count} users");
            Some((Level::Info, text))
        };
        let failed = |why: &str| {
            let text = format!(
                "cannot read the users of FILE again: {why}; those that were read before still count"
            );
            Some((Level::Error, text))
        };
        assert_eq!(look(), None);
        write(&["alice", "bob"]);
        assert_eq!(look(), changed(2));
        assert!(has("alice") && has("bob"));
        assert_eq!(look(), None);
        // A new file in its place, of the same size.
        let other = folder.path().join("other");
        fs::write(&other, format!("alice:{HASH}\neve:{HASH}\n")).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(look(), changed(2));
        assert!(has("alice") && !has("bob") && has("eve"));
        fs::write(&path, "alice\n").unwrap();
        let why =
            "line 1: is not `name:hash`; `lockgate hash-password --user NAME` writes such a line";
        assert_eq!(look(), failed(why));
        assert_eq!(look(), None);
        assert!(has("eve"));
        fs::remove_file(&path).unwrap();
        assert_eq!(look(), None, "it is logged once");
        write(&["bob"]);
        assert_eq!(look(), changed(1));
        assert!(!has("eve") && has("bob"));
        fs::remove_file(&path).unwrap();
        assert_eq!(look(), failed("No such file or directory (os error 2)"));
        fs::create_dir(&path).unwrap();
        assert_eq!(look(), None);
        assert!(has("bob"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let text = || {
            let error = UsersFile::open(&path).map(drop).unwrap_err();
            error.to_string().replace(&*path.to_string_lossy(), "FILE")
        };
        assert_eq!(
            text(),
            "basic_auth: FILE: No such file or directory (os error 2); make it with: lockgate hash-password --user NAME \
             >> FILE"
        );
        fs::write(&path, "\nalice:secret\n").unwrap();
        assert!(text().starts_with(
            "basic_auth: FILE: line 2: what follows the colon of \"alice\" is not a hash"
        ));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(text(), "basic_auth: FILE: it is no regular file");
    }
}
