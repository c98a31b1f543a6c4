//! The handover format: a text that lists what a supervisor leaves to the program that replaces it in the same process,
//! with descriptor numbers and their purpose.
//!
//! The first line is the format version. It also covers what workers of one version share with a supervisor of the
//! other: the layout of the scoreboard and the messages on the pipes. A change to any of them must increase [`FORM`].

use std::fmt;
use std::os::fd::RawFd;
use std::time::Duration;

use lockgate_observe::Scoreboard;

use crate::supervisor::Known;

/// The format version; see the module.
const FORM: u32 = 4;

/// Everything that is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handover {
    /// The number of reloads that led to the serving workers.
    pub(crate) generation: u64,
    /// The value of the setting `workers`.
    pub(crate) workers: usize,
    /// How many workers are wanted.
    pub(crate) wanted: usize,
    /// The memory of the scoreboard.
    pub(crate) scoreboard: Option<RawFd>,
    /// The locked pid file.
    pub(crate) pid_file: Option<RawFd>,
    pub(crate) lifeline: (RawFd, RawFd),
    pub(crate) listeners: Vec<Socket>,
    pub(crate) admin_listeners: Vec<Socket>,
    /// The pid of the admin process.
    pub(crate) admin: Option<u32>,
    pub(crate) children: Vec<Heir>,
}

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) fd: RawFd,
    /// The configured address, and the resolved one.
    pub(crate) configured: String,
    pub(crate) address: String,
    /// Path, device and inode of its socket file.
    pub(crate) file: Option<(String, u64, u64)>,
}

/// A worker that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heir {
    pub(crate) known: Known,
    pub(crate) mailbox: RawFd,
    pub(crate) orders: RawFd,
}

/// Why a handover or takeover is impossible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HandoverError {
    /// This contains a character that the format cannot represent.
    Inexpressible(String),
    /// The other version uses this format version.
    OtherForm(String),
    /// This line is invalid.
    Senseless(String),
}

impl fmt::Display for HandoverError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inexpressible(text) => write!(out, "{text:?} cannot be handed over"),
            Self::OtherForm(form) => write!(
                out,
                "the two versions do not understand each other (theirs is {form:?}, ours {:?}): restart the server instead",
                form_line()
            ),
            Self::Senseless(line) => write!(out, "{line:?} makes no sense in what was handed over"),
        }
    }
}

/// The first line, on which both versions have to agree.
pub(crate) fn form_line() -> String {
    format!("lockgate {FORM} {}", Scoreboard::WORDS)
}

