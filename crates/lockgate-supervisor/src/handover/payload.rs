//! The handover payload: a text that lists what a supervisor hands over to the program that replaces it in the same
//! process, with descriptor numbers and their purpose.
//!
//! The first line is the format version. It also covers what workers of one version share with a supervisor of the
//! other: the layouts of the scoreboard, of the certificate board, of the shared caches, of the broadcast log and of the response cache, and the messages on the pipes. A change to any of them must increase
//! [`FORMAT_VERSION`].

use std::fmt;
use std::os::fd::RawFd;
use std::time::Duration;

use lockgate_observe::Scoreboard;

use crate::supervisor::WorkerSnapshot;

/// The format version; see the module.
const FORMAT_VERSION: u32 = 10;

/// Everything that is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handover {
    /// The number of reloads that led to the serving workers.
    pub(crate) generation: u64,
    /// The value of the setting `workers`.
    pub(crate) workers_setting: usize,
    /// How many workers are wanted.
    pub(crate) wanted: usize,
    /// The memory of the scoreboard.
    pub(crate) scoreboard: Option<RawFd>,
    /// The memory of the certificate board.
    pub(crate) certificates: Option<RawFd>,
    /// The memory of the shared caches and locks.
    pub(crate) store: Option<RawFd>,
    /// The memory of the broadcast log.
    pub(crate) broadcast_log: Option<RawFd>,
    /// The memory of the response cache.
    pub(crate) responses: Option<RawFd>,
    /// The memory of the log of purges.
    pub(crate) purge_log: Option<RawFd>,
    /// The memory of the rate limits.
    pub(crate) rates: Option<RawFd>,
    /// The memory of the log of spans.
    pub(crate) span_log: Option<RawFd>,
    /// The memory of the log of lines.
    pub(crate) line_log: Option<RawFd>,
    /// The memory of the history, and that of the supervisor's events.
    pub(crate) history: Option<RawFd>,
    pub(crate) events: Option<RawFd>,
    /// The locked pid file.
    pub(crate) pid_file: Option<RawFd>,
    pub(crate) lifeline: (RawFd, RawFd),
    pub(crate) listeners: Vec<ListenerEntry>,
    pub(crate) admin_listeners: Vec<ListenerEntry>,
    /// The pid of the admin process.
    pub(crate) admin: Option<u32>,
    pub(crate) workers: Vec<HandedOverWorker>,
}

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerEntry {
    pub(crate) fd: RawFd,
    /// The configured address, and the resolved one.
    pub(crate) configured: String,
    pub(crate) address: String,
    /// Path, device and inode of its socket file.
    pub(crate) file: Option<(String, u64, u64)>,
}

/// A worker that continues under the next program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandedOverWorker {
    pub(crate) snapshot: WorkerSnapshot,
    pub(crate) status: RawFd,
    pub(crate) control: RawFd,
}

/// Why a handover is impossible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HandoverError {
    /// This text contains a tab or a line end.
    NotRepresentable(String),
    /// The other version uses this format version.
    OtherFormat(String),
    /// This line is invalid.
    Invalid(String),
}

impl fmt::Display for HandoverError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRepresentable(text) => write!(
                out,
                "{text:?} cannot be handed over: it contains a tab or a line end, or is not UTF-8"
            ),
            Self::OtherFormat(format) => write!(
                out,
                "the handover format of the previous version ({format:?}) differs from that of this one ({:?}): restart the server instead",
                format_line()
            ),
            Self::Invalid(line) => write!(out, "invalid line in the handover: {line:?}"),
        }
    }
}

/// The first line, which must be the same in both versions.
pub(crate) fn format_line() -> String {
    format!("lockgate {FORMAT_VERSION} {}", Scoreboard::WORDS)
}

