//! The watcher's main loop: reports of workers and notifications of the system go in, requests to reload come out.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use lockgate_config::ReloadConfig;
use lockgate_observe::Level;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::file_systems::shared;
use crate::files::WatchedFiles;
use crate::loads::Loads;
use crate::notifications::{Notification, Notifications, Unwatchable};
use crate::own_writes::{Consequence, OwnWrites};
use crate::report::{Report, ReportDecoder};
use crate::settling::{Settling, Stage};

/// Time between two looks at files that the system does not notify of.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// What the watcher needs of its process.
pub trait Host {
    /// Writes a message to the error log.
    fn write(&self, level: Level, message: &str);

    /// These files have changed, at least one: the application is to be loaded again.
    fn reload(&self, changed: &[PathBuf]);
}

/// See the module.
pub struct Watcher {
    files: WatchedFiles,
    loads: Loads,
    settling: Settling,
    own_writes: OwnWrites,
    notifications: Option<Notifications>,
    /// When all files are looked at, because the system does not notify of some.
    next_poll: Option<Instant>,
    has_warned: bool,
}

/// What the main loop waits for.
enum Message {
    /// Bytes of the report pipe.
    Reports(Vec<u8>),
    /// No process reports any more.
    End,
    Notified(Notification),
}

impl Watcher {
    /// A watcher of files that match the settings, and of those that the server has read itself.
    pub fn new(config: &ReloadConfig, read: &[PathBuf]) -> Self {
        let mut files = WatchedFiles::matching(&config.extra_files);
        for path in read {
            files.add(path, true);
        }
        Self {
            files,
            loads: Loads::default(),
            settling: Settling::default(),
            own_writes: OwnWrites::default(),
            notifications: None,
            next_poll: None,
            has_warned: false,
        }
    }

    /// Watches until all processes have closed the other end of the pipe, which does not block.
    pub fn run(mut self, reports: OwnedFd, host: &dyn Host) {
        let (sender, messages) = channel();
        self.start_notifications(&sender, host);
        let reading = thread::Builder::new().name("watch-reports".to_owned());
        if let Err(error) = reading.spawn(move || read_reports(&reports, &sender)) {
            let message = format!("files are not watched: cannot start a thread: {error}");
            return host.write(Level::Error, &message);
        }
        let mut decoder = ReportDecoder::default();
        loop {
            self.watch_directories(host);
            match self.next_message(&messages) {
                Some(Message::Reports(bytes)) => {
                    for (pid, report) in decoder.receive(&bytes) {
                        self.on_report(pid, report);
                    }
                }
                Some(Message::Notified(notification)) => self.on_notified(notification),
                Some(Message::End) => return,
                None => {}
            }
            self.poll_files();
            let changed = self.take_changes(Instant::now(), host);
            if !changed.is_empty() {
                host.reload(&changed);
            }
        }
    }

    fn start_notifications(&mut self, sender: &Sender<Message>, host: &dyn Host) {
        let sender = sender.clone();
        // The main loop has gone: the process ends.
        let receive = move |one| drop(sender.send(Message::Notified(one)));
        match Notifications::start(receive) {
            Ok(notifications) => self.notifications = Some(notifications),
            Err(problem) => {
                let message = format!(
                    "reload: the system does not notify of changes ({problem}): files are looked at twice a second"
                );
                host.write(Level::Warning, &message);
                self.poll_from_now_on();
            }
        }
    }

