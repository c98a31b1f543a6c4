//! Notifications to the service manager (sd_notify(3)): datagrams to `NOTIFY_SOCKET`, with watchdog keep-alives.
//!
//! Sending never blocks: a message that does not fit into the socket's queue is sent again a moment later. The socket is closed
//! between messages, so that no worker inherits it.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use lockgate_observe::Level;
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, sendto, socket};

use crate::clock::monotonic;
use crate::os::NO_SIGNAL;
use crate::supervisor::Status;
use crate::{Hooks, ServiceManager};

/// Delay before a message is sent again after the queue was full.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// At most this many messages wait; the oldest are dropped first.
const MOST_UNSENT: usize = 32;
/// A longer status line is cut (in characters): systemd reads 4096 bytes per message.
const LONGEST_STATUS: usize = 800;

/// See the module.
pub(crate) struct Notifier {
    address: SocketAddrUnix,
    unsent: VecDeque<String>,
    try_again: Option<Instant>,
    has_warned: bool,
    watchdog: Option<WatchdogTimer>,
}

/// Watchdog keep-alives, at half of the expected interval (sd_watchdog_enabled(3)).
struct WatchdogTimer {
    every: Duration,
    next: Instant,
}

impl Notifier {
    /// `None` without a `NOTIFY_SOCKET`.
    pub(crate) fn new(manager: &ServiceManager, now: Instant, hooks: &dyn Hooks) -> Option<Self> {
        let text = manager.notify_socket.as_deref()?;
        let address = match address(text) {
            Ok(address) => address,
            Err(problem) => {
                let message = format!(
                    "NOTIFY_SOCKET = {}: {problem}; the service manager gets no notifications",
                    text.display()
                );
                hooks.log(Level::Warning, &message);
                return None;
            }
        };
        let watchdog = manager.watchdog.map(|longest| WatchdogTimer {
            every: longest / 2,
            next: now + longest / 2,
        });
        Some(Self {
            address,
            unsent: VecDeque::new(),
            try_again: None,
            has_warned: false,
            watchdog,
        })
    }

    /// When to call [`on_timer`](Self::on_timer).
    pub(crate) fn next(&self) -> Option<Instant> {
        let timer = self.watchdog.as_ref().map(|timer| timer.next);
        self.try_again.into_iter().chain(timer).min()
    }

    /// Reports a status.
    pub(crate) fn report(&mut self, status: &Status, now: Instant, hooks: &dyn Hooks) {
        let message = message(status, std::process::id(), monotonic().as_micros());
        self.queue(message, now, hooks);
    }

    /// Sends what is due: messages that did not fit before, and a keep-alive if the server is alive.
    pub(crate) fn on_timer(&mut self, is_alive: bool, now: Instant, hooks: &dyn Hooks) {
        if let Some(timer) = self.watchdog.as_mut().filter(|timer| timer.next <= now) {
            timer.next = now + timer.every;
            if is_alive {
                return self.queue("WATCHDOG=1".to_owned(), now, hooks);
            }
        }
        if self.try_again.is_some_and(|at| at <= now) {
            self.send(now, hooks);
        }
    }

    fn queue(&mut self, message: String, now: Instant, hooks: &dyn Hooks) {
        // Of waiting messages only the latest status and one keep-alive are kept; READY must not be lost.
        let has_status = message.contains("STATUS=");
        let is_passing = |waiting: &String| {
            *waiting == message || (has_status && waiting.starts_with("STATUS="))
        };
        if let Some(place) = self.unsent.iter().position(is_passing) {
            self.unsent.remove(place);
        }
        if self.unsent.len() >= MOST_UNSENT {
            self.unsent.pop_front();
        }
        self.unsent.push_back(message);
        self.send(now, hooks);
    }