impl Handover {
    /// Serializes the handover.
    ///
    /// # Errors
    /// When a name contains a tab or a line end.
    pub(crate) fn encode(&self) -> Result<String, HandoverError> {
        let mut lines = vec![
            format_line(),
            format!("generation\t{}", self.generation),
            format!("workers\t{}\t{}", self.workers_setting, self.wanted),
            format!("lifeline\t{}\t{}", self.lifeline.0, self.lifeline.1),
        ];
        lines.extend(
            self.scoreboard
                .map(|scoreboard| format!("scoreboard\t{scoreboard}")),
        );
        lines.extend(
            self.certificates
                .map(|certificates| format!("certificates\t{certificates}")),
        );
        lines.extend(self.store.map(|store| format!("store\t{store}")));
        lines.extend((self.broadcast_log).map(|log| format!("broadcast-log\t{log}")));
        lines.extend((self.responses).map(|memory| format!("responses\t{memory}")));
        lines.extend((self.purge_log).map(|memory| format!("purge-log\t{memory}")));
        lines.extend((self.rates).map(|memory| format!("rates\t{memory}")));
        lines.extend((self.span_log).map(|memory| format!("span-log\t{memory}")));
        lines.extend((self.line_log).map(|memory| format!("line-log\t{memory}")));
        lines.extend((self.history).map(|memory| format!("history\t{memory}")));
        lines.extend((self.events).map(|memory| format!("events\t{memory}")));
        lines.extend(self.pid_file.map(|file| format!("pid-file\t{file}")));
        lines.extend(self.admin.map(|admin| format!("admin\t{admin}")));
        let listeners = (self.listeners.iter().map(|listener| ("listener", listener))).chain(
            self.admin_listeners
                .iter()
                .map(|listener| ("admin-listener", listener)),
        );
        for (kind, listener) in listeners {
            let mut fields = vec![
                kind.to_owned(),
                listener.fd.to_string(),
                listener.configured.clone(),
                listener.address.clone(),
            ];
            if let Some((path, device, inode)) = &listener.file {
                fields.extend([path.clone(), device.to_string(), inode.to_string()]);
            }
            if let Some(field) = fields.iter().find(|field| field.contains(['\t', '\n'])) {
                return Err(HandoverError::NotRepresentable(field.clone()));
            }
            lines.push(fields.join("\t"));
        }
        lines.extend(self.workers.iter().map(|worker| {
            let WorkerSnapshot {
                slot,
                pid,
                served,
                is_leaving,
            } = worker.snapshot;
            let (millis, leaving) = (served.as_millis(), u8::from(is_leaving));
            let (status, control) = (worker.status, worker.control);
            format!("worker\t{slot}\t{pid}\t{status}\t{control}\t{millis}\t{leaving}")
        }));
        lines.push("end\n".to_owned());
        Ok(lines.join("\n"))
    }

    /// Parses a handover.
    ///
    /// # Errors
    /// When the format version differs or the text is invalid.
    pub(crate) fn decode(text: &str) -> Result<Self, HandoverError> {
        let mut lines = text.lines();
        let format = lines.next().unwrap_or_default();
        if format != format_line() {
            return Err(HandoverError::OtherFormat(format.to_owned()));
        }
        let mut handover = Self {
            generation: 0,
            workers_setting: 0,
            wanted: 0,
            scoreboard: None,
            certificates: None,
            store: None,
            broadcast_log: None,
            responses: None,
            purge_log: None,
            rates: None,
            span_log: None,
            line_log: None,
            history: None,
            events: None,
            pid_file: None,
            lifeline: (-1, -1),
            listeners: Vec::new(),
            admin_listeners: Vec::new(),
            admin: None,
            workers: Vec::new(),
        };
        let mut has_ended = false;
        for line in lines {
            let fields: Vec<&str> = line.split('\t').collect();
            let parsed = match fields.as_slice() {
                ["end"] => {
                    has_ended = true;
                    Some(())
                }
                fields => handover.parse_line(fields),
            };
            parsed.ok_or_else(|| HandoverError::Invalid(line.to_owned()))?;
        }
        if has_ended {
            Ok(handover)
        } else {
            Err(HandoverError::Invalid(
                "the last line is missing".to_owned(),
            ))
        }
    }

