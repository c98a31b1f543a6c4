//! gunicorn's log lines: events of the server in the words and at the levels of gunicorn 27, for alerts that match them.
//!
//! Invariant: the first line of each text is gunicorn's; what Lockgate knows beyond it follows in indented lines.

use crate::event::Level;

/// An event that gunicorn logs too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GunicornEvent {
    /// The server starts.
    Starting {
        /// Lockgate's version; gunicorn writes its own.
        version: &'static str,
    },
    /// All addresses are bound.
    Listening {
        /// The URLs, in order.
        urls: Vec<String>,
        /// The supervisor.
        pid: u32,
    },
    /// The class of the workers is known.
    UsingWorker {
        /// gunicorn's name for it.
        class: &'static str,
    },
    /// A signal has arrived.
    Signal {
        /// Its name in lower case, without SIG.
        name: &'static str,
    },
    /// A reload was requested.
    HangUp,
    /// A second signal turns a graceful stop into a quick one.
    QuickShutdown,
    /// Another process listens on the address; it is tried again.
    ConnectionInUse {
        /// The address.
        address: GunicornAddress,
    },
    /// An address cannot be bound.
    CannotListen {
        /// The address.
        address: GunicornAddress,
        /// It is not an address of this machine.
        is_invalid: bool,
        /// Lockgate's message.
        detail: String,
    },
    /// A worker was forked; it says so itself.
    Booting {
        /// The worker.
        pid: u32,
    },
    /// A worker could not load the application.
    BootFailed {
        /// Its exit code.
        code: i32,
        /// The report, with the traceback if there is one.
        report: String,
    },
    /// A worker exits; it says so itself.
    Exiting {
        /// The worker.
        pid: u32,
    },
    /// A worker exceeds `timeout`.
    Timeout {
        /// The worker.
        pid: u32,
        /// Lockgate's message.
        detail: String,
    },
    /// A signal has killed a worker, and it is not the supervisor's.
    Killed {
        /// The worker.
        pid: u32,
        /// The signal's name, such as SIGSEGV.
        signal: String,
        /// Lockgate's message.
        detail: String,
    },
    /// A worker has exited with a code other than 0.
    Exited {
        /// The worker.
        pid: u32,
        /// The code.
        code: i32,
        /// Lockgate's message.
        detail: String,
    },
    /// A worker has reached `max_requests`.
    Restarting {
        /// Lockgate's message.
        detail: String,
    },
    /// Files have changed.
    Modified {
        /// One of them.
        file: String,
        /// Lockgate's message.
        detail: String,
    },
    /// A request is refused.
    InvalidRequest {
        /// The peer's IP address; empty on a unix socket.
        ip: String,
        /// What is wrong with it.
        error: String,
    },
    /// The server has stopped.
    ShutDown {
        /// The exit code.
        code: i32,
    },
    /// gunicorn has the same fact in the line of another event.
    InAnotherLine,
}

/// An address as gunicorn's log shows it: a tuple of Python, or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GunicornAddress {
    /// Host and port.
    Tcp(String, u16),
    /// Anything else.
    Other(String),
}