    /// Sends in order, as far as the queue has room.
    fn send(&mut self, now: Instant, hooks: &dyn Hooks) {
        self.try_again = None;
        while let Some(message) = self.unsent.front() {
            match send(&self.address, message) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => {
                    self.try_again = Some(now + RETRY_DELAY);
                    return;
                }
                Err(errno) => self.warn_once(errno, hooks),
            }
            self.unsent.pop_front();
        }
    }

    fn warn_once(&mut self, errno: Errno, hooks: &dyn Hooks) {
        if !std::mem::replace(&mut self.has_warned, true) {
            let message =
                format!("NOTIFY_SOCKET: cannot notify the service manager: {errno} (logged once)");
            hooks.log(Level::Warning, &message);
        }
    }
}

/// The lines of one datagram.
fn message(status: &Status, pid: u32, monotonic_micros: u128) -> String {
    let assignments = match status {
        Status::Ready { .. } => format!("READY=1\nMAINPID={pid}\n"),
        // Type=notify-reload distinguishes this reload from earlier ones by the time (systemd.service(5)).
        Status::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={monotonic_micros}\n"),
        // The server is still ready: without this the unit would stay in the state "reloading".
        Status::ReloadFailed { .. } => "READY=1\n".to_owned(),
        Status::Stopping { .. } => "STOPPING=1\n".to_owned(),
        _ => String::new(),
    };
    let status: String = status.to_string().chars().take(LONGEST_STATUS).collect();
    format!("{assignments}STATUS={}", status.replace(['\n', '\r'], " "))
}