    fn next_message(&self, messages: &Receiver<Message>) -> Option<Message> {
        let deadlines = [self.settling.due(), self.own_writes.due(), self.next_poll];
        let Some(deadline) = deadlines.into_iter().flatten().min() else {
            return Some(messages.recv().unwrap_or(Message::End));
        };
        match messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Message::End),
        }
    }

    /// Has the system notify of directories that are new.
    fn watch_directories(&mut self, host: &dyn Host) {
        for directory in self.files.directories.take_unwatched() {
            let Some(notifications) = &mut self.notifications else {
                continue;
            };
            match notifications.watch(&directory) {
                Ok(()) => {
                    if let Some(name) = shared(&directory) {
                        self.warn_of_shared(&directory, name, host);
                        self.poll_from_now_on();
                    }
                }
                Err(Unwatchable::TooMany) => {
                    self.warn_of_limit(host);
                    self.poll_from_now_on();
                }
                // If it comes back, its parent notifies, which may be unknown.
                Err(Unwatchable::Inaccessible) => {}
            }
        }
    }

    fn warn_of_shared(&mut self, directory: &Path, name: &str, host: &dyn Host) {
        if !std::mem::replace(&mut self.has_warned, true) {
            let message = format!(
                "reload: {} is on {name}, which does not notify of changes by other machines: files are looked at twice a \
                 second",
                directory.display()
            );
            host.write(Level::Warning, &message);
        }
    }

    fn warn_of_limit(&mut self, host: &dyn Host) {
        if !std::mem::replace(&mut self.has_warned, true) {
            let message = "reload: the system watches no more directories: the limit fs.inotify.max_user_watches is \
                           reached, and files are looked at twice a second; raise it with sysctl -w \
                           fs.inotify.max_user_watches=524288";
            host.write(Level::Warning, message);
        }
    }

    fn poll_from_now_on(&mut self) {
        self.next_poll
            .get_or_insert_with(|| Instant::now() + POLL_INTERVAL);
    }

    fn on_report(&mut self, pid: u32, report: Report) {
        match report {
            Report::Begun(at) => self.loads.begin(pid, at),
            Report::File { path, is_own } => {
                if let Some(written) = self.files.add(&path, is_own) {
                    self.check_overtaken(pid, path, written);
                }
            }
            Report::Imported { path, written } => {
                if let Some(now) = self.files.add(&path, true)
                    && !is_same_time(now, written)
                {
                    self.note_overtaken(path);
                }
            }
            Report::Directory(path) => self.files.directories.add_of_modules(&path),
            Report::Loaded => {
                self.loads.end(pid, Instant::now(), SystemTime::now());
                self.files.forget_unneeded();
            }
            Report::Failed => {
                for (path, written) in self.files.add_candidates() {
                    self.check_overtaken(pid, path, written);
                }
                self.loads.end(pid, Instant::now(), SystemTime::now());
            }
        }
    }

    /// A file that was not watched while the process loaded it may have been written meanwhile.
    fn check_overtaken(&mut self, pid: u32, path: PathBuf, written: SystemTime) {
        if self.loads.is_overtaken(pid, written, SystemTime::now()) {
            self.note_overtaken(path);
        }
    }

    /// A process has loaded this file before its last write.
    fn note_overtaken(&mut self, path: PathBuf) {
        self.files.forget_content(&path);
        self.settling.note(path, Stage::Complete, Instant::now());
    }

    fn on_notified(&mut self, notification: Notification) {
        let now = Instant::now();
        match notification {
            Notification::At(path, stage) => {
                let mut changed = self.files.examine(&path);
                if self.settling.has(&path) && !changed.contains(&path) {
                    changed.push(path);
                }
                self.note(changed, stage, now);
            }
            Notification::Anywhere => {
                let changed = self.files.examine_all();
                self.note(changed, Stage::Incomplete, now);
            }
        }
    }

    fn poll_files(&mut self) {
        let now = Instant::now();
        if self.next_poll.is_some_and(|next| next <= now) {
            let changed = self.files.examine_all();
            self.note(changed, Stage::Complete, now);
            // After a slow look the next one comes later.
            self.next_poll = Some(Instant::now() + POLL_INTERVAL);
        }
    }

    fn note(&mut self, changed: Vec<PathBuf>, stage: Stage, now: Instant) {
        for path in changed {
            if self
                .loads
                .may_have_written(self.files.written(&path), now, exists)
            {
                self.own_writes.note(path.clone());
            }
            self.settling.note(path, stage, now);
        }
    }

    /// The changes that have settled. What an application writes itself at its import may be none (`own_writes`).
    fn take_changes(&mut self, now: Instant, host: &dyn Host) -> Vec<PathBuf> {
        let mut changed = self.settling.take(now);
        let load = self.loads.last();
        changed.retain(|path| {
            let is_new = self.files.has_new_content(path);
            // The report that a load has begun may come later than the notification.
            let written = self.files.written(path);
            if written.is_some_and(|written| self.loads.has_begun_before(written)) {
                self.own_writes.note(path.clone());
            }
            let consequence = self.own_writes.judge(path, is_new, load, now);
            if consequence == Consequence::IgnoredFromNowOn {
                warn_of_own_write(path, host);
            }
            consequence == Consequence::Reload
        });
        changed.extend(self.own_writes.take(now));
        changed
    }
}