impl GunicornEvent {
    /// The lines of gunicorn's log: none, one or two.
    pub fn lines(&self) -> Vec<(Level, String)> {
        let one = |level, text: String| vec![(level, text)];
        match self {
            Self::Starting { version } => one(
                Level::Info,
                format!("Starting gunicorn (Lockgate {version})"),
            ),
            Self::Listening { urls, pid } => one(
                Level::Info,
                format!("Listening at: {} ({pid})", urls.join(",")),
            ),
            Self::UsingWorker { class } => one(Level::Info, format!("Using worker: {class}")),
            Self::Signal { name } => one(Level::Info, format!("Handling signal: {name}")),
            Self::HangUp => one(Level::Info, "Hang up: Master".to_owned()),
            Self::QuickShutdown => one(Level::Info, "Quick shutdown requested".to_owned()),
            Self::ConnectionInUse { address } => one(
                Level::Error,
                format!("Connection in use: {}", address.text()),
            ),
            Self::CannotListen {
                address,
                is_invalid,
                detail,
            } => {
                let address = address.text();
                let mut lines = Vec::new();
                if *is_invalid {
                    lines.push((Level::Error, format!("Invalid address: {address}")));
                }
                let text = with_detail(format!("Can't connect to {address}"), detail);
                lines.push((Level::Error, text));
                lines
            }
            Self::Booting { pid } => one(Level::Info, format!("Booting worker with pid: {pid}")),
            // gunicorn prints the reason of code 4 without a line of its own.
            Self::BootFailed { code: 4, report } => one(Level::Error, report.clone()),
            Self::BootFailed { report, .. } => one(
                Level::Error,
                format!("Exception in worker process\n{report}"),
            ),
            Self::Exiting { pid } => one(Level::Info, format!("Worker exiting (pid: {pid})")),
            Self::Timeout { pid, detail } => one(
                Level::Critical,
                with_detail(format!("WORKER TIMEOUT (pid:{pid})"), detail),
            ),
            Self::Killed {
                pid,
                signal,
                detail,
            } => {
                let (level, guess) = match signal.as_str() {
                    "SIGKILL" => (Level::Error, " Perhaps out of memory?"),
                    "SIGTERM" => (Level::Info, ""),
                    _ => (Level::Warning, ""),
                };
                let text = format!("Worker (pid:{pid}) was sent {signal}!{guess}");
                one(level, with_detail(text, detail))
            }
            Self::Exited { pid, code, detail } => one(
                Level::Error,
                with_detail(
                    format!("Worker (pid:{pid}) exited with code {code}."),
                    detail,
                ),
            ),
            Self::Restarting { detail } => one(
                Level::Info,
                with_detail(
                    "Autorestarting worker after current request.".to_owned(),
                    detail,
                ),
            ),
            Self::InvalidRequest { ip, error } => one(
                Level::Warning,
                format!("Invalid request from ip={ip}: {error}"),
            ),
            Self::Modified { file, detail } => one(
                Level::Info,
                with_detail(format!("Worker reloading: {file} modified"), detail),
            ),
            Self::ShutDown { code } => shut_down(*code),
            Self::InAnotherLine => Vec::new(),
        }
    }
}

impl GunicornAddress {
    fn text(&self) -> String {
        match self {
            Self::Tcp(host, port) => format!("('{host}', {port})"),
            Self::Other(text) => text.clone(),
        }
    }
}

fn shut_down(code: i32) -> Vec<(Level, String)> {
    let reason = match code {
        0 => return vec![(Level::Info, "Shutting down: Master".to_owned())],
        3 => Some("Reason: Worker failed to boot."),
        4 => Some("Reason: App failed to load."),
        _ => None,
    };
    let lines = ["Shutting down: Master"].into_iter().chain(reason);
    lines.map(|line| (Level::Error, line.to_owned())).collect()
}