    fn parse_line(&mut self, fields: &[&str]) -> Option<()> {
        match *fields {
            ["generation", number] => self.generation = number.parse().ok()?,
            ["workers", setting, wanted] => {
                self.workers_setting = setting.parse().ok()?;
                self.wanted = wanted.parse().ok()?;
            }
            ["lifeline", read, write] => self.lifeline = (read.parse().ok()?, write.parse().ok()?),
            ["scoreboard", fd] => self.scoreboard = Some(fd.parse().ok()?),
            ["certificates", fd] => self.certificates = Some(fd.parse().ok()?),
            ["store", fd] => self.store = Some(fd.parse().ok()?),
            ["broadcast-log", fd] => self.broadcast_log = Some(fd.parse().ok()?),
            ["responses", fd] => self.responses = Some(fd.parse().ok()?),
            ["purge-log", fd] => self.purge_log = Some(fd.parse().ok()?),
            ["rates", fd] => self.rates = Some(fd.parse().ok()?),
            ["span-log", fd] => self.span_log = Some(fd.parse().ok()?),
            ["line-log", fd] => self.line_log = Some(fd.parse().ok()?),
            ["history", fd] => self.history = Some(fd.parse().ok()?),
            ["events", fd] => self.events = Some(fd.parse().ok()?),
            ["pid-file", fd] => self.pid_file = Some(fd.parse().ok()?),
            ["admin", pid] => self.admin = Some(pid.parse().ok()?),
            ["listener", ref rest @ ..] => self.listeners.push(listener(rest)?),
            ["admin-listener", ref rest @ ..] => self.admin_listeners.push(listener(rest)?),
            ["worker", slot, pid, status, control, millis, leaving] => {
                self.workers.push(HandedOverWorker {
                    snapshot: WorkerSnapshot {
                        slot: slot.parse().ok()?,
                        pid: pid.parse().ok()?,
                        served: Duration::from_millis(millis.parse().ok()?),
                        is_leaving: leaving == "1",
                    },
                    status: status.parse().ok()?,
                    control: control.parse().ok()?,
                })
            }
            _ => return None,
        }
        Some(())
    }
}

fn listener(fields: &[&str]) -> Option<ListenerEntry> {
    let [fd, configured, address, rest @ ..] = fields else {
        return None;
    };
    let file = match rest {
        [] => None,
        [path, device, inode] => Some((
            (*path).to_owned(),
            device.parse().ok()?,
            inode.parse().ok()?,
        )),
        _ => return None,
    };
    Some(ListenerEntry {
        fd: fd.parse().ok()?,
        configured: (*configured).to_owned(),
        address: (*address).to_owned(),
        file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handover() -> Handover {
        let tcp = ListenerEntry {
            fd: 7,
            configured: "localhost:0".to_owned(),
            address: "127.0.0.1:8000".to_owned(),
            file: None,
        };
        let unix = ListenerEntry {
            fd: 8,
            configured: "unix:app.sock".to_owned(),
            address: "unix:app.sock".to_owned(),
            file: Some(("/srv/an app/ü.sock".to_owned(), 66, 1 << 40)),
        };
        let entry = |slot, is_leaving| HandedOverWorker {
            snapshot: WorkerSnapshot {
                slot,
                pid: 4_000_000,
                served: Duration::from_millis(86_400_001),
                is_leaving,
            },
            status: 20,
            control: 21,
        };
        Handover {
            generation: 3,
            workers_setting: 2,
            wanted: 4,
            scoreboard: Some(5),
            certificates: Some(9),
            store: Some(33),
            broadcast_log: Some(34),
            responses: Some(35),
            purge_log: Some(36),
            rates: Some(37),
            span_log: Some(61),
            line_log: Some(62),
            history: Some(38),
            events: Some(39),
            pid_file: Some(6),
            lifeline: (3, 4),
            listeners: vec![tcp, unix.clone()],
            admin_listeners: vec![unix],
            admin: Some(12),
            workers: vec![entry(0, false), entry(9, true)],
        }
    }

    #[test]
    fn a_payload_survives_encoding_and_decoding() {
        let empty = Handover {
            scoreboard: None,
            certificates: None,
            pid_file: None,
            listeners: Vec::new(),
            admin_listeners: Vec::new(),
            admin: None,
            workers: Vec::new(),
            ..handover()
        };
        for left in [handover(), empty] {
            assert_eq!(Handover::decode(&left.encode().unwrap()), Ok(left));
        }
    }

    #[test]
    fn another_format_an_invalid_line_and_a_cut_text_are_refused() {
        let text = handover().encode().unwrap();
        for (bad, expected) in [
            (
                text.replacen(&format!("lockgate {FORMAT_VERSION}"), "lockgate 99", 1),
                "OtherFormat",
            ),
            (text.replace("worker\t0", "worker\tx"), "Invalid"),
            (text.replace("scoreboard\t", "pages\t"), "Invalid"),
            (text.replace("end\n", ""), "Invalid"),
            (String::new(), "OtherFormat"),
        ] {
            let error = Handover::decode(&bad).unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_name_that_breaks_the_format_is_refused() {
        let mut left = handover();
        left.listeners[1].file = Some(("/srv/a\nb".to_owned(), 1, 1));
        assert!(matches!(
            left.encode(),
            Err(HandoverError::NotRepresentable(_))
        ));
    }
}