/// Whether there is a process with this id.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Whether a file was written at this time, in seconds since 1970, as Python rounds it.
fn is_same_time(written: SystemTime, seconds: f64) -> bool {
    let since = written.duration_since(SystemTime::UNIX_EPOCH);
    since.is_ok_and(|since| (since.as_secs_f64() - seconds).abs() < 1e-6)
}

fn warn_of_own_write(path: &Path, host: &dyn Host) {
    let path = path.display();
    let message = format!(
        "reload: each load of the application writes other content to {path}: its changes are ignored until it is \
         written at another time"
    );
    host.write(Level::Warning, &message);
}

/// Passes on what workers report, until all have gone.
fn read_reports(pipe: &OwnedFd, sender: &Sender<Message>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let message = match rustix::io::read(pipe, &mut bytes) {
            Ok(0) => Message::End,
            Ok(count) => Message::Reports(bytes.get(..count).unwrap_or_default().to_vec()),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => {
                let mut watched = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
                // The result does not matter: the pipe is read again.
                let _woken = poll(&mut watched, None);
                continue;
            }
            Err(_) => Message::End,
        };
        let is_end = matches!(message, Message::End);
        if sender.send(message).is_err() || is_end {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Mutex;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    /// Passes on which files have changed.
    struct Changes(Mutex<Sender<Vec<PathBuf>>>);

    fn silent() -> Changes {
        Changes(Mutex::new(channel().0))
    }

    impl Host for Changes {
        fn write(&self, _level: Level, _message: &str) {}

        fn reload(&self, changed: &[PathBuf]) {
            let _gone = self.0.lock().unwrap().send(changed.to_vec());
        }
    }

    /// A running watcher: the end of its pipe, and the changes.
    fn start(watcher: Watcher) -> (OwnedFd, Receiver<Vec<PathBuf>>) {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let (sender, changes) = channel();
        thread::spawn(move || watcher.run(reader, &Changes(Mutex::new(sender))));
        (writer, changes)
    }

    fn report(pipe: &OwnedFd, text: &str) {
        assert_eq!(rustix::io::write(pipe, text.as_bytes()), Ok(text.len()));
    }

    fn seconds(time: SystemTime) -> f64 {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64()
    }

    /// The report of a load that began at this time.
    fn load(path: &Path, begun: SystemTime) -> String {
        format!("P7\nB{}\nF{}\nE\n", seconds(begun), path.display())
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_saved_file_is_reported_with_and_without_notifications() {
        for is_polling in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let (first, second) = (folder.path().join("a.py"), folder.path().join("b.py"));
            fs::write(&first, "1").unwrap();
            fs::write(&second, "1").unwrap();
            let mut watcher = Watcher::new(&ReloadConfig::default(), &[]);
            if is_polling {
                watcher.next_poll = Some(Instant::now());
                // Nothing that the system notifies of is watched.
                watcher.files.directories.add(folder.path());
                watcher.files.directories.take_unwatched();
            }
            let (pipe, changes) = start(watcher);
            // The second one was written after the load had begun: it is reported at once, and so is known to be watched.
            let begun = fs::metadata(&second).unwrap().modified().unwrap() - Duration::from_secs(1);
            let hour = Duration::from_secs(3600);
            fs::File::options()
                .write(true)
                .open(&first)
                .unwrap()
                .set_modified(begun - hour)
                .unwrap();
            let mut text = load(&first, begun);
            text.insert_str(text.len() - 2, &format!("F{}\n", second.display()));
            report(&pipe, &text);
            assert_eq!(
                changes.recv_timeout(LONG),
                Ok(vec![second.clone()]),
                "{is_polling}"
            );
            fs::write(&first, "22").unwrap();
            assert_eq!(
                changes.recv_timeout(LONG),
                Ok(vec![first.clone()]),
                "{is_polling}"
            );
            fs::write(&first, "333").unwrap();
            assert_eq!(changes.recv_timeout(LONG), Ok(vec![first]), "{is_polling}");
        }
    }

    #[test]
    fn a_file_that_was_written_before_it_was_known_is_reported_also_if_the_notification_comes_later()
     {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.py");
        fs::write(&path, "1").unwrap();
        let mut watcher = Watcher::new(&ReloadConfig::default(), &[]);
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        watcher.on_report(7, Report::Begun(written - Duration::from_secs(1)));
        watcher.on_report(
            7,
            Report::File {
                path: path.clone(),
                is_own: true,
            },
        );
        watcher.on_notified(Notification::At(path.clone(), Stage::Complete));
        watcher.on_report(7, Report::Failed);
        let later = Instant::now() + Duration::from_secs(1);
        assert_eq!(watcher.take_changes(later, &silent()), [path]);
    }

    #[test]
    fn a_module_that_was_written_while_it_was_imported_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.py");
        fs::write(&path, "1").unwrap();
        let written = seconds(fs::metadata(&path).unwrap().modified().unwrap());
        // It makes no difference whether the application is being loaded, or a request has imported it.
        for (is_loading, seen, expected) in [
            (false, written, false),
            (false, written - 0.001, true),
            (true, written, false),
            (true, written - 0.001, true),
            // The file that is there now is older: mv(1).
            (false, written + 5.0, true),
        ] {
            let mut watcher = Watcher::new(&ReloadConfig::default(), &[]);
            if is_loading {
                let before = SystemTime::now() - Duration::from_secs(3600);
                watcher.on_report(7, Report::Begun(before));
            }
            let path = path.clone();
            let report = Report::Imported {
                path,
                written: seen,
            };
            watcher.on_report(7, report);
            let later = Instant::now() + Duration::from_secs(1);
            let changed = watcher.take_changes(later, &silent());
            assert_eq!(!changed.is_empty(), expected, "{is_loading} {seen}");
        }
    }

    #[test]
    fn a_file_that_an_application_writes_at_its_import_is_no_change_while_it_says_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("generated.py");
        fs::write(&path, "1").unwrap();
        let mut watcher = Watcher::new(&ReloadConfig::default(), std::slice::from_ref(&path));
        let start = Instant::now();
        let cases = [
            (true, "1", false),
            (false, "1", true),
            (true, "2", true),
            (false, "3", true),
        ];
        for (number, (is_loading, text, expected)) in cases.into_iter().enumerate() {
            let at = start + Duration::from_secs(10 * number as u64);
            if is_loading {
                watcher.loads.begin(std::process::id(), SystemTime::now());
            }
            let draft = folder.path().join("draft");
            fs::write(&draft, text).unwrap();
            fs::rename(&draft, &path).unwrap();
            let changed = watcher.files.examine(&path);
            watcher.note(changed, Stage::Complete, at);
            watcher.loads.end(std::process::id(), at, SystemTime::now());
            let taken = watcher.take_changes(at + Duration::from_secs(5), &silent());
            assert_eq!(!taken.is_empty(), expected, "{number}");
        }
    }
}