fn address(text: &OsStr) -> Result<SocketAddrUnix, String> {
    let is_refused = |errno: Errno| errno.to_string();
    match text.as_bytes() {
        [b'@', name @ ..] => abstract_address(name),
        [b'/', ..] => SocketAddrUnix::new(text).map_err(is_refused),
        _ => Err("is neither a path nor an abstract name (@)".to_owned()),
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> Result<SocketAddrUnix, String> {
    SocketAddrUnix::new_abstract_name(name).map_err(|errno| errno.to_string())
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &[u8]) -> Result<SocketAddrUnix, String> {
    Err("abstract sockets need Linux".to_owned())
}

fn send(address: &SocketAddrUnix, message: &str) -> Result<(), Errno> {
    let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    // No program is started meanwhile: this is the only thread.
    ioctl_fionbio(&socket, true)?;
    sendto(&socket, message.as_bytes(), NO_SIGNAL, address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fork;
    use std::cell::RefCell;
    use std::io;
    use std::os::unix::net::UnixDatagram;

    /// Hooks that only log.
    #[derive(Default)]
    struct Log(RefCell<Vec<String>>);

    impl Hooks for Log {
        fn fork(&mut self) -> io::Result<Fork> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn run_worker(&mut self, _post: &mut crate::WorkerContext) -> i32 {
            0
        }

        fn exit_process(&mut self, code: i32) -> ! {
            std::process::exit(code)
        }

        fn log(&self, _level: Level, message: &str) {
            self.0.borrow_mut().push(message.to_owned());
        }
    }

    fn manager(socket: &OsStr, watchdog: Option<Duration>) -> ServiceManager {
        ServiceManager {
            notify_socket: Some(socket.to_owned()),
            watchdog,
            sockets: Vec::new(),
        }
    }

    fn received(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| {
            socket
                .recv(&mut buffer)
                .ok()
                .map(|length| buffer[..length].to_vec())
        })
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect()
    }

    #[test]
    fn every_status_is_a_message_of_sd_notify() {
        let cases = [
            (
                Status::Booting { ready: 1, all: 4 },
                "STATUS=booting: 1 of 4 workers are ready",
            ),
            (
                Status::Ready { workers: 1 },
                "READY=1\nMAINPID=42\nSTATUS=1 worker serves",
            ),
            (
                Status::Serving {
                    serving: 3,
                    wanted: 4,
                },
                "STATUS=3 of 4 workers serve",
            ),
            (
                Status::Reloading,
                "RELOADING=1\nMONOTONIC_USEC=7000000\nSTATUS=reload: starting new workers",
            ),
            (
                Status::NextBooting { ready: 3, all: 4 },
                "STATUS=reload: 3 of 4 new workers are ready",
            ),
            (
                Status::ReloadFailed {
                    why: "cannot import\nshop".to_owned(),
                },
                "READY=1\nSTATUS=reload failed: cannot import shop; the old workers continue to serve",
            ),
            (
                Status::Stopping {
                    delay: Duration::from_secs(5),
                    code: 0,
                },
                "STOPPING=1\nSTATUS=stop requested: serving for another 5.00 s",
            ),
            (
                Status::Draining { left: 2 },
                "STATUS=draining: 2 workers left",
            ),
        ];
        for (status, expected) in cases {
            assert_eq!(message(&status, 42, 7_000_000), expected);
        }
        let why = "ä".repeat(5000);
        assert!(message(&Status::ReloadFailed { why }, 42, 0).len() < 4096);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn messages_arrive_at_a_path_and_at_an_abstract_name() {
        use std::os::linux::net::SocketAddrExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("lockgate-notify-{}", std::process::id());
        let hidden = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let cases = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&hidden).unwrap(),
                format!("@{name}").into(),
            ),
        ];
        let log = Log::default();
        for (socket, place) in cases {
            let mut notifier = Notifier::new(&manager(&place, None), Instant::now(), &log).unwrap();
            notifier.queue("READY=1".to_owned(), Instant::now(), &log);
            assert_eq!(received(&socket), ["READY=1"], "{}", place.display());
        }
        assert!(log.0.into_inner().is_empty());
    }

    #[test]
    fn a_failure_is_logged_once_and_messages_are_dropped() {
        let log = Log::default();
        let place = OsStr::new("/nonexistent/notify");
        let mut notifier = Notifier::new(&manager(place, None), Instant::now(), &log).unwrap();
        for _ in 0..3 {
            notifier.queue("READY=1".to_owned(), Instant::now(), &log);
        }
        assert!(notifier.unsent.is_empty() && notifier.next().is_none());
        assert_eq!(log.0.borrow().len(), 1);
        for wrong in ["vsock:2:1234", "relative", &format!("/{}", "a".repeat(200))] {
            assert!(Notifier::new(&manager(wrong.as_ref(), None), Instant::now(), &log).is_none());
        }
        assert_eq!(log.0.borrow().len(), 4);
    }

    #[test]
    fn a_message_that_finds_the_queue_full_is_sent_later_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let log = Log::default();
        let start = Instant::now();
        let mut notifier = Notifier::new(&manager(path.as_os_str(), None), start, &log).unwrap();
        let mut sent = 0;
        while notifier.unsent.is_empty() && sent < 10_000 {
            notifier.queue(sent.to_string(), start, &log);
            sent += 1;
        }
        // A newer status replaces an older one, and a keep-alive is queued once.
        for message in ["STATUS=old", "STATUS=new", "WATCHDOG=1", "WATCHDOG=1"] {
            notifier.queue(message.to_owned(), start, &log);
        }
        assert_eq!(
            notifier.next(),
            Some(start + RETRY_DELAY),
            "the queue is full"
        );
        let mut all = received(&socket);
        notifier.on_timer(true, start + RETRY_DELAY, &log);
        all.extend(received(&socket));
        let numbers = (0..sent).map(|number| number.to_string());
        let expected: Vec<_> = numbers
            .chain(["STATUS=new", "WATCHDOG=1"].map(str::to_owned))
            .collect();
        assert_eq!(all, expected);
        assert_eq!(notifier.next(), None);
    }

    #[test]
    fn the_watchdog_gets_two_keep_alives_per_interval_while_the_server_is_alive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let log = Log::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let longest = Some(Duration::from_secs(30));
        let mut notifier = Notifier::new(&manager(path.as_os_str(), longest), start, &log).unwrap();
        let mut keep_alives = |is_alive, now| {
            notifier.on_timer(is_alive, now, &log);
            (received(&socket).len(), notifier.next())
        };
        assert_eq!(keep_alives(true, at(14)), (0, Some(at(15))));
        assert_eq!(keep_alives(true, at(15)), (1, Some(at(30))));
        assert_eq!(keep_alives(false, at(31)), (0, Some(at(46))));
        assert_eq!(keep_alives(true, at(46)), (1, Some(at(61))));
    }
}
