//! Inherited state: the sockets, pipes, memory and workers that the previous program in this process has handed over.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{OwnedFd, RawFd};

use lockgate_observe::Scoreboard;

use crate::handover::{Handover, form_line};
use crate::mailbox::Receiver;
use crate::main_loop::Child;
use crate::orders::Mouth;
use crate::os::{map_words, take_over};
use crate::sockets::Listener;
use crate::supervisor::Inherited;

/// The environment variable for a handover: a descriptor number, or `try` and the format version.
pub const HANDOVER: &str = "LOCKGATE_HANDOVER";

/// The prefix before the format version when the program is only asked whether it could take over.
pub(crate) const TRY: &str = "try ";

/// Whether the variable only asks if this program could take over, and the answer.
///
/// # Errors
/// The reason why it could not, for the operator.
pub fn agrees_with(variable: &str) -> Option<Result<(), String>> {
    let form = variable.strip_prefix(TRY)?;
    Some(match form == form_line() {
        true => Ok(()),
        false => Err(format!(
            "this version ({:?}) does not understand the one that runs ({form:?}): restart the server instead",
            form_line()
        )),
    })
}

/// See the module.
pub(crate) struct Estate {
    pub(crate) generation: u64,
    pub(crate) inherited: Inherited,
    pub(crate) lifeline: (OwnedFd, OwnedFd),
    pub(crate) scoreboard: Option<(Scoreboard, OwnedFd)>,
    pub(crate) pid_file: Option<OwnedFd>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) admin_listeners: Vec<Listener>,
    /// The pid of the admin process.
    pub(crate) admin: Option<u32>,
    pub(crate) children: HashMap<u32, Child>,
}

impl Estate {
    /// Takes over what the variable names.
    ///
    /// # Errors
    /// When the data is not in this format version.
    pub(crate) fn take_over(variable: &str) -> io::Result<Self> {
        let number: RawFd = variable.parse().map_err(io::Error::other)?;
        let mut will = File::from(take_over(number)?);
        let mut text = String::new();
        will.rewind()?;
        will.read_to_string(&mut text)?;
        let left = Handover::decode(&text).map_err(|error| io::Error::other(error.to_string()))?;
        let scoreboard = match left.scoreboard {
            None => None,
            Some(number) => {
                let memory = take_over(number)?;
                Some((
                    Scoreboard::new(map_words(&memory, Scoreboard::WORDS)?),
                    memory,
                ))
            }
        };
        let mut children = HashMap::new();
        for heir in &left.children {
            let child = Child {
                slot: heir.known.slot,
                mailbox: Receiver::from_pipe(take_over(heir.mailbox)?),
                orders: Mouth::from_pipe(take_over(heir.orders)?),
                template: None,
            };
            children.insert(heir.known.pid, child);
        }
        let (reading, writing) = left.lifeline;
        Ok(Self {
            generation: left.generation,
            inherited: Inherited {
                wanted: left.wanted,
                workers: left.workers,
                children: left.children.iter().map(|heir| heir.known).collect(),
            },
            lifeline: (take_over(reading)?, take_over(writing)?),
            scoreboard,
            pid_file: left.pid_file.map(take_over).transpose()?,
            listeners: taken(&left.listeners)?,
            admin_listeners: taken(&left.admin_listeners)?,
            admin: left.admin,
            children,
        })
    }
}

fn taken(sockets: &[crate::handover::Socket]) -> io::Result<Vec<Listener>> {
    sockets.iter().map(Listener::take_over).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_says_whether_it_could_take_over() {
        assert_eq!(agrees_with("17"), None);
        let same = format!("{TRY}{}", form_line());
        assert_eq!(agrees_with(&same), Some(Ok(())));
        let refusal = agrees_with("try lockgate 99 1").unwrap().unwrap_err();
        assert!(refusal.contains("restart the server instead"), "{refusal}");
    }

    #[test]
    fn what_nobody_has_left_is_refused() {
        for variable in ["", "x", "-1", "0", "1000000"] {
            assert!(Estate::take_over(variable).is_err(), "{variable:?}");
        }
    }
}
