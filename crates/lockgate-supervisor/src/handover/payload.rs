//! The handover payload: a text that lists what a supervisor hands over to the program that replaces it in the same
//! process, with descriptor numbers and their purpose.
//!
//! The first line is the format version: of the other lines, and of the messages on the pipes to workers, which go on
//! under the next program. Versions of the server differ in their memory far more often, so each piece of memory has a
//! version of its own ([`Memory`]), and an upgrade between them keeps sockets and workers.
//!
//! A program ignores lines that it does not know and fields after those that it knows. So a line or a field can be
//! added without another format; a descriptor is added as a `memory` line, which another version closes.

use std::fmt;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::time::Duration;

use super::memories::{Memories, Memory};
use crate::supervisor::WorkerSnapshot;

/// The format version; see the module.
const FORMAT_VERSION: u32 = 11;
/// The format versions that can be decoded. 10 names each piece of memory without the version of its layout.
const READABLE: RangeInclusive<u32> = 10..=FORMAT_VERSION;

/// Everything that is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handover {
    /// The number of reloads that led to the serving workers.
    pub(crate) generation: u64,
    /// The value of the setting `workers`.
    pub(crate) workers_setting: usize,
    /// How many workers are wanted.
    pub(crate) wanted: usize,
    /// The memory that both programs lay out alike.
    pub(crate) memories: Memories<RawFd>,
    /// Memory that this program cannot use, by name, or by layout if it does not know the name.
    pub(crate) foreign: Vec<(String, RawFd)>,
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
    /// This program does not know the format of the other version.
    UnknownFormat(String),
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
            Self::UnknownFormat(format) => write!(
                out,
                "the running version hands over in the format {format:?}, and the new version reads only \
                 {:?} to {:?}: restart the server instead",
                format_line_of(*READABLE.start()),
                format_line()
            ),
            Self::Invalid(line) => write!(out, "invalid line in the handover: {line:?}"),
        }
    }
}

/// The first line of a handover by this program.
pub(crate) fn format_line() -> String {
    format_line_of(FORMAT_VERSION)
}

fn format_line_of(version: u32) -> String {
    format!("lockgate {version}")
}

/// Whether a handover with this first line can be decoded.
///
/// # Errors
/// [`HandoverError::UnknownFormat`].
pub(crate) fn check_format(line: &str) -> Result<(), HandoverError> {
    let version = match *line.split(' ').collect::<Vec<_>>() {
        // Format 10 has the size of its scoreboard here.
        ["lockgate", version, ..] => version.parse().ok(),
        _ => None,
    };
    match version.is_some_and(|version| READABLE.contains(&version)) {
        true => Ok(()),
        false => Err(HandoverError::UnknownFormat(line.to_owned())),
    }
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
            (self.memories.iter()).map(|(memory, fd)| format!("memory\t{}\t{fd}", memory.layout())),
        );
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
        check_format(lines.next().unwrap_or_default())?;
        let mut handover = Self {
            generation: 0,
            workers_setting: 0,
            wanted: 0,
            memories: Memories::new(),
            foreign: Vec::new(),
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
            ["generation", number, ..] => self.generation = number.parse().ok()?,
            ["workers", setting, wanted, ..] => {
                self.workers_setting = setting.parse().ok()?;
                self.wanted = wanted.parse().ok()?;
            }
            ["lifeline", read, write, ..] => {
                self.lifeline = (read.parse().ok()?, write.parse().ok()?)
            }
            ["memory", layout, fd, ..] => {
                let fd = fd.parse().ok()?;
                match Memory::with_layout(layout) {
                    Some(memory) => drop(self.memories.insert(memory, fd)),
                    None => self.foreign.push((title(layout), fd)),
                }
            }
            // Format 10.
            [name, fd] if Memory::named(name).is_some() => {
                self.foreign.push((title(name), fd.parse().ok()?));
            }
            ["pid-file", fd, ..] => self.pid_file = Some(fd.parse().ok()?),
            ["admin", pid, ..] => self.admin = Some(pid.parse().ok()?),
            ["listener", ref rest @ ..] => self.listeners.push(listener(rest)?),
            ["admin-listener", ref rest @ ..] => self.admin_listeners.push(listener(rest)?),
            ["worker", slot, pid, status, control, millis, leaving, ..] => {
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
            _ => {}
        }
        Some(())
    }
}

/// What an operator calls memory of another layout.
fn title(layout: &str) -> String {
    let name = layout.split(' ').next().unwrap_or_default();
    Memory::named(name).map_or_else(|| layout.to_owned(), |memory| memory.title().to_owned())
}

fn listener(fields: &[&str]) -> Option<ListenerEntry> {
    let [fd, configured, address, rest @ ..] = fields else {
        return None;
    };
    let file = match rest {
        [] => None,
        [path, device, inode, ..] => Some((
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
            memories: (Memory::ALL.into_iter().zip(30..)).collect(),
            foreign: Vec::new(),
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
            memories: Memories::new(),
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
    fn an_unknown_format_an_invalid_line_and_a_cut_text_are_refused() {
        let text = handover().encode().unwrap();
        let with_format = |format| text.replacen(&format_line(), format, 1);
        for (bad, expected) in [
            (with_format("lockgate 12"), "UnknownFormat"),
            (with_format("lockgate 9 4711"), "UnknownFormat"),
            (with_format("lockgate"), "UnknownFormat"),
            (with_format("gunicorn 11"), "UnknownFormat"),
            (String::new(), "UnknownFormat"),
            (text.replace("worker\t0", "worker\tx"), "Invalid"),
            (text.replace("\t30\n", "\tx\n"), "Invalid"),
            (text.replace("end\n", ""), "Invalid"),
        ] {
            let error = Handover::decode(&bad).unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{error}");
        }
    }

    #[test]
    fn sockets_and_workers_are_decoded_also_from_other_versions() {
        let own = handover();
        let without = |memory: Memory, name: &str| {
            let mut expected = own.clone();
            let fd = expected.memories.remove(&memory);
            expected.foreign = fd.map(|fd| (name.to_owned(), fd)).into_iter().collect();
            expected
        };
        let rates = Memory::Rates.layout();
        let foreign = Handover {
            memories: Memories::new(),
            foreign: vec![("counters".to_owned(), 5), ("response cache".to_owned(), 7)],
            ..own.clone()
        };
        let text = own.encode().unwrap();
        let memory = text.find("memory\t").unwrap()..text.find("pid-file\t").unwrap();
        let mut of_format_10 = text.replacen(&format_line(), "lockgate 10 49496", 1);
        let moved = of_format_10.len() - text.len();
        of_format_10.replace_range(
            memory.start + moved..memory.end + moved,
            "scoreboard\t5\nresponses\t7\n",
        );
        for (text, expected) in [
            (
                text.replace(&rates, "rates 999"),
                without(Memory::Rates, "rate limits"),
            ),
            (
                text.replace(&rates, "tides 1"),
                without(Memory::Rates, "tides 1"),
            ),
            (text.replace("end\n", "moon\tfull\t3\nend\n"), own.clone()),
            (
                text.replace("\t86400001\t1\n", "\t86400001\t1\tnew\n"),
                own.clone(),
            ),
            (of_format_10, foreign),
        ] {
            assert_eq!(Handover::decode(&text), Ok(expected), "{text}");
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