impl Handover {
    /// Serializes the handover.
    ///
    /// # Errors
    /// When a name contains a tab or a line end.
    pub(crate) fn encode(&self) -> Result<String, HandoverError> {
        let mut lines = vec![
            form_line(),
            format!("generation\t{}", self.generation),
            format!("workers\t{}\t{}", self.workers, self.wanted),
            format!("lifeline\t{}\t{}", self.lifeline.0, self.lifeline.1),
        ];
        lines.extend(
            self.scoreboard
                .map(|scoreboard| format!("scoreboard\t{scoreboard}")),
        );
        lines.extend(self.pid_file.map(|file| format!("pid-file\t{file}")));
        lines.extend(self.admin.map(|admin| format!("admin\t{admin}")));
        let sockets = (self.listeners.iter().map(|socket| ("listener", socket))).chain(
            self.admin_listeners
                .iter()
                .map(|socket| ("admin-listener", socket)),
        );
        for (kind, socket) in sockets {
            let mut fields = vec![
                kind.to_owned(),
                socket.fd.to_string(),
                socket.configured.clone(),
                socket.address.clone(),
            ];
            if let Some((path, device, inode)) = &socket.file {
                fields.extend([path.clone(), device.to_string(), inode.to_string()]);
            }
            if let Some(field) = fields.iter().find(|field| field.contains(['\t', '\n'])) {
                return Err(HandoverError::Inexpressible(field.clone()));
            }
            lines.push(fields.join("\t"));
        }
        lines.extend(self.children.iter().map(|heir| {
            let Known {
                slot, pid, served, ..
            } = heir.known;
            let (millis, leaving) = (served.as_millis(), u8::from(heir.known.is_leaving));
            let (mailbox, orders) = (heir.mailbox, heir.orders);
            format!("worker\t{slot}\t{pid}\t{mailbox}\t{orders}\t{millis}\t{leaving}")
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
        let form = lines.next().unwrap_or_default();
        if form != form_line() {
            return Err(HandoverError::OtherForm(form.to_owned()));
        }
        let mut handover = Self {
            generation: 0,
            workers: 0,
            wanted: 0,
            scoreboard: None,
            pid_file: None,
            lifeline: (-1, -1),
            listeners: Vec::new(),
            admin_listeners: Vec::new(),
            admin: None,
            children: Vec::new(),
        };
        let mut has_ended = false;
        for line in lines {
            let fields: Vec<&str> = line.split('\t').collect();
            let is_understood = match fields.as_slice() {
                ["end"] => {
                    has_ended = true;
                    Some(())
                }
                fields => handover.take(fields),
            };
            is_understood.ok_or_else(|| HandoverError::Senseless(line.to_owned()))?;
        }
        if has_ended {
            Ok(handover)
        } else {
            Err(HandoverError::Senseless(
                "an end that is missing".to_owned(),
            ))
        }
    }

    fn take(&mut self, fields: &[&str]) -> Option<()> {
        match *fields {
            ["generation", number] => self.generation = number.parse().ok()?,
            ["workers", setting, wanted] => {
                self.workers = setting.parse().ok()?;
                self.wanted = wanted.parse().ok()?;
            }
            ["lifeline", read, write] => self.lifeline = (read.parse().ok()?, write.parse().ok()?),
            ["scoreboard", fd] => self.scoreboard = Some(fd.parse().ok()?),
            ["pid-file", fd] => self.pid_file = Some(fd.parse().ok()?),
            ["admin", pid] => self.admin = Some(pid.parse().ok()?),
            ["listener", ref rest @ ..] => self.listeners.push(socket(rest)?),
            ["admin-listener", ref rest @ ..] => self.admin_listeners.push(socket(rest)?),
            ["worker", slot, pid, mailbox, orders, millis, leaving] => self.children.push(Heir {
                known: Known {
                    slot: slot.parse().ok()?,
                    pid: pid.parse().ok()?,
                    served: Duration::from_millis(millis.parse().ok()?),
                    is_leaving: leaving == "1",
                },
                mailbox: mailbox.parse().ok()?,
                orders: orders.parse().ok()?,
            }),
            _ => return None,
        }
        Some(())
    }
}

fn socket(fields: &[&str]) -> Option<Socket> {
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
    Some(Socket {
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
        let tcp = Socket {
            fd: 7,
            configured: "localhost:0".to_owned(),
            address: "127.0.0.1:8000".to_owned(),
            file: None,
        };
        let unix = Socket {
            fd: 8,
            configured: "unix:app.sock".to_owned(),
            address: "unix:app.sock".to_owned(),
            file: Some(("/srv/an app/ü.sock".to_owned(), 66, 1 << 40)),
        };
        let heir = |slot, is_leaving| Heir {
            known: Known {
                slot,
                pid: 4_000_000,
                served: Duration::from_millis(86_400_001),
                is_leaving,
            },
            mailbox: 20,
            orders: 21,
        };
        Handover {
            generation: 3,
            workers: 2,
            wanted: 4,
            scoreboard: Some(5),
            pid_file: Some(6),
            lifeline: (3, 4),
            listeners: vec![tcp, unix.clone()],
            admin_listeners: vec![unix],
            admin: Some(12),
            children: vec![heir(0, false), heir(9, true)],
        }
    }

    #[test]
    fn what_is_left_is_what_is_found() {
        let empty = Handover {
            scoreboard: None,
            pid_file: None,
            listeners: Vec::new(),
            admin_listeners: Vec::new(),
            admin: None,
            children: Vec::new(),
            ..handover()
        };
        for left in [handover(), empty] {
            assert_eq!(Handover::decode(&left.encode().unwrap()), Ok(left));
        }
    }

    #[test]
    fn another_form_a_strange_line_and_a_cut_text_are_refused() {
        let text = handover().encode().unwrap();
        for (bad, expected) in [
            (
                text.replacen(&format!("lockgate {FORM}"), "lockgate 99", 1),
                "OtherForm",
            ),
            (text.replace("worker\t0", "worker\tx"), "Senseless"),
            (text.replace("scoreboard\t", "pages\t"), "Senseless"),
            (text.replace("end\n", ""), "Senseless"),
            (String::new(), "OtherForm"),
        ] {
            let error = Handover::decode(&bad).unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_name_that_would_break_the_form_is_refused() {
        let mut left = handover();
        left.listeners[1].file = Some(("/srv/a\nb".to_owned(), 1, 1));
        assert!(matches!(
            left.encode(),
            Err(HandoverError::Inexpressible(_))
        ));
    }
}