fn with_detail(first: String, detail: &str) -> String {
    detail
        .lines()
        .fold(first, |text, line| format!("{text}\n  {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_each_event_is_gunicorns() {
        let tcp = || GunicornAddress::Tcp("127.0.0.1".to_owned(), 8000);
        let killed = |signal: &str| GunicornEvent::Killed {
            pid: 7,
            signal: signal.to_owned(),
            detail: String::new(),
        };
        let boot_failed = |code| GunicornEvent::BootFailed {
            code,
            report: "cannot import app\nTraceback".to_owned(),
        };
        let table: &[(GunicornEvent, &[(Level, &str)])] = &[
            (
                GunicornEvent::Starting { version: "1.2.3" },
                &[(Level::Info, "Starting gunicorn (Lockgate 1.2.3)")],
            ),
            (
                GunicornEvent::Listening {
                    urls: vec!["http://127.0.0.1:8000".to_owned(), "unix:/x".to_owned()],
                    pid: 7,
                },
                &[(
                    Level::Info,
                    "Listening at: http://127.0.0.1:8000,unix:/x (7)",
                )],
            ),
            (
                GunicornEvent::UsingWorker { class: "gthread" },
                &[(Level::Info, "Using worker: gthread")],
            ),
            (
                GunicornEvent::Signal { name: "term" },
                &[(Level::Info, "Handling signal: term")],
            ),
            (GunicornEvent::HangUp, &[(Level::Info, "Hang up: Master")]),
            (
                GunicornEvent::QuickShutdown,
                &[(Level::Info, "Quick shutdown requested")],
            ),
            (
                GunicornEvent::ConnectionInUse { address: tcp() },
                &[(Level::Error, "Connection in use: ('127.0.0.1', 8000)")],
            ),
            (
                GunicornEvent::CannotListen {
                    address: tcp(),
                    is_invalid: true,
                    detail: "why".to_owned(),
                },
                &[
                    (Level::Error, "Invalid address: ('127.0.0.1', 8000)"),
                    (Level::Error, "Can't connect to ('127.0.0.1', 8000)\n  why"),
                ],
            ),
            (
                GunicornEvent::CannotListen {
                    address: GunicornAddress::Other("/run/x.sock".to_owned()),
                    is_invalid: false,
                    detail: String::new(),
                },
                &[(Level::Error, "Can't connect to /run/x.sock")],
            ),
            (
                GunicornEvent::Booting { pid: 7 },
                &[(Level::Info, "Booting worker with pid: 7")],
            ),
            (
                boot_failed(3),
                &[(
                    Level::Error,
                    "Exception in worker process\ncannot import app\nTraceback",
                )],
            ),
            (
                boot_failed(4),
                &[(Level::Error, "cannot import app\nTraceback")],
            ),
            (
                GunicornEvent::Exiting { pid: 7 },
                &[(Level::Info, "Worker exiting (pid: 7)")],
            ),
            (
                GunicornEvent::Timeout {
                    pid: 7,
                    detail: "blocked".to_owned(),
                },
                &[(Level::Critical, "WORKER TIMEOUT (pid:7)\n  blocked")],
            ),
            (
                killed("SIGKILL"),
                &[(
                    Level::Error,
                    "Worker (pid:7) was sent SIGKILL! Perhaps out of memory?",
                )],
            ),
            (
                killed("SIGTERM"),
                &[(Level::Info, "Worker (pid:7) was sent SIGTERM!")],
            ),
            (
                killed("SIGSEGV"),
                &[(Level::Warning, "Worker (pid:7) was sent SIGSEGV!")],
            ),
            (
                GunicornEvent::Exited {
                    pid: 7,
                    code: 9,
                    detail: "after 1 s\n  GET /".to_owned(),
                },
                &[(
                    Level::Error,
                    "Worker (pid:7) exited with code 9.\n  after 1 s\n    GET /",
                )],
            ),
            (
                GunicornEvent::Modified {
                    file: "/srv/app.py".to_owned(),
                    detail: String::new(),
                },
                &[(Level::Info, "Worker reloading: /srv/app.py modified")],
            ),
            (
                GunicornEvent::Restarting {
                    detail: String::new(),
                },
                &[(Level::Info, "Autorestarting worker after current request.")],
            ),
            (
                GunicornEvent::InvalidRequest {
                    ip: "::1".to_owned(),
                    error: "no".to_owned(),
                },
                &[(Level::Warning, "Invalid request from ip=::1: no")],
            ),
            (
                GunicornEvent::ShutDown { code: 0 },
                &[(Level::Info, "Shutting down: Master")],
            ),
            (
                GunicornEvent::ShutDown { code: 3 },
                &[
                    (Level::Error, "Shutting down: Master"),
                    (Level::Error, "Reason: Worker failed to boot."),
                ],
            ),
            (
                GunicornEvent::ShutDown { code: 4 },
                &[
                    (Level::Error, "Shutting down: Master"),
                    (Level::Error, "Reason: App failed to load."),
                ],
            ),
            (
                GunicornEvent::ShutDown { code: 1 },
                &[(Level::Error, "Shutting down: Master")],
            ),
            (GunicornEvent::InAnotherLine, &[]),
        ];
        for (event, expected) in table {
            let lines = event.lines();
            let lines: Vec<_> =
                (lines.iter().map(|(level, text)| (*level, text.as_str()))).collect();
            assert_eq!(lines, *expected, "{event:?}");
        }
    }
}
